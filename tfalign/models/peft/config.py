"""adapter_config.json: its keys, their values, and which modules they mean, as ``peft`` takes them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection
from pathlib import Path

from tfalign.models.huggingface.json_files import read_object
from tfalign.models.huggingface.kinds import COUNT, SWITCH, Kind, is_number, shortened

CONFIG = "adapter_config.json"


def _is_names(value):
    return isinstance(value, list) and all(isinstance(name, str) and name for name in value)


def _is_pattern(value):
    return isinstance(value, dict) and all(is_number(item) for item in value.values())


_NUMBER = Kind("a number", is_number)
_RATE = Kind("a number from 0 to below 1", lambda v: is_number(v) and 0 <= v < 1)
_NAMES = Kind("a list of names", _is_names)
_TARGETS = Kind("a pattern or a list of names", lambda v: isinstance(v, str) or _is_names(v))
_LAYERS = Kind(
    "a number of a layer, or a list of them",
    lambda v: all(
        isinstance(item, int) and not isinstance(item, bool) and item >= 0
        for item in (v if isinstance(v, list) else [v])
    ),
)
# key -> what it may be, and peft's default; None is that default everywhere
_USED = {
    "r": (COUNT, 8),
    "lora_alpha": (_NUMBER, 8),
    "lora_dropout": (_RATE, 0.0),
    "target_modules": (_TARGETS, None),
    "exclude_modules": (_TARGETS, None),
    "modules_to_save": (_NAMES, None),
    "layers_to_transform": (_LAYERS, None),
    "layers_pattern": (_TARGETS, None),
    "rank_pattern": (Kind("an object of ranks", _is_pattern), {}),
    "alpha_pattern": (Kind("an object of numbers", _is_pattern), {}),
    "use_rslora": (SWITCH, False),
    "use_dora": (SWITCH, False),
    "ensure_weight_tying": (SWITCH, False),
}
# what tfalign computes in one way only; the others change the base's weights before they are adapted
_SUPPORTED = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "init_lora_weights": (True, False, "gaussian", "eva", "orthogonal"),
    "task_type": (
        *("CAUSAL_LM", "SEQ_CLS", "TOKEN_CLS", "FEATURE_EXTRACTION", "MASKED_LM", "SEQ_2_SEQ_LM"),
        "QUESTION_ANS",
    ),
}
_HARMLESS = frozenset(
    # where it is from; how the layers' kernels lie in torch; how another initialisation would go
    ("base_model_name_or_path", "revision", "inference_mode", "auto_mapping", "peft_version")
    + ("fan_in_fan_out", "megatron_core", "runtime_config", "qalora_group_size")
    + ("loftq_config", "eva_config", "corda_config", "lora_ga_config")
)
_SAVED_HEADS = {"SEQ_CLS": ("classifier", "score"), "TOKEN_CLS": ("classifier", "score")}


@dataclasses.dataclass(frozen=True)
class AdapterConfig:
    """What adapter_config.json says, under its names.

    Attributes:
        task_type: str or None; others as in ``peft.LoraConfig``.
    """

    r: int
    lora_alpha: float
    lora_dropout: float
    target_modules: str | list[str] | None
    exclude_modules: str | list[str] | None
    modules_to_save: list[str] | None
    layers_to_transform: int | list[int] | None
    layers_pattern: str | list[str] | None
    rank_pattern: dict[str, int]
    alpha_pattern: dict[str, float]
    use_rslora: bool
    use_dora: bool
    ensure_weight_tying: bool
    task_type: str | None = None

    def is_target(self, module: str, linear: bool) -> bool:
        """Whether a module has an adapter.

        Args:
            module: its name in transformers' model.
            linear: whether "all-linear" means it.
        """
        if self._is_excluded(module):
            return False
        targets = self.target_modules
        if isinstance(targets, str):
            if targets.lower() == "all-linear":
                return linear and not self._is_saved_by_task(module)
            return re.fullmatch(targets, module) is not None
        if module in targets:
            return True
        return any(module.endswith(f".{name}") for name in targets) and self._is_wanted(module)

    def is_saved(self, module: str) -> bool:
        """Whether a module, or what it is part of, stands in ``modules_to_save``."""
        return is_saved_by(module, self.modules_to_save or (), self.task_type)

    def rank(self, module: str) -> int:
        return _of_pattern(self.rank_pattern, module, self.r)

    def alpha(self, module: str) -> float:
        """What the product of the adapter's matrices is scaled by, times its rank."""
        alpha = _of_pattern(self.alpha_pattern, module, self.lora_alpha)
        return float(alpha * self.rank(module) ** 0.5 if self.use_rslora else alpha)

    def _is_excluded(self, module):
        excluded = self.exclude_modules
        if isinstance(excluded, str) and excluded and re.fullmatch(excluded, module):
            return True
        if isinstance(excluded, list) and any(
            module == name or module.endswith(f".{name}") for name in excluded
        ):
            return True
        saved = self.modules_to_save or ()
        return any(re.match(rf"(^|.*\.){name}($|\..*)", module) for name in saved)

    def _is_saved_by_task(self, module):
        return module in _SAVED_HEADS.get(self.task_type, ())

    def _is_wanted(self, module):
        """Of ``layers_to_transform``."""
        wanted = self.layers_to_transform
        if wanted is None or wanted == []:
            return True
        patterns = self.layers_pattern or [r"[^.]*"]
        patterns = [patterns] if isinstance(patterns, str) else patterns
        start = r"(?:^|.*?\.)" if self.layers_pattern else r".*?\."
        found = (re.match(rf"{start}{pattern}\.(\d+)\.", module) for pattern in patterns)
        match = next((match for match in found if match), None)
        return match is not None and int(match[1]) in (
            wanted if isinstance(wanted, list) else [wanted]
        )


