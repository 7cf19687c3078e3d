"""How English-speaking agents take up a request and solve it, by intent."""

from __future__ import annotations

from tfalign.data.customer_service.language import Replies

REPLIES = {
    "order_status": Replies(
        acknowledgements=(
            "Order {order} is on its way.",
            "Your {product} has left the warehouse.",
            "Order {order} shipped this morning.",
            "Your {product} is with the courier.",
        ),
        steps=(
            "I have emailed you the tracking link.",
            "The tracking link is now in your inbox.",
            "You can follow it with the tracking link I sent.",
        ),
    ),
    "delivery_delay": Replies(
        acknowledgements=(
            "Order {order} is delayed at our depot.",
            "I see that order {order} is late.",
            "Your {product} is running late.",
            "The delivery of order {order} was held up.",
        ),
        steps=(
            "I have booked a new delivery for {new_day}.",
            "The courier will bring it on {new_day}.",
            "I moved it to express delivery.",
        ),
    ),
    "refund": Replies(
        acknowledgements=(
            "A refund for order {order} is fine.",
            "Your {product} can be refunded.",
            "I have opened a refund for order {order}.",
            "Order {order} qualifies for a refund.",
        ),
        steps=(
            "The money goes back to your card within five days.",
            "Your bank will show the money in five days.",
            "I have sent the money back to your card.",
        ),
    ),
    "exchange": Replies(
        acknowledgements=(
            "You can exchange order {order}.",
            "We can swap your {product}.",
            "An exchange for order {order} is fine.",
            "Swapping the {product} is no trouble.",
        ),
        steps=(
            "Just post it back with the return label I emailed.",
            "Use the return label and the new one follows.",
            "The return label is in your inbox.",
        ),
    ),
    "cancel_order": Replies(
        acknowledgements=(
            "I can cancel order {order}.",
            "Order {order} can still be cancelled.",
            "I have stopped order {order}.",
            "Your {product} is off the order, all cancelled.",
        ),
        steps=(
            "You will get a cancellation email within the hour.",
            "I have sent you the cancellation email.",
            "A cancellation email will confirm it.",
        ),
    ),
    "address_change": Replies(
        acknowledgements=(
            "I can change the address of order {order}.",
            "Order {order} can go to the new address.",
            "We will update the address for order {order}.",
            "A new address for order {order} is fine.",
        ),
        steps=(
            "Just reply with the new street and postcode.",
            "Enter the new street and postcode in the app.",
            "I only need the new street and postcode.",
        ),
    ),
    "password_reset": Replies(
        acknowledgements=(
            "I can unlock the account {user}.",
            "The login for {user} is easy to restore.",
            "The account {user} just needs a new password.",
            "I found the locked account {user}.",
        ),
        steps=(
            "I have emailed you a reset link.",
            "Use the reset link in your inbox.",
            "Tap 'Forgot password' to get a reset link.",
        ),
    ),
    "invoice": Replies(
        acknowledgements=(
            "The invoice for order {order} is ready.",
            "I found the invoice for your {product}.",
            "Order {order} has an invoice on file.",
            "I made the invoice for order {order}.",
        ),
        steps=(
            "You can download the PDF under My Orders.",
            "I have emailed you the PDF.",
            "The PDF is now in your inbox.",
        ),
    ),
    "damaged_item": Replies(
        acknowledgements=(
            "Order {order} should not arrive broken.",
            "A damaged {product} is not what we want for you.",
            "I noted the damage on order {order}.",
            "Your broken {product} is our job to fix.",
        ),
        steps=(
            "Send us a photo and we ship a replacement.",
            "A replacement ships once we have a photo.",
            "Just email a photo for a free replacement.",
        ),
    ),
    "warranty": Replies(
        acknowledgements=(
            "Order {order} is still under warranty.",
            "Your {product} has a two-year warranty.",
            "The warranty covers order {order}.",
            "The warranty on the {product} is valid.",
        ),
        steps=(
            "I have booked a free repair.",
            "Our repair centre will look at it for free.",
            "Just bring it to our repair centre.",
        ),
    ),
    "subscription": Replies(
        acknowledgements=(
            "The subscription of {user} can end this month.",
            "I found the monthly plan of {user}.",
            "The plan of {user} has no minimum term.",
            "I can see the subscription of {user}.",
        ),
        steps=(
            "Tap 'End plan' under Settings.",
            "You can end it any time under Settings.",
            "Open Settings and choose 'End plan'.",
        ),
    ),
    "payment_failure": Replies(
        acknowledgements=(
            "The payment for order {order} did not go through.",
            "I see the failed payment for your {product}.",
            "Order {order} is still unpaid.",
            "The bank declined the payment for order {order}.",
        ),
        steps=(
            "Try another card or PayPal.",
            "It often works with another card.",
            "You can pay again with another card.",
        ),
    ),
    "opening_hours": Replies(
        acknowledgements=(
            "Our {city} shop is open that day.",
            "You can visit our shop in {city}.",
            "The {city} shop opens as usual.",
            "Yes, the shop in {city} is open.",
        ),
        steps=(
            "Come any time from 9 am to 6 pm.",
            "The doors open at 9 am and close at 6 pm.",
            "The hours are 9 am to 6 pm.",
        ),
    ),
    "missing_item": Replies(
        acknowledgements=(
            "I see that order {order} was not complete.",
            "The {product} is missing from our packing list too.",
            "Order {order} left us incomplete.",
            "The missing {product} is still on our shelf.",
        ),
        steps=(
            "A second parcel leaves today.",
            "We send the rest today in a second parcel.",
            "I packed a second parcel for you.",
        ),
    ),
    "promo_code": Replies(
        acknowledgements=(
            "The voucher for order {order} has expired.",
            "I see no discount on order {order}.",
            "The discount for your {product} ended.",
            "Order {order} did not accept the voucher.",
        ),
        steps=(
            "Here is a new code: SAVE10.",
            "I have emailed you a new code.",
            "The new code SAVE10 works until {new_day}.",
        ),
    ),
    "stock": Replies(
        acknowledgements=(
            "The {product} is in stock in {city}.",
            "{city} has two of them in stock.",
            "The {product} is not sold out in {city}.",
            "There is one {product} left in {city}.",
        ),
        steps=(
            "I can reserve it until {new_day}.",
            "I have reserved one for you.",
            "Tap 'Reserve' and pick it up tomorrow.",
        ),
    ),
}
