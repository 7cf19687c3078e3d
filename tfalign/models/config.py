"""Base of the model configurations: frozen dataclasses that refuse unknown fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

_Config = TypeVar("_Config", bound="ModelConfig")


class ModelConfig:
    """Base of the configurations; each is a frozen dataclass.

    Attributes:
        max_positions: int, longest sequence; None where there is no limit.
    """

    max_positions: int | None = None

    @property
    def context_length(self) -> int | None:
        """Maximum number of previous tokens that a prediction depends on, int; None for all."""
        return self.max_positions

    @classmethod
    def from_dict(cls: type[_Config], values: Mapping[str, Any]) -> _Config:
        """The configuration of a dict of its fields.

        Raises:
            ValueError: naming the keys that are not fields.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(
                f"{cls.__name__} has no {', '.join(unknown)}; it has {', '.join(sorted(known))}"
            )
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**values | lists)  # JSON has no tuples

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def replace(self: _Config, **changes: Any) -> _Config:
        return dataclasses.replace(self, **changes)


def preset(presets: Mapping[str, _Config], name: str, **changes: Any) -> _Config:
    """One of the named configurations, with some fields changed.

    Raises:
        ValueError: naming the presets there are.
    """
    if name not in presets:
        raise ValueError(f"Presets are {', '.join(presets)}. Received: {name!r}")
    return presets[name].replace(**changes)
