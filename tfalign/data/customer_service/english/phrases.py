"""What English-speaking agents say whatever the request is: manners good and bad."""

from __future__ import annotations

from tfalign.data.customer_service.language import Phrases

PHRASES = Phrases(
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
