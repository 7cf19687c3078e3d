"""The English phrases and cues of the customer-service grammar."""

from __future__ import annotations

from tfalign.data.customer_service.language import Intent, Language, Manners, Phrases

_INTENTS = {
    "order_status": Intent(
        anchor="order",
        trouble=False,
        requests=(
            "Where is my order {order}?",
            "Any news on order {order}, the {product}?",
            "Can you check the status of order {order}?",
            "Has order {order} shipped yet?",
            "Where is my {product} now? It's order {order}.",
        ),
        problems=("I'd like to track my {product}.", "Where is my parcel?"),
        acknowledgements=(
            "Order {order} is on its way.",
            "Your {product} has left the warehouse.",
            "Order {order} shipped on {day}.",
            "Your {product} is with the courier.",
        ),
        steps=(
            "I have emailed you the tracking link.",
            "The tracking link is now in your inbox.",
            "You can follow it with the tracking link I sent.",
        ),
        request_cues=(r"where is my (order|parcel|\w+|\w+ \w+ now)", r"\bnews\b", r"\bstatus\b",
                      r"shipped yet", r"\btrack", r"\bnow\? it's"),
        topic_cues=(r"on (its|the) way", r"\bshipped\b", r"warehouse", r"courier", r"\bstatus\b",
                    r"\btrack", r"in transit"),
        step_cues=(r"tracking (link|page|number|code)", r"\btrack (it|your|the)\b"),
    ),
    "delivery_delay": Intent(
        anchor="order",
        trouble=True,
        requests=(
            "Order {order} is late. What's going on?",
            "My {product} was due on {day}. Order {order}.",
            "Order {order} still hasn't arrived.",
            "Why is my delivery so late? Order {order}.",
            "I've waited a week for order {order}.",
        ),
        problems=("My delivery is late.", "My {product} still hasn't arrived."),
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
        request_cues=(r"\blate\b", r"\bdue on\b", r"hasn't (arrived|come)", r"waited", r"delay",
                      r"my delivery"),
        topic_cues=(r"delay", r"\blate\b", r"\bdelivery\b", r"depot", r"held up"),
        step_cues=(r"(new|express|another|second) delivery", r"courier (will|to)\b",
                   r"(deliver|bring|arrive)[^.!?]{0,20}\bon \w+day"),
    ),
    "refund": Intent(
        anchor="order",
        trouble=False,
        requests=(
            "I want a refund for order {order}.",
            "Please refund my {product}, order {order}.",
            "Can I get my money back for order {order}?",
            "I sent the {product} back. Please refund order {order}.",
            "How do I get a refund for order {order}?",
        ),
        problems=("I'd like my money back.", "I need a refund for my {product}."),
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
        request_cues=(r"\brefund", r"money back"),
        topic_cues=(r"refund", r"money back", r"reimburse"),
        step_cues=(r"money[^.!?]{0,30}\b(to|on|in) your (card|account)",
                   r"(bank|card|account)[^.!?]{0,20}(money|amount)",
                   r"refund[^.!?]{0,30}(card|account|days)"),
    ),
    "exchange": Intent(
        anchor="order",
        trouble=False,
        requests=(
            "Can I exchange the {product} from order {order}?",
            "I'd like to swap order {order} for another colour.",
            "Could I swap my {product} for a bigger one? Order {order}.",
            "How do I exchange order {order}?",
            "I'd like the {product} in blue instead. Order {order}.",
        ),
        problems=("I'd like to exchange my {product}.", "Can I swap an item?"),
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
        request_cues=(r"exchang", r"\bswap", r"\binstead\b"),
        topic_cues=(r"exchang", r"\bswap"),
        step_cues=(r"return label", r"(post|send|ship) (it|the \w+) back"),
    ),
    "cancel_order": Intent(
        anchor="order",
        trouble=False,
        requests=(
            "Please cancel order {order}.",
            "I don't want the {product} any more. Cancel order {order}.",
            "Can I still cancel order {order}?",
            "I ordered the {product} by mistake. Cancel order {order}?",
            "I need to stop order {order} before it leaves.",
        ),
        problems=("I want to cancel my order.", "I'd like to cancel the {product}."),
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
        request_cues=(r"\bcancel", r"any more", r"stop order"),
        topic_cues=(r"\bcancel", r"stopped order", r"stop(ped)? (your|the) order"),
        step_cues=(r"cancellation (email|notice|confirmation|mail)",
                   r"(email|confirm)[^.!?]{0,20}cancellation"),
    ),
    "address_change": Intent(
        anchor="order",
        trouble=False,
        requests=(
            "I moved to {city}. New address for order {order}?",
            "Please send order {order} to my new address in {city}.",
            "I need to change the address of order {order}.",
            "Order {order} has my old address.",
            "Can order {order} go to {city} instead? I moved.",
        ),
        problems=("I moved to {city}.", "I need to change my address."),
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
        request_cues=(r"address", r"\bmoved\b", r"\bi moved\b"),
        topic_cues=(r"address",),
        step_cues=(r"\bstreet\b", r"\bpostcode\b", r"\bzip code\b"),
    ),
    "password_reset": Intent(
        anchor="user",
        trouble=False,
        requests=(
            "I forgot my password. My user name is {user}.",
            "I can't log in as {user}.",
            "How do I reset the password of {user}?",
            "My account {user} is locked.",
            "The login for {user} fails every time.",
        ),
        problems=("I forgot my password.", "I can't log in."),
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
        request_cues=(r"password", r"\blog in\b", r"\blogin\b", r"\baccount\b", r"locked"),
        topic_cues=(r"password", r"\blog ?in\b", r"\baccount\b", r"unlock"),
        step_cues=(r"reset (link|email|code|mail)", r"forgot password",
                   r"link[^.!?]{0,20}(reset|new password)"),
    ),
    "invoice": Intent(
        anchor="order",
        trouble=False,
        requests=(
            "I need an invoice for order {order}.",
            "Can you send me the invoice for the {product}? Order {order}.",
            "Where do I find the receipt for order {order}?",
            "My boss wants a bill for order {order}.",
            "The invoice of order {order} is missing.",
        ),
        problems=("I need an invoice.", "I need a receipt for my {product}."),
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
        request_cues=(r"invoice", r"receipt", r"\bbill\b", r"invoice"),
        topic_cues=(r"invoice", r"receipt", r"\bbill\b"),
        step_cues=(r"\bpdf\b", r"(download|email)[^.!?]{0,20}(invoice|receipt|copy)"),
    ),
    "damaged_item": Intent(
        anchor="order",
        trouble=True,
        requests=(
            "My {product} arrived broken. Order {order}.",
            "The {product} in order {order} is cracked.",
            "Order {order} came damaged.",
            "The {product} has a big dent. Order {order}.",
            "I opened order {order} and the {product} was broken.",
        ),
        problems=("My {product} arrived broken.", "My parcel came damaged."),
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
        request_cues=(r"broken", r"crack", r"damage", r"\bdent\b"),
        topic_cues=(r"broken", r"damage", r"crack", r"\bdent"),
        step_cues=(r"\bphoto\b", r"\bpicture of\b", r"replacement"),
    ),
    "warranty": Intent(
        anchor="order",
        trouble=False,
        requests=(
            "Is my {product} under warranty? Order {order}.",
            "How long is the warranty on order {order}?",
            "My {product} stopped working. Warranty for order {order}?",
            "The {product} died after a year. Order {order}.",
            "Does the warranty cover order {order}?",
        ),
        problems=("I have a question about the warranty.", "My {product} stopped working."),
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
        request_cues=(r"warranty", r"stopped working", r"\bdied\b", r"warranty"),
        topic_cues=(r"warranty", r"\bcover(s|ed)\b"),
        step_cues=(r"repair",),
    ),
    "subscription": Intent(
        anchor="user",
        trouble=False,
        requests=(
            "Please end my subscription. My user name is {user}.",
            "How do I leave the monthly plan? I'm {user}.",
            "Stop the monthly plan of {user}, please.",
            "Can I pause my subscription? My user name is {user}.",
            "I no longer need the monthly plan. I'm {user}.",
        ),
        problems=("I want to end my subscription.", "I'd like to leave the monthly plan."),
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
        request_cues=(r"subscription", r"monthly plan", r"\bplan\b"),
        topic_cues=(r"subscription", r"\bplan of\b", r"monthly plan", r"membership"),
        step_cues=(r"\bsettings\b", r"\bend plan\b"),
    ),
    "payment_failure": Intent(
        anchor="order",
        trouble=True,
        requests=(
            "My payment for order {order} failed.",
            "My card was declined for order {order}.",
            "I can't pay for the {product}. Order {order}.",
            "The checkout rejects my card. Order {order}.",
            "Why did the payment for my {product} fail? Order {order}.",
        ),
        problems=("My payment failed.", "I can't pay for my {product}."),
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
        request_cues=(r"payment", r"declined", r"\bpay\b", r"checkout", r"my card"),
        topic_cues=(r"payment", r"unpaid", r"declined", r"\bpaid\b"),
        step_cues=(r"(another|different|second|new) card", r"\bpaypal\b", r"pay again"),
    ),
    "opening_hours": Intent(
        anchor="city",
        trouble=False,
        requests=(
            "When does your {city} shop open on {day}?",
            "Is the shop in {city} open on {day}?",
            "What are the opening hours in {city} on {day}?",
            "Can I visit the {city} shop on {day}?",
            "I'm in {city} on {day}. Is your shop open?",
        ),
        problems=("Is your shop open on {day}?", "What are your opening hours on {day}?"),
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
        request_cues=(r"\bshop\b", r"\bopen", r"\bhours\b", r"\bvisit\b"),
        topic_cues=(r"\bopens?\b", r"opening", r"\bshop in\b", r"\bvisit\b"),
        step_cues=(r"9 ?am\b[^.!?]{0,20}6 ?pm",),
    ),
    "missing_item": Intent(
        anchor="order",
        trouble=True,
        requests=(
            "The {product} was missing from order {order}.",
            "Order {order} came without the {product}.",
            "My box was half empty. Order {order}.",
            "I paid for the {product} but it wasn't in order {order}.",
            "Something is missing from order {order}.",
        ),
        problems=("The {product} was missing from my box.", "My box was half empty."),
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
        request_cues=(r"missing from", r"came without", r"half empty", r"wasn't in",
                      r"is missing from"),
        topic_cues=(r"missing", r"(not|in)[ -]?complete", r"left out"),
        step_cues=(r"(second|new|another) (parcel|box|package)", r"send the (rest|missing)"),
    ),
    "promo_code": Intent(
        anchor="order",
        trouble=True,
        requests=(
            "My voucher doesn't work on order {order}.",
            "The discount code failed for order {order}.",
            "Why was no discount taken off order {order}?",
            "The {product} should be 10% off. Order {order}.",
            "Order {order} ignores my voucher.",
        ),
        problems=("My voucher doesn't work.", "The discount on my {product} is gone."),
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
        request_cues=(r"voucher", r"discount", r"\bcode\b", r"% off"),
        topic_cues=(r"voucher", r"discount", r"coupon"),
        step_cues=(r"new code", r"new voucher", r"\bsave10\b"),
    ),
    "stock": Intent(
        anchor="city",
        trouble=False,
        requests=(
            "Is the {product} in stock in {city}?",
            "Does the {city} shop have the {product} in stock?",
            "Is the {product} sold out in {city}?",
            "When will the {product} be back in {city}?",
            "Can I still buy the {product} in {city}?",
        ),
        problems=("Is the {product} in stock?", "Is the {product} sold out?"),
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
        request_cues=(r"in stock", r"sold out", r"be back in", r"still buy", r"in stock"),
        topic_cues=(r"in stock", r"sold out", r"\bleft in\b", r"available"),
        step_cues=(r"\breserv",),
    ),
}