def is_saved_by(module: str, saved: Collection[str], task: str | None) -> bool:
    """Whether peft keeps a module whole: it, or what it is part of, ends in one of the names ``saved``,
    or in the name of a head of the task."""
    parts = module.split(".")
    outer = [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
    names = (*saved, *_SAVED_HEADS.get(task, ()))
    return any(part.endswith(name) for part in outer for name in names)


def _of_pattern(pattern, module, default):
    """The value of the first key that matches the module's name or its end."""
    for key, value in pattern.items():
        if re.match(rf"(.*\.)?({key})$", module):
            return value
    return default


def read_adapter_config(directory: Path) -> AdapterConfig:
    """Reads and checks adapter_config.json.

    Raises:
        ValueError: naming the file and the key, if a key is not used and not harmless.
    """
    file = directory / CONFIG
    entries = read_object(file)
    try:
        return _config(entries)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _config(entries):
    for key, value in entries.items():
        off = value is None or value is False or value in ([], {}, "")
        if key in _SUPPORTED:
            allowed = _SUPPORTED[key]
            # 1 == True, but peft would look for an initialisation of that name
            known = any(
                value is one or (value == one and isinstance(value, str)) for one in allowed
            )
            if not known and value is not None:
                raise ValueError(
                    f"{key} must be {' or '.join(map(repr, allowed))}. Received: {shortened(value)}"
                )
        elif not (key in _USED or key in _HARMLESS or off):
            raise ValueError(
                f"{key} changes what adapters compute, in a way that is not known here."
                f" Received: {key}={shortened(value)}"
            )
    values = {}
    for key, (kind, default) in _USED.items():
        values[key] = default if entries.get(key) is None else entries[key]
        if values[key] is not default:
            kind.check(key, values[key])
    config = AdapterConfig(**values, task_type=entries.get("task_type"))
    _check_together(config)
    return config


def _check_together(config):
    if not config.target_modules:
        raise ValueError(
            "target_modules must name the modules with adapters. Received:"
            f" target_modules={config.target_modules!r}"
        )
    if config.layers_to_transform is not None and isinstance(config.target_modules, str):
        raise ValueError("layers_to_transform needs a list of target_modules, not a pattern.")
    if config.layers_pattern and config.layers_to_transform is None:
        raise ValueError("layers_pattern needs layers_to_transform.")
    for rank in config.rank_pattern.values():
        COUNT.check("rank_pattern", rank)
    named = [config.target_modules, config.exclude_modules, config.layers_pattern]
    patterns = [text for text in named if isinstance(text, str)]
    patterns += [*(config.layers_pattern or ())] if isinstance(config.layers_pattern, list) else []
    patterns += [*config.rank_pattern, *config.alpha_pattern, *(config.modules_to_save or ())]
    for pattern in patterns:
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"{shortened(pattern)} is not a pattern: {error}.") from error
