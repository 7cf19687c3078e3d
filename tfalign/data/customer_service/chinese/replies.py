"""How Chinese-speaking agents take up a request and solve it, by intent."""

from __future__ import annotations

from tfalign.data.customer_service.language import Replies

REPLIES = {
    "order_status": Replies(
        acknowledgements=(
            "订单{order}已经发货了。",
            "您的{product}正在路上。",
            "您的{product}已经出库。",
            "订单{order}正在运输途中。",
        ),
        steps=(
            "物流单号已发到您的手机。",
            "您可以用物流单号查看进度。",
            "我已把物流单号发给您。",
        ),
    ),
    "delivery_delay": Replies(
        acknowledgements=(
            "订单{order}确实延误了。",
            "您的{product}晚到了。",
            "我看到订单{order}配送延迟。",
            "您的{product}在中转站耽误了。",
        ),
        steps=(
            "我已安排{new_day}重新配送。",
            "快递员会在{new_day}送到。",
            "我已为您改成加急配送。",
        ),
    ),
    "refund": Replies(
        acknowledgements=(
            "订单{order}可以退款。",
            "您的{product}符合退款条件。",
            "我已为订单{order}办理退款。",
            "订单{order}的退款没有问题。",
        ),
        steps=(
            "钱会在五天内退回您的卡里。",
            "五天内会到您的账户。",
            "款项已经退回您的卡里。",
        ),
    ),
    "exchange": Replies(
        acknowledgements=(
            "订单{order}可以换货。",
            "您的{product}可以换。",
            "我已为订单{order}登记换货。",
            "给{product}换货很方便。",
        ),
        steps=(
            "请用退货标签寄回，新的马上寄出。",
            "退货标签已发到您的邮箱。",
            "用退货标签寄回就行。",
        ),
    ),
    "cancel_order": Replies(
        acknowledgements=(
            "订单{order}可以取消。",
            "我已取消订单{order}。",
            "您的{product}还没出库，可以取消。",
            "订单{order}已经停下来了，可以取消。",
        ),
        steps=(
            "一小时内您会收到确认短信。",
            "确认短信已经发给您了。",
            "请留意确认短信。",
        ),
    ),
    "address_change": Replies(
        acknowledgements=(
            "订单{order}可以改地址。",
            "我来改订单{order}的地址。",
            "订单{order}能送到新地址。",
            "可以为订单{order}换地址。",
        ),
        steps=(
            "回复新的街道和门牌号就行。",
            "请在应用里填写街道和门牌号。",
            "我只需要新的街道和门牌号。",
        ),
    ),
    "password_reset": Replies(
        acknowledgements=(
            "我可以解锁账号{user}。",
            "账号{user}重设密码就好。",
            "账号{user}的登录可以恢复。",
            "我查到账号{user}被锁了。",
        ),
        steps=(
            "重置链接已发到您的邮箱。",
            "请点邮箱里的重置链接。",
            "点“忘记密码”就能收到重置链接。",
        ),
    ),
    "invoice": Replies(
        acknowledgements=(
            "订单{order}的发票开好了。",
            "{product}的发票找到了。",
            "我已给订单{order}开发票。",
            "订单{order}有电子发票。",
        ),
        steps=(
            "在“我的订单”里可以下载。",
            "文件已发到您的邮箱，可以下载。",
            "您可以在订单页下载。",
        ),
    ),
    "damaged_item": Replies(
        acknowledgements=(
            "订单{order}不该这样破损。",
            "我记下了订单{order}的破损。",
            "您的{product}坏了由我们负责。",
            "{product}破损我们来处理。",
        ),
        steps=(
            "请发一张照片，我们补寄新的。",
            "收到照片后就补寄。",
            "发照片来就能免费补寄。",
        ),
    ),
    "warranty": Replies(
        acknowledgements=(
            "订单{order}还在保修期。",
            "您的{product}保修两年。",
            "订单{order}的保修有效。",
            "{product}的保修还没过期。",
        ),
        steps=(
            "我已预约免费维修。",
            "维修中心会免费检查。",
            "送到维修中心就行。",
        ),
    ),
    "subscription": Replies(
        acknowledgements=(
            "{user}的会员本月可以停。",
            "我查到{user}的包月了。",
            "{user}的会员随时可以停。",
            "{user}的包月没有期限。",
        ),
        steps=(
            "在设置里点“结束包月”。",
            "打开设置就能结束。",
            "在设置里关掉自动续费。",
        ),
    ),
    "payment_failure": Replies(
        acknowledgements=(
            "订单{order}的付款没成功。",
            "我看到{product}的付款失败了。",
            "订单{order}还没付款。",
            "订单{order}的付款被银行拒了。",
        ),
        steps=(
            "请换一张卡或用微信。",
            "换一张卡通常就好。",
            "您可以用另一张卡再试。",
        ),
    ),
    "opening_hours": Replies(
        acknowledgements=(
            "{city}店那天营业。",
            "您可以来{city}店。",
            "{city}店照常开门。",
            "是的，{city}的店那天开门。",
        ),
        steps=(
            "早上九点到晚上六点都可以来。",
            "九点开门，六点关门。",
            "时间是九点到六点。",
        ),
    ),
    "missing_item": Replies(
        acknowledgements=(
            "订单{order}确实少发了。",
            "{product}漏在仓库了。",
            "订单{order}没有装全。",
            "漏发的{product}还在仓库。",
        ),
        steps=(
            "第二个包裹今天寄出。",
            "今天用第二个包裹补发。",
            "我已打好第二个包裹。",
        ),
    ),
    "promo_code": Replies(
        acknowledgements=(
            "订单{order}的优惠券过期了。",
            "我看到订单{order}没有折扣。",
            "{product}的折扣结束了。",
            "订单{order}没用上优惠券。",
        ),
        steps=(
            "请用新的券码SAVE10。",
            "新的券码已发给您。",
            "新的券码SAVE10{new_day}前有效。",
        ),
    ),
    "stock": Replies(
        acknowledgements=(
            "{product}在{city}有货。",
            "{city}店还有两件现货。",
            "{city}的{product}没有卖完。",
            "{city}还剩一件{product}的现货。",
        ),
        steps=(
            "我可以为您预留到{new_day}。",
            "我已为您预留一件。",
            "点“预留”，明天来取。",
        ),
    ),
}