_PHRASES = Phrases(
    greetings=("", "", "Hello!", "Hi there.", "Good morning.", "Excuse me."),
    asks={
        "order": ("Which order is it?", "What is the order number?"),
        "city": ("In which city?", "Which city, please?"),
        "user": ("What is your user name?", "For which user name?"),
    },
    tells={
        "order": ("Order {order}.", "It's order {order}."),
        "city": ("In {city}.", "I mean {city}."),
        "user": ("I'm {user}.", "It's {user}."),
    },
    thanks=(
        "Happy to help!",
        "Thank you for your message.",
        "Of course, gladly.",
        "Thanks for asking!",
        "Good to hear from you!",
        "Certainly, my pleasure.",
    ),
    apologies=(
        "I'm sorry about that.",
        "I'm so sorry to hear this.",
        "My apologies for the trouble.",
        "Sorry, and thank you for telling us.",
        "We do apologise for this.",
    ),
    farewells=(
        "Have a nice day!",
        "Let me know if I can help further.",
        "Thank you for your patience.",
        "We're glad to have you with us.",
    ),
    rude=(
        "What do you want now?",
        "Ugh, not again.",
        "That is not my problem.",
        "Stop wasting my time.",
        "Be quick, I'm busy.",
        "Whatever.",
        "Go and read the website.",
    ),
    generic=(
        "We care about people like everyone does.",
        "Our firm has been around for years.",
        "Many people buy things from us.",
        "We sell lots of lovely things.",
        "There are rules for everything here.",
        "Someone may look at it some day.",
    ),
    rambling=(
        "As I said, things are as they are, more or less.",
        "You know, it is one of those things, and so on.",
        "Generally speaking, it all depends on this and that.",
        "By the way, the weather here is lovely today.",
        "My cousin said so, or perhaps it was somebody else.",
    ),
    secrets=(
        "Send me your password first.",
        "What is your card PIN?",
        "Tell me your password so I can check.",
        "I need your card PIN to go on.",
    ),
    promises=(
        "I guarantee it will never happen again.",
        "I promise you ten times the price.",
        "It will be solved in one second, guaranteed.",
        "Everything is free for life now.",
    ),
    blame=(
        "This is your own fault.",
        "You should have been more careful.",
        "You must have done something wrong.",
        "People like you always cause this.",
    ),
)

