"""Tools that a model may call: Python functions, run in a process of their own and held to limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tfalign.child_process import ChildError, ChildFunction
from tfalign.tools.formats import BadCall, Call
from tfalign.tools.schemas import arguments_type, schema_of


class Result(NamedTuple):
    """What a call gave."""

    text: str  # for the model to read
    is_good: bool  # whether the call was one, and the tool answered


class Toolbox:
    """Functions by their names. A call that goes wrong is told to the model, and nothing else happens.

    They run one after the other in one process of their own, which is killed and started again when a call takes
    too long. Arguments are checked against the type hints. For a training that can be resumed bit for bit, the same
    call must give the same result.

    >>> def add(a: int, b: int) -> int:
    ...     \"\"\"Adds.
    ...
    ...     Args:
    ...         a: a number.
    ...         b: another.
    ...     \"\"\"
    ...     return a + b
    >>> with Toolbox([add]) as box:
    ...     box(Call("add", {"a": 1, "b": 2})), box(Call("add", {"a": 1}))
    (Result(text='3', is_good=True), Result(text='Error: Object missing required field `b`', is_good=False))

    Args:
        functions: see ``schema_of``; where processes start from nothing, ones that pickle can name.
        timeout: float, seconds that a call may take.
        max_characters: int, of a result that the model reads; the rest is cut off, and it is told so.

    Attributes:
        schemas: list of dict, for the chat template.

    Raises:
        ValueError: if there is no function, two have one name, one has no schema, or a limit is not positive.
    """

    def __init__(
        self, functions: Sequence[Callable], timeout: float = 10.0, max_characters: int = 2000
    ) -> None:
        for name, limit in (("timeout", timeout), ("max_characters", max_characters)):
            if not limit > 0:
                raise ValueError(f"{name} must be positive. Received: {name}={limit}")
        self.schemas = [schema_of(function) for function in functions]
        self.names = [schema["function"]["name"] for schema in self.schemas]
        if not functions or len(set(self.names)) < len(self.names):
            raise ValueError(f"Tools have names of their own. Received: {self.names}")
        self._timeout = timeout
        served = _Served(dict(zip(self.names, functions)), max_characters)
        self._call = ChildFunction(served, timeout)

    def __call__(self, call: Call | BadCall) -> Result:
        """What a call gave, or what was wrong with it."""
        if isinstance(call, BadCall):
            return Result(f"Error: {call.problem}", False)
        if call.name not in self.names:
            return Result(f"Error: there is no tool {call.name[:100]!r}", False)
        try:
            return Result(*self._call(*call))
        except TimeoutError:
            return Result(f"Error: {call.name} took longer than {self._timeout:g} seconds", False)
        except ChildError as error:
            return Result(f"Error: {error}", False)

    def close(self) -> None:
        """Ends the process; further calls are told that it was."""
        self._call.close()

    def __enter__(self) -> Toolbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Served:
    """What the process does with a call: (text, whether it was good)."""

    def __init__(self, functions, max_characters):
        self._functions = functions
        self._types = {name: arguments_type(function) for name, function in functions.items()}
        self._max_characters = max_characters

    def __call__(self, name: str, arguments: dict[str, Any]) -> tuple[str, bool]:
        import msgspec

        try:
            given = msgspec.convert(arguments, self._types[name], strict=False)
            answer = self._functions[name](**{key: getattr(given, key) for key in arguments})
        except msgspec.ValidationError as error:
            return self._cut(f"Error: {error}"), False
        except Exception as error:
            return self._cut(f"Error: {type(error).__name__}: {error}"), False
        return self._cut(_text_of(answer)), True

    def _cut(self, text):
        left = len(text) - self._max_characters
        return text if left <= 0 else f"{text[: self._max_characters]} ... ({left} more characters)"


def _text_of(answer):
    """A result as Unicode: text as it is, bytes as UTF-8, anything else as JSON, or as Python shows it."""
    import msgspec

    if isinstance(answer, bytes):
        return answer.decode("utf-8", "replace")
    if not isinstance(answer, str):
        try:
            return msgspec.json.encode(answer).decode()
        except (TypeError, ValueError, RecursionError):
            answer = str(answer)
    return answer.encode("utf-8", "replace").decode()
