"""What shows, in English, that somebody asks for, speaks of or solves something, by intent."""

from __future__ import annotations

from tfalign.data.customer_service.language import Cues

CUES = {
    "order_status": Cues(
        request_cues=(
            r"where (is my (order|parcel|\w+|\w+ \w+ now)|is the parcel|order \w+ is)",
            r"\bnews\b",
            r"\bstatus\b",
            r"shipped yet",
            r"\btrack",
            r"\bnow\? it's",
        ),
        topic_cues=(
            r"on (its|the) way",
            r"\bshipped\b",
            r"warehouse",
            r"courier",
            r"\bstatus\b",
            r"\btrack",
            r"in transit",
        ),
        step_cues=(r"tracking (link|page|number|code)", r"\btrack (it|your|the)\b"),
    ),
    "delivery_delay": Cues(
        request_cues=(
            r"\blate\b",
            r"\bdue on\b",
            r"hasn't (\w+ ){0,3}(arrived|come)",
            r"waited",
            r"delay",
            r"my delivery",
        ),
        topic_cues=(r"delay", r"\blate\b", r"\bdelivery\b", r"depot", r"held up"),
        step_cues=(
            r"(new|express|another|second) delivery",
            r"courier (will|to)\b",
            r"(deliver|bring|arrive)[^.!?]{0,20}\bon \w+day",
        ),
    ),
    "refund": Cues(
        request_cues=(r"\brefund", r"money back"),
        topic_cues=(r"refund", r"money back", r"reimburse"),
        step_cues=(
            r"\b(money|amount|refund|sum)\b[^.!?]{0,80}\b(card|account|bank)\b",
            r"(bank|card|account)[^.!?]{0,20}(money|amount)",
            r"refund[^.!?]{0,30}\bdays\b",
        ),
    ),
    "exchange": Cues(
        request_cues=(r"exchang", r"\bswap", r"\binstead\b"),
        topic_cues=(r"exchang", r"\bswap"),
        step_cues=(r"return label", r"(post|send|ship) (it|the \w+) back"),
    ),
    "cancel_order": Cues(
        request_cues=(r"\bcancel", r"any more", r"stop order"),
        topic_cues=(r"\bcancel", r"stopped order", r"stop(ped)? (your|the) order"),
        step_cues=(
            r"cancellation (email|notice|confirmation|mail)",
            r"(email|confirm)[^.!?]{0,20}cancellation",
        ),
    ),
    "address_change": Cues(
        request_cues=(r"address", r"\bmoved\b", r"\bi moved\b"),
        topic_cues=(r"address",),
        step_cues=(r"\bstreet\b", r"\bpostcode\b", r"\bzip code\b"),
    ),
    "password_reset": Cues(
        request_cues=(r"password", r"\blog in\b", r"\blogin\b", r"\baccount\b", r"locked"),
        topic_cues=(r"password", r"\blog ?in\b", r"\baccount\b", r"unlock"),
        step_cues=(
            r"reset (link|email|code|mail)",
            r"forgot password",
            r"link[^.!?]{0,20}(reset|new password)",
        ),
    ),
    "invoice": Cues(
        request_cues=(r"invoice", r"receipt", r"\bbill\b", r"invoice"),
        topic_cues=(r"invoice", r"receipt", r"\bbill\b"),
        step_cues=(r"\bpdf\b", r"(download|email)[^.!?]{0,20}(invoice|receipt|copy)"),
    ),
    "damaged_item": Cues(
        request_cues=(r"broken", r"crack", r"damage", r"\bdent\b"),
        topic_cues=(r"broken", r"damage", r"crack", r"\bdent"),
        step_cues=(r"\bphoto\b", r"\bpicture of\b", r"replacement"),
    ),
    "warranty": Cues(
        request_cues=(r"warranty", r"stopped working", r"\bdied\b", r"warranty"),
        topic_cues=(r"warranty", r"\bcover(s|ed)\b"),
        step_cues=(r"repair",),
    ),
    "subscription": Cues(
        request_cues=(r"subscription", r"monthly plan", r"\bplan\b"),
        topic_cues=(r"subscription", r"\bplan of\b", r"monthly plan", r"membership"),
        step_cues=(r"\bsettings\b", r"\bend plan\b"),
    ),
    "payment_failure": Cues(
        request_cues=(r"payment", r"declined", r"\bpay\b", r"checkout", r"my card"),
        topic_cues=(r"payment", r"unpaid", r"declined", r"\bpaid\b"),
        step_cues=(r"(another|different|second|new) card", r"\bpaypal\b", r"pay again"),
    ),
    "opening_hours": Cues(
        request_cues=(r"\bshop\b", r"\bopen", r"\bhours\b", r"\bvisit\b"),
        topic_cues=(r"\bopens?\b", r"opening", r"\bshop in\b", r"\bvisit\b"),
        step_cues=(r"9 ?am\b[^.!?]{0,20}6 ?pm",),
    ),
    "missing_item": Cues(
        request_cues=(
            r"missing from",
            r"came without",
            r"half empty",
            r"wasn't in",
            r"is missing from",
        ),
        topic_cues=(r"missing", r"(not|in)[ -]?complete", r"left out"),
        step_cues=(r"(second|new|another) (parcel|box|package)", r"send the (rest|missing)"),
    ),
    "promo_code": Cues(
        request_cues=(r"voucher", r"discount", r"\bcode\b", r"% off"),
        topic_cues=(r"voucher", r"discount", r"coupon"),
        step_cues=(r"new code", r"new voucher", r"\bsave10\b"),
    ),
    "stock": Cues(
        request_cues=(r"in stock", r"sold out", r"be back in", r"still buy", r"in stock"),
        topic_cues=(r"in stock", r"sold out", r"\bleft in\b", r"available"),
        step_cues=(r"\breserv",),
    ),
}
