"""The embedded world in English."""

from __future__ import annotations

from tfalign.applications.dialogue.embedded.phrases import Phrases

PHRASES = Phrases(
    language="english",
    names=(
        *("Blue Door", "Corner Table", "Golden Bowl", "Green Fig", "Harbour House", "Old Mill"),
        *(
            "Paper Lantern",
            "Red Kettle",
            "River View",
            "Silver Spoon",
            "Two Brothers",
            "White Horse",
        ),
        *("Copper Pot", "Garden Gate", "Lucky Star", "Market Hall", "Night Owl", "Olive Tree"),
        *(
            "Quiet Corner",
            "Salt and Smoke",
            "Stone Oven",
            "Sunny Side",
            "Wild Thyme",
            "Winter Garden",
        ),
    ),
    values={
        "food": ("thai", "italian", "indian", "french", "greek", "korean"),
        "area": ("north", "south", "east", "west", "centre"),
        "pricerange": ("cheap", "moderate", "expensive"),
    },
    absent=("welsh", "cuban", "danish"),
    streets=("Mill Road", "King Street", "Station Road", "Bridge Lane"),
    address="{number} {street}",
    phone="01223 {number}",
    postcode="cb1 {number}",
    begin=("i am looking for a restaurant {wish} .", "hello , can you find a restaurant {wish} ?"),
    wishes={
        "food": ("that serves [food] food", "with [food] food"),
        "area": ("in the [area] of town", "in the [area]"),
        "pricerange": ("in the [pricerange] price range", "that is [pricerange]"),
    },
    later={
        "food": ("[food] food , please .", "how about [food] ?", "i would like [food] food ."),
        "area": (
            "in the [area] , please .",
            "the [area] of town .",
            "it should be in the [area] .",
        ),
        "pricerange": ("it should be [pricerange] .", "something [pricerange] .", "[pricerange] ."),
    },
    dontcare={
        "food": ("any kind of food is fine .", "i do not mind what they serve ."),
        "area": ("anywhere is fine .", "i do not mind where it is ."),
        "pricerange": ("any price is fine .", "the price does not matter ."),
    },
    ask={
        "phone": ("what is the phone number ?", "can i have their number ?"),
        "address": ("what is the address ?", "where exactly is it ?"),
        "postcode": ("what is the postcode ?", "can you tell me the postcode ?"),
    },
    bye=("thank you , goodbye .", "that is all , thanks ."),
    offer=(
        "[name] is a [pricerange] [food] restaurant in the [area] .",
        "how about [name] ? it serves [food] food .",
        "i recommend [name] in the [area] .",
    ),
    request={
        "food": ("what kind of food would you like ?",),
        "area": ("which part of town do you have in mind ?",),
        "pricerange": ("what price range would you like ?",),
    },
    none=("sorry , there is no such restaurant . what else would you like ?",),
    tell={
        "phone": ("their phone number is [phone] .", "you can call them on [phone] ."),
        "address": ("it is at [address] .", "the address is [address] ."),
        "postcode": ("the postcode is [postcode] .",),
    },
    welcome=("you are welcome . goodbye .", "enjoy your meal !"),
)
