"""What shows, in Chinese, that somebody asks for, speaks of or solves something, by intent."""

from __future__ import annotations

from tfalign.data.customer_service.language import Cues

CUES = {
    "order_status": Cues(
        request_cues=("到哪儿了", "状态", "发货了吗", "有消息", "查一下我的"),
        topic_cues=("发货", "在路上", "出库", "运输", "途中", "状态"),
        step_cues=("物流单号", "快递单号", "物流(信息|进度)", "运单"),
    ),
    "delivery_delay": Cues(
        request_cues=("还没到", "说好", "晚了", "这么慢", "等了"),
        topic_cues=("延误", "延迟", "晚到", "耽误", "配送"),
        step_cues=("重新(配送|派送|发货)", "加急", "[一二三四五六日天]送(到|达)"),
    ),
    "refund": Cues(
        request_cues=("退款", "的钱", "退我"),
        topic_cues=("退款", "退钱"),
        step_cues=("(退回|退到|到|返回).{0,6}(卡|账户)", "(工作日|天)内.{0,4}到账"),
    ),
    "exchange": Cues(
        request_cues=("换货", "换个", "换成"),
        topic_cues=("换货", "可以换", "更换"),
        step_cues=("退货标签", "寄回"),
    ),
    "cancel_order": Cues(
        request_cues=("取消", "不要.{1,4}了", "不想要"),
        topic_cues=("取消",),
        step_cues=("确认(短信|邮件|通知|函)", "(短信|邮件).{0,4}确认"),
    ),
    "address_change": Cues(
        request_cues=("地址", "搬到", "改地址"),
        topic_cues=("地址",),
        step_cues=("街道", "门牌", "邮编"),
    ),
    "password_reset": Cues(
        request_cues=("密码", "登录", "账号", "被锁"),
        topic_cues=("密码", "登录", "账号", "解锁"),
        step_cues=("重[置设](密码)?的?(链接|邮件)", "忘记密码"),
    ),
    "invoice": Cues(
        request_cues=("发票", "开发票", "发票"),
        topic_cues=("发票",),
        step_cues=("下载", "发票.{0,4}(发到|发送|发给)"),
    ),
    "damaged_item": Cues(
        request_cues=("坏的", "裂了", "破损", "大坑"),
        topic_cues=("破损", "坏了", "损坏", "裂"),
        step_cues=("照片", "拍照", "补寄"),
    ),
    "warranty": Cues(
        request_cues=("保修", "保修期", "不工作"),
        topic_cues=("保修",),
        step_cues=("维修", "修理"),
    ),
    "subscription": Cues(
        request_cues=("会员", "包月"),
        topic_cues=("会员", "包月", "订阅"),
        step_cues=("设置里", "打开设置", "自动续费"),
    ),
    "payment_failure": Cues(
        request_cues=("付款", "付不了", "结账", "被拒"),
        topic_cues=("付款", "支付"),
        step_cues=("换一?张卡", "另一张卡", "微信", "支付宝"),
    ),
    "opening_hours": Cues(
        request_cues=("开门", "营业", "店看看"),
        topic_cues=("营业", "开门", "来.{2}店"),
        step_cues=("(九|9)点.{0,6}(六|6|18)点",),
    ),
    "missing_item": Cues(
        request_cues=("少了", "里没有", "空了一半", "却没有", "少发", "里却没有"),
        topic_cues=("少发", "漏", "没有装全", "缺"),
        step_cues=("第二个包裹", "补发", "另一个包裹"),
    ),
    "promo_code": Cues(
        request_cues=("优惠券", "折扣", "打折", "九折"),
        topic_cues=("优惠券", "折扣", "打折"),
        step_cues=("新的?(券码|优惠码|优惠券|折扣码)", "SAVE10"),
    ),
    "stock": Cues(
        request_cues=("店有.{1,4}吗", "有货", "卖完", "到货", "买到"),
        topic_cues=("有货", "现货", "卖完"),
        step_cues=("预留", "预订"),
    ),
}
