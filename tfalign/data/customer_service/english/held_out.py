"""What English-speaking customers ask in test splits alone, by intent."""

from __future__ import annotations

from tfalign.data.customer_service.language import HeldOutRequests

HELD_OUT = {
    "order_status": HeldOutRequests(
        held_out_requests=(
            "Where is the parcel of order {order} now?",
            "Has my {product} shipped yet? It's order {order}.",
            "Any news on the status of order {order}?",
        ),
        held_out_problems=("Can you track my parcel?",),
    ),
    "delivery_delay": HeldOutRequests(
        held_out_requests=(
            "Why is order {order} so late?",
            "I've waited a week for my {product}. Order {order}.",
            "My delivery still hasn't arrived. It's order {order}.",
        ),
        held_out_problems=("Why is my delivery so late?",),
    ),
    "refund": HeldOutRequests(
        held_out_requests=(
            "Can you refund order {order}, please?",
            "I want my money back for order {order}.",
            "How do I get a refund for my {product}? Order {order}.",
        ),
        held_out_problems=("I want a refund.",),
    ),
    "exchange": HeldOutRequests(
        held_out_requests=(
            "I'd like to exchange the {product}. Order {order}.",
            "Can I swap the {product} from order {order}?",
            "Could I exchange order {order} for a bigger one?",
        ),
        held_out_problems=("How do I exchange an item?",),
    ),
    "cancel_order": HeldOutRequests(
        held_out_requests=(
            "I need to cancel order {order}.",
            "Can you cancel the {product} from order {order}?",
            "I don't want order {order} any more.",
        ),
        held_out_problems=("Please cancel the {product}.",),
    ),
    "address_change": HeldOutRequests(
        held_out_requests=(
            "Can you change the address of order {order}?",
            "I moved. Please send order {order} to {city}.",
            "Order {order} needs my new address in {city}.",
        ),
        held_out_problems=("I have a new address in {city}.",),
    ),
    "password_reset": HeldOutRequests(
        held_out_requests=(
            "I forgot the password of {user}.",
            "I can't log in to my account {user}.",
            "The account {user} is locked. How do I log in?",
        ),
        held_out_problems=("How do I reset my password?",),
    ),
    "invoice": HeldOutRequests(
        held_out_requests=(
            "Can you send me the receipt for order {order}?",
            "Where is the invoice for my {product}? Order {order}.",
            "I need a bill for order {order}.",
        ),
        held_out_problems=("My boss wants an invoice.",),
    ),
    "damaged_item": HeldOutRequests(
        held_out_requests=(
            "My {product} came broken. It's order {order}.",
            "The {product} from order {order} was damaged.",
            "Order {order} arrived cracked.",
        ),
        held_out_problems=("My {product} came damaged.",),
    ),
    "warranty": HeldOutRequests(
        held_out_requests=(
            "Is order {order} still under warranty?",
            "Does the warranty cover my {product}? Order {order}.",
            "The {product} from order {order} stopped working.",
        ),
        held_out_problems=("How long is the warranty on my {product}?",),
    ),
    "subscription": HeldOutRequests(
        held_out_requests=(
            "Please stop my subscription. I'm {user}.",
            "I want to end the monthly plan of {user}.",
            "How do I pause the monthly plan? My user name is {user}.",
        ),
        held_out_problems=("I want to end the monthly plan.",),
    ),
    "payment_failure": HeldOutRequests(
        held_out_requests=(
            "My card fails at the checkout. Order {order}.",
            "Why did my payment fail? Order {order}.",
            "The checkout declined the payment for order {order}.",
        ),
        held_out_problems=("The checkout rejects my payment.",),
    ),
    "opening_hours": HeldOutRequests(
        held_out_requests=(
            "When is the shop in {city} open on {day}?",
            "Does the {city} shop open on {day}?",
            "What are the opening hours of your {city} shop?",
        ),
        held_out_problems=("Can I visit your shop on {day}?",),
    ),
    "missing_item": HeldOutRequests(
        held_out_requests=(
            "Order {order} came half empty.",
            "The {product} is missing from order {order}.",
            "My order {order} came without a {product}.",
        ),
        held_out_problems=("The {product} wasn't in my box.",),
    ),
    "promo_code": HeldOutRequests(
        held_out_requests=(
            "The voucher doesn't work on order {order}.",
            "My discount is gone from order {order}.",
            "Why did my voucher fail? Order {order}.",
        ),
        held_out_problems=("My voucher code doesn't work.",),
    ),
    "stock": HeldOutRequests(
        held_out_requests=(
            "Does {city} still have the {product} in stock?",
            "Is the {product} in {city} sold out?",
            "When will {city} have the {product} back in stock?",
        ),
        held_out_problems=("Do you still have the {product} in stock?",),
    ),
}
