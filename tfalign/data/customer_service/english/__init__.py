"""The English phrases and cues of the customer-service grammar."""

from __future__ import annotations

from tfalign.data.customer_service.english.cues import CUES
from tfalign.data.customer_service.english.held_out import HELD_OUT
from tfalign.data.customer_service.english.manners import MANNERS
from tfalign.data.customer_service.english.phrases import PHRASES
from tfalign.data.customer_service.english.replies import REPLIES
from tfalign.data.customer_service.english.requests import REQUESTS
from tfalign.data.customer_service.language import Language, intents

__all__ = ["ENGLISH"]

ENGLISH = Language(
    ideographic=False,
    customer="Customer:",
    agent="Agent:",
    gap=" ",
    products=(
        "kettle",
        "desk lamp",
        "backpack",
        "keyboard",
        "blender",
        "jacket",
        "phone case",
        "tent",
        "camera",
        "scarf",
        "watch",
        "chair",
        "monitor",
        "teapot",
        "raincoat",
        "speaker",
        "suitcase",
        "guitar",
    ),
    cities=(
        "Leeds",
        "Boston",
        "Dublin",
        "Sydney",
        "Austin",
        "Bristol",
        "Denver",
        "Toronto",
        "Oxford",
        "Chicago",
        "Perth",
        "York",
    ),
    days=("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    intents=intents(REQUESTS, HELD_OUT, REPLIES, CUES),
    phrases=PHRASES,
    manners=MANNERS,
)
