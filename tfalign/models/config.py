"""Base of the model configurations: frozen dataclasses that refuse unknown fields."""

from __future__ import annotations

import dataclasses


class ModelConfig:
    """Base of the configurations; each is a frozen dataclass.

    Attributes:
        max_positions: int, longest sequence; None where there is no limit.
    """

    max_positions: int | None = None

    @property
    def context_length(self):
        """Maximum number of previous tokens that a prediction depends on, int; None for all."""
        return self.max_positions

    @classmethod
    def from_dict(cls, values):
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

    def to_dict(self):
        return dataclasses.asdict(self)

    def replace(self, **changes):
        return dataclasses.replace(self, **changes)


def preset(presets, name, **changes):
    """One of the named configurations, with some fields changed.

    Raises:
        ValueError: naming the presets there are.
    """
    if name not in presets:
        raise ValueError(f"Presets are {', '.join(presets)}. Received: {name!r}")
    return presets[name].replace(**changes)
