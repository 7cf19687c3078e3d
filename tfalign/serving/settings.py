"""What a server's operator may set."""

from __future__ import annotations

import os

from tfalign.options import option, option_record

KEY_VARIABLE = "TFALIGN_API_KEY"


def _unseen(field):
    """A field that the record's repr leaves out."""
    field.repr = False
    return field


@option_record
class Limits:
    """Bounds of a server, and who may use it.

    Raises:
        ValueError: naming the option that is out of its range.
    """

    most_bytes: int = option(200_000, "Maximum bytes of a request's body.", at_least=2)
    body_seconds: float = option(
        10.0,
        "Seconds in which a request's head, then its body, must arrive.",
        above=0,
        at_most=86400,
    )
    render_seconds: float = option(5.0, "Seconds a chat template may take.", above=0, at_most=86400)
    compile_seconds: float = option(
        10.0, "Seconds a JSON schema in a request may take to compile.", above=0, at_most=86400
    )
    drain_seconds: float = option(
        20.0, "Seconds that responses may still take after SIGTERM.", at_least=0, at_most=86400
    )
    allowed_hosts: str = option(
        "",
        "Names that clients call the server by, separated by commas, beside addresses, names without a"
        " dot and those that end in .localhost; * for any.",
    )
    api_key: str | None = _unseen(
        option(None, f"Key that requests must bring; none: the environment's ${KEY_VARIABLE}.")
    )

    def __post_init__(self) -> None:
        if not (self.key.isascii() and self.key.isprintable() and self.key == self.key.strip()):
            raise ValueError(
                "--api_key must be printable ASCII, as an HTTP header can hold it, without spaces at"
                " its ends."
            )

    @property
    def key(self) -> str:
        """The key that requests must bring; "" for none."""
        return self.api_key or os.environ.get(KEY_VARIABLE, "")

    @property
    def hosts(self) -> frozenset[str]:
        """The further names that clients may call the server by."""
        names = self.allowed_hosts.lower().split(",")
        return frozenset(filter(None, map(str.strip, names)))
