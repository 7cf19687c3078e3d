"""What Chinese-speaking customers ask in test splits alone, by intent."""

from __future__ import annotations

from tfalign.data.customer_service.language import HeldOutRequests

HELD_OUT = {
    "order_status": HeldOutRequests(
        held_out_requests=(
            "请问订单{order}发货了吗？",
            "我的{product}有消息吗？订单{order}。",
            "请查一下订单{order}到哪儿了。",
        ),
        held_out_problems=("请查一下我的包裹到哪儿了。",),
    ),
    "delivery_delay": HeldOutRequests(
        held_out_requests=(
            "订单{order}还没到，为什么这么慢？",
            "订单{order}的{product}晚了好几天了。",
            "{product}说好{day}到的，订单{order}还没到。",
        ),
        held_out_problems=("我的{product}怎么还没到？",),
    ),
    "refund": HeldOutRequests(
        held_out_requests=(
            "请给订单{order}退款。",
            "{product}可以退款吗？订单{order}。",
            "我想给订单{order}退款。",
        ),
        held_out_problems=("我要给{product}退款。",),
    ),
    "exchange": HeldOutRequests(
        held_out_requests=(
            "我想给订单{order}换货。",
            "订单{order}的{product}想换个颜色。",
            "{product}怎么换货？订单{order}。",
        ),
        held_out_problems=("我想给{product}换货。",),
    ),
    "cancel_order": HeldOutRequests(
        held_out_requests=(
            "我想取消订单{order}。",
            "订单{order}可以取消吗？",
            "{product}我不想要了，请取消订单{order}。",
        ),
        held_out_problems=("我想取消{product}。",),
    ),
    "address_change": HeldOutRequests(
        held_out_requests=(
            "我要改地址，订单{order}。",
            "我搬到{city}了，请改订单{order}的地址。",
            "订单{order}的收货地址是旧的。",
        ),
        held_out_problems=("我搬到{city}了，要改收货地址。",),
    ),
    "password_reset": HeldOutRequests(
        held_out_requests=(
            "我忘了{user}的密码。",
            "账号{user}登录不了。",
            "我的账号被锁了，用户名是{user}。",
        ),
        held_out_problems=("怎么重设密码？",),
    ),
    "invoice": HeldOutRequests(
        held_out_requests=(
            "请给我订单{order}的发票。",
            "我需要{product}的发票，订单{order}。",
            "订单{order}能开发票吗？",
        ),
        held_out_problems=("请给我{product}的发票。",),
    ),
    "damaged_item": HeldOutRequests(
        held_out_requests=(
            "订单{order}的{product}破损了。",
            "我的{product}裂了，订单{order}。",
            "{product}收到时是坏的，订单{order}。",
        ),
        held_out_problems=("{product}收到时破损了。",),
    ),
    "warranty": HeldOutRequests(
        held_out_requests=(
            "订单{order}还在保修期吗？",
            "{product}保修多久？订单{order}。",
            "订单{order}的{product}不工作了，能保修吗？",
        ),
        held_out_problems=("我的{product}保修多久？",),
    ),
    "subscription": HeldOutRequests(
        held_out_requests=(
            "怎么停掉会员？我是{user}。",
            "请停掉{user}的包月。",
            "我想退出包月，用户名{user}。",
        ),
        held_out_problems=("我想退出会员。",),
    ),
    "payment_failure": HeldOutRequests(
        held_out_requests=(
            "我付不了订单{order}的款。",
            "订单{order}的付款被拒了。",
            "订单{order}的{product}付款失败。",
        ),
        held_out_problems=("我的卡付款失败。",),
    ),
    "opening_hours": HeldOutRequests(
        held_out_requests=(
            "{city}店{day}开门吗？",
            "{day}{city}的店营业吗？",
            "{city}店{day}的营业时间是？",
        ),
        held_out_problems=("你们店{day}几点开门？",),
    ),
    "missing_item": HeldOutRequests(
        held_out_requests=(
            "订单{order}的包裹少了{product}。",
            "箱子里没有{product}，订单{order}。",
            "订单{order}少发了{product}。",
        ),
        held_out_problems=("包裹里少了{product}。",),
    ),
    "promo_code": HeldOutRequests(
        held_out_requests=(
            "订单{order}的优惠券用不了。",
            "折扣码在订单{order}上无效。",
            "我的{product}没打折，订单{order}。",
        ),
        held_out_problems=("我的优惠券无效。",),
    ),
    "stock": HeldOutRequests(
        held_out_requests=(
            "{product}在{city}卖完了吗？",
            "{city}店{product}有货吗？",
            "{city}什么时候有货？我想要{product}。",
        ),
        held_out_problems=("你们还有{product}吗？有货吗？",),
    ),
}