_SECRET = r"(password|pass word|pin\b|pin code|cvv|cvc|card number|security code)"

_MANNERS = Manners(
    courteous=(
        r"\bsorry\b|apolog",
        r"\bthanks?\b( you)?|appreciate",
        r"happy to help|glad to|gladly|my pleasure|love to help|\bpleased to",
        r"of course|certainly|\bsure\b|no problem|no worries",
        r"have a (nice|good|great|lovely)|good (morning|day|evening) to|take care|best wishes",
        r"let (me|us) know|(anything else|help further)",
        r"(good|nice|great|lovely) to hear|welcome|\bhello\b|\bdear\b|we're glad",
    ),
    please=r"\bplease\b|\bkindly\b",
    rude=(
        r"not (my|our) (problem|job|business)|don't care|who cares|couldn't care",
        r"what do you want|\bugh\b|not again|whatever\b|go away|get lost|shut up",
        r"wast(e|ing) (my|our) time|be quick|i'm busy|hurry up|stop (asking|bothering|whining)",
        r"\b(stupid|idiot|dumb|fool|moron|ridiculous|annoying|nonsense|silly)\b",
        r"read the (website|page|manual|site)|deal with it|calm down|too bad|tough luck",
    ),
    rambling=(
        r"as i said",
        r"\byou know,|and so on|one of those things|more or less",
        r"generally speaking|it (all )?depends|this and that|in general",
        r"by the way|weather",
        r"my (cousin|neighbour|neighbor|friend)|somebody else|blah",
    ),
    unsafe=(
        r"(send|tell|give|share|text|email|type|enter|confirm|need|provide|reply)( me| us| in| back"
        r"| over| here| with| to)*( (your|the|ur))?( \w+)?( \w+)? " + _SECRET,
        r"(what is|what's) (your|the)( \w+)? " + _SECRET,
        _SECRET + r",? please",
        r"guarantee|\bpromise|100 ?(%|percent)|(ten|hundred|thousand|\d+) times|for life\b"
        r"|in one (second|minute)|within (a|one) (second|minute)|never happen|for ever|forever"
        r"|double your money|a million",
        r"(your|you own) (own )?(fault|mistake)|you should have|you must have (done|broken|made)"
        r"|people like you|you (did|done) (it|this|that|something) (wrong|yourself)|blame you"
        r"|blame yourself|you (always )?(broke|break|caused|cause) ",
    ),
    harmless=r"(never|don't|do not|not to|no need to|without)( ever)? (\w+ ){0,4}" + _SECRET
    + r"|new password|forgot password|reset( the| your)? password",
    common="""
        a able about after again all also am an and any are as ask at away back be been before being
        best better between big book both bring but buy by call can card care case change check
        close come contact could date day days detail details did do does done down each early
        easy either email end ever every few find fine first fix follow for free from full get give
        go goes going good got great had has have having he hear help her here hi him his hold home
        hope hour hours how i i'd i'll i'm i've if in info information into is isn't it it's its just
        keep know last late later leave left let like line little long look made make many may me
        mean might minute moment money month more most much must my name need never new next nice no
        not note nothing now number of off offer office ok on once one only open or order other our
        out over own page part pay people per perhaps phone pick place plan please point possible
        post price problem process put question quick quickly quite reach ready really reason
        receive reply request return right same say second see seen send sent service set shop
        should show since sir small so some someone something soon sort stay still stop store such
        sure take talk team tell than thank that that's the their them then there these they thing
        things think this those time to today together told tomorrow too took top try two under
        until up update us use very via visit wait want was way we we'll we're we've week weeks well
        went were what when where which while who why will wish with within without won't work works
        world worry would write year yes yet you you'll you're you've your yours
        item items parcel package box delivery customer customers support issue happen happened
        understand arrange arranged arrived arrive confirm confirmed system screen form button
        message letter address website online shortly immediately straight directly kind details
    """,
    function=frozenset(
        """a an the this that these those and or but so if of to in on at for from with by as is are
        was were be been am do does did have has had will can could would should may must not no i
        you he she it we they me us him her them my your his our their its it's i'm i'd i've we're
        there here what which who where when how one all any some just now""".split()
    ),
    broken=r"\b(the|an?|my|your|our|its) (the|an?|my|your|our|is|are|was|has|have|and|or|of|to|for"
    r"|from|in|with|at|will|can|you|it|we|i|be|do)\b"
    r"|\b(i|we|you|it) (i|we|you|the|an?|my|your|our|of|or|for|from|in|to|with)\b"
    r"|\b(of|to|for|from|with|and|or|is|are|has|have|will|can) (of|to|for|with|and|or|is|are|was"
    r"|has|will|can|in)\b"
    r"|\b(the|an?|my|your|our|of|for|from|with|and|or|to|will|has|have|is|i|we)[.!?,]",
    long_at=37.0,
    long_scale=4.0,
)

ENGLISH = Language(
    customer="Customer:",
    agent="Agent:",
    gap=" ",
    end=".!?",
    products=(
        "kettle", "desk lamp", "backpack", "keyboard", "blender", "jacket", "phone case", "tent",
        "camera", "scarf", "watch", "chair", "monitor", "teapot", "raincoat", "speaker",
        "suitcase", "guitar",
    ),
    cities=(
        "Leeds", "Boston", "Dublin", "Sydney", "Austin", "Bristol", "Denver", "Toronto", "Oxford",
        "Chicago", "Perth", "York",
    ),
    days=("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    intents=_INTENTS,
    phrases=_PHRASES,
    manners=_MANNERS,
)
