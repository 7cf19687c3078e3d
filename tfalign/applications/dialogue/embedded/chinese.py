"""The embedded world in Chinese."""

from __future__ import annotations

from tfalign.applications.dialogue.embedded.phrases import Phrases

PHRASES = Phrases(
    language="chinese",
    names=(
        *("蓝门小馆", "街角餐桌", "金碗食府", "青果园", "海港人家", "老磨坊", "纸灯笼", "红水壶"),
        *("望江楼", "银勺子", "兄弟饭庄", "白马酒家", "铜锅居", "花园门", "福星楼", "集市大厅"),
        *("夜猫子", "橄榄树", "静巷", "盐与烟", "石炉坊", "朝阳饭店", "百里香", "冬园"),
    ),
    values={
        "food": ("川菜", "粤菜", "湘菜", "鲁菜", "东北菜", "西北菜"),
        "area": ("城北", "城南", "城东", "城西", "市中心"),
        "pricerange": ("便宜", "适中", "高档"),
    },
    absent=("古巴菜", "丹麦菜", "埃及菜"),
    streets=("磨坊路", "国王街", "车站路", "桥巷"),
    address="{street}{number}号",
    phone="010-{number}",
    postcode="100{number}",
    begin=("你好，我想找一家{wish}的餐馆。", "请帮我找一家{wish}的餐馆，好吗？"),
    wishes={
        "food": ("做[food]", "能吃到[food]"),
        "area": ("在[area]", "位于[area]"),
        "pricerange": ("价格[pricerange]", "消费[pricerange]"),
    },
    later={
        "food": ("那[food]吧。", "我想吃[food]。", "[food]有吗？"),
        "area": ("最好在[area]。", "在[area]的。", "[area]吧。"),
        "pricerange": ("价格要[pricerange]的。", "[pricerange]一点的。", "[pricerange]的吧。"),
    },
    dontcare={
        "food": ("什么菜都可以。", "吃什么无所谓。"),
        "area": ("在哪儿都行。", "地点无所谓。"),
        "pricerange": ("价格无所谓。", "多少钱都行。"),
    },
    ask={
        "phone": ("电话是多少？", "能告诉我他们的电话吗？"),
        "address": ("地址在哪儿？", "具体在什么地方？"),
        "postcode": ("邮编是多少？", "请告诉我邮编。"),
    },
    bye=("好的，谢谢，再见。", "没有别的了，谢谢。"),
    offer=(
        "推荐您去[name]，是[area]一家价格[pricerange]的[food]馆。",
        "[name]怎么样？那里做[food]。",
        "您可以去[area]的[name]。",
    ),
    request={
        "food": ("您想吃什么菜？",),
        "area": ("您想在哪个区域？",),
        "pricerange": ("您想要什么价位的？",),
    },
    none=("抱歉，没有这样的餐馆。您还想要什么？",),
    tell={
        "phone": ("他们的电话是[phone]。", "您可以打[phone]。"),
        "address": ("地址是[address]。", "就在[address]。"),
        "postcode": ("邮编是[postcode]。",),
    },
    welcome=("不客气，再见。", "祝您用餐愉快！"),
)
