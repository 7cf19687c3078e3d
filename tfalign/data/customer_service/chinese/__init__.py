"""The Chinese phrases and cues of the customer-service grammar."""

from __future__ import annotations

from tfalign.data.customer_service.chinese.cues import CUES
from tfalign.data.customer_service.chinese.held_out import HELD_OUT
from tfalign.data.customer_service.chinese.manners import MANNERS
from tfalign.data.customer_service.chinese.phrases import PHRASES
from tfalign.data.customer_service.chinese.replies import REPLIES
from tfalign.data.customer_service.chinese.requests import REQUESTS
from tfalign.data.customer_service.language import Language, intents

__all__ = ["CHINESE"]

CHINESE = Language(
    ideographic=True,
    customer="顾客：",
    agent="客服：",
    gap="",
    products=(
        "水壶",
        "台灯",
        "背包",
        "键盘",
        "搅拌机",
        "外套",
        "手机壳",
        "帐篷",
        "相机",
        "围巾",
        "手表",
        "椅子",
        "显示器",
        "茶壶",
        "雨衣",
        "音箱",
        "行李箱",
        "吉他",
    ),
    cities=(
        "北京",
        "上海",
        "广州",
        "深圳",
        "杭州",
        "成都",
        "南京",
        "武汉",
        "西安",
        "苏州",
        "天津",
        "青岛",
    ),
    days=("周一", "周二", "周三", "周四", "周五", "周六", "周日"),
    intents=intents(REQUESTS, HELD_OUT, REPLIES, CUES),
    phrases=PHRASES,
    manners=MANNERS,
)
