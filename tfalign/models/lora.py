"""Low-rank adapters beside the Dense layers of any model (LoRA, Hu et al. 2021; DoRA, Liu et al. 2024).

``add_adapters`` freezes a model and gives Dense layers something small to train; ``quantize`` holds
their kernels in 8 bits. With the adapters off a model is its base again, so that a policy and its
reference are one set of weights. Nothing else about the model changes: it is trained, decoded and
saved as before. Adapters are added, and merged, before anything is compiled that uses the model.

A Dense becomes an ``AdaptedDense`` in place, by its class. Keras closes a built layer to new weights;
``_tracker`` is what its own ``enable_lora`` opens for the purpose.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import ops

from tfalign.layers import Dropout
from tfalign.types import Array

_adapters_are_on = contextvars.ContextVar("adapters_are_on", default=True)


@dataclasses.dataclass(frozen=True)
class LoRA:
    """Settings of low-rank adapters.

    Attributes:
        rank: r, of the two matrices.
        alpha: what they add is scaled by alpha / rank.
        targets: patterns (``re.search``) of the paths of Dense layers, "attention/(query|value)$" for
            instance; none for all.
        dropout: rate on what the adapters see, while training.
        dora: also train the length of every column of the weights (DoRA).
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ()
    dropout: float = 0.0
    dora: bool = False

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"An adapter's rank must be at least 1. Received: rank={self.rank}")


@keras.saving.register_keras_serializable("tfalign")
class LowRankAdapter(keras.layers.Layer):
    """Low-rank update x A B alpha / r of a Dense with I inputs and O outputs.

    Args:
        rank, alpha, dropout, dora: as in ``LoRA``.

    A starts as in the paper's code, uniform within 1 / sqrt(I), B at zero, so that nothing changes at
    first; with ``dora`` the lengths start as those of the columns there are.
    """

    def __init__(
        self, rank: int, alpha: float, dropout: float = 0.0, dora: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.rank = rank
        self.alpha = alpha
        self.dropout = dropout
        self.dora = dora

    def build(self, kernel_shape: tuple[int | None, ...]) -> None:
        inputs, outputs = kernel_shape
        limit = inputs**-0.5
        self.down = self.add_weight(
            name="down",
            shape=(inputs, self.rank),
            initializer=keras.initializers.RandomUniform(-limit, limit),
        )
        self.up = self.add_weight(name="up", shape=(self.rank, outputs), initializer="zeros")
        self.magnitude = None
        if self.dora:
            self.magnitude = self.add_weight(name="magnitude", shape=(outputs,), initializer="ones")
        self.drop = None
        if self.dropout:
            self.drop = Dropout(self.dropout, dtype=self.dtype_policy)
        self.built = True

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    def adapt(
        self, x: Array, projected: Array, dense: AdaptedDense, training: bool | None = None
    ) -> Array:
        """What a Dense with this adapter gives, before its bias.

        Args:
            x: float[..., I].
            projected: float[..., O], x times the kernel.
            dense: AdaptedDense.
            training: bool, whether dropout is on.

        Returns:
            float[..., O].
        """
        seen = self.drop(x, training=True) if self.drop is not None and training else x
        added = ops.matmul(ops.matmul(seen, self.down), self.up) * self.scale
        if self.magnitude is None:
            return projected + added
        # the norms count as constants in the gradient (DoRA, section 4.3)
        norms = ops.stop_gradient(column_norms(self.whole(dense.kernel)))
        growth = ops.cast(_float32(self.magnitude) / norms, projected.dtype)
        kept = projected if seen is x else dense.project(seen)
        return projected + (growth - 1) * kept + growth * added

    def whole(self, kernel: Array) -> Array:
        """float32[I, O], the kernel with what is added to it, its columns as long as they then are."""
        return _float32(kernel) + ops.matmul(_float32(self.down), _float32(self.up)) * self.scale

    def merged(self, kernel: Array) -> Array:
        """float32[I, O]: the kernel a plain Dense needs to give the same."""
        whole = self.whole(kernel)
        if self.magnitude is None:
            return whole
        return whole * _float32(self.magnitude) / column_norms(whole)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "rank": self.rank,
            "alpha": self.alpha,
            "dropout": self.dropout,
            "dora": self.dora,
        }


@keras.saving.register_keras_serializable("tfalign")
class Int8Kernel(keras.layers.Layer):
    """A kernel in 8 bits: a whole number from -127 to 127 times its column's scale (as LLM.int8() rounds
    weights, Dettmers et al. 2022; what is multiplied with it is not rounded)."""

    def build(self, kernel_shape: tuple[int | None, ...]) -> None:
        self.values = self.add_weight(
            name="values",
            shape=kernel_shape,
            dtype="int8",
            initializer="zeros",
            trainable=False,
            autocast=False,
        )
        self.scales = self.add_weight(
            name="scales", shape=kernel_shape[-1:], initializer="ones", trainable=False
        )
        self.built = True

    def fill(self, kernel: Array) -> None:
        """Rounds float[I, O] to what is held."""
        kernel = ops.cast(kernel, "float32")
        scales = ops.maximum(ops.max(ops.abs(kernel), axis=0), 1e-30) / 127
        self.values.assign(ops.cast(ops.round(kernel / scales), "int8"))
        self.scales.assign(scales)

    def project(self, x: Array) -> Array:
        """float[..., I] to float[..., O]."""
        return ops.matmul(x, ops.cast(self.values, x.dtype)) * ops.cast(self.scales, x.dtype)

    def kernel(self) -> Array:
        """float[I, O], the rounded kernel, in the dtype of the scales."""
        return ops.cast(self.values, self.scales.dtype) * self.scales

    def get_config(self) -> dict[str, Any]:
        return super().get_config()  # Keras' own fails where a dtype is given as a policy


@keras.saving.register_keras_serializable("tfalign")
class AdaptedDense(keras.layers.Dense):
    """A Dense with an adapter, an 8-bit kernel, or both; made of a Dense by this module's functions."""

    adapter = None
    int8_kernel = None

    @property
    def kernel(self) -> keras.Variable | Array:
        """The base's: a variable, or what an 8-bit one stands for."""
        return super().kernel if self.int8_kernel is None else self.int8_kernel.kernel()

    def call(self, inputs: Array, training: bool | None = None) -> Array:
        x = self.project(inputs)
        if self.adapter is not None and _adapters_are_on.get():
            x = self.adapter.adapt(inputs, x, self, training)
        if self.bias is not None:
            x = ops.add(x, self.bias)
        return x if self.activation is None else self.activation(x)

    def project(self, x: Array) -> Array:
        """float[..., I] times the kernel: float[..., O]."""
        if self.int8_kernel is None:
            return ops.matmul(x, self.kernel)
        return self.int8_kernel.project(x)


def add_adapters(model: keras.layers.Layer, lora: LoRA) -> list[AdaptedDense]:
    """Freezes a model and gives its Dense layers adapters; what a layer has already is replaced.

    Args:
        model: keras.Model or layer, built.
        lora: LoRA.

    Returns:
        list of the adapted layers.

    Raises:
        ValueError: if no Dense fits the targets.
    """
    chosen = _dense_layers(model, lora.targets)
    for variable in model.variables:
        variable.trainable = False
    for dense in chosen:
        adapter = LowRankAdapter(
            lora.rank, lora.alpha, lora.dropout, lora.dora, dtype=dense.dtype_policy, name="adapter"
        )
        adapter.build(tuple(dense.kernel.shape))
        with _opened(dense):
            _replace(dense, "adapter", adapter)
        if lora.dora:
            adapter.magnitude.assign(column_norms(_float32(dense.kernel)))
    return chosen


def adapted_layers(model: keras.layers.Layer) -> list[AdaptedDense]:
    """The layers that have adapters."""
    return [d for d in _dense_layers(model) if getattr(d, "adapter", None) is not None]


def quantize(model: keras.layers.Layer, targets: Sequence[str] = ()) -> list[AdaptedDense]:
    """Rounds the kernels of Dense layers to 8 bits, a quarter of the memory; they are frozen then.

    Args:
        model: keras.Model or layer, built.
        targets: as in ``LoRA``.

    Returns:
        list of the layers that were rounded.

    Raises:
        ValueError: if no Dense fits the targets.
    """
    layers = _dense_layers(model, targets)
    chosen = [dense for dense in layers if getattr(dense, "int8_kernel", None) is None]
    for dense in chosen:
        kernel = Int8Kernel(dtype=dense.dtype_policy, name="int8_kernel")
        kernel.build(tuple(dense.kernel.shape))
        kernel.fill(dense.kernel)
        with _opened(dense):
            dense._untrack_variable(dense._kernel)
            dense._kernel = None
            dense.int8_kernel = kernel
    return chosen


def merge_adapters(model: keras.layers.Layer) -> None:
    """Merges adapters into the kernels and removes them; 8-bit kernels become floats.
    The model then is as it was before ``add_adapters`` and ``quantize``, of other weights."""
    for dense in _dense_layers(model):
        if not isinstance(dense, AdaptedDense):
            continue
        kernel = ops.convert_to_tensor(dense.kernel)
        if dense.adapter is not None:
            kernel = dense.adapter.merged(kernel)
        with _opened(dense):
            if dense.int8_kernel is not None:
                shape = tuple(kernel.shape)
                dense._kernel = dense.add_weight(name="kernel", shape=shape, initializer="zeros")
            _replace(dense, "adapter", None)
            _replace(dense, "int8_kernel", None)
        dense.kernel.assign(kernel)
        dense.__class__ = keras.layers.Dense
    for variable in model.variables:
        variable.trainable = True


@contextlib.contextmanager
def without_adapters() -> Iterator[None]:
    """What is called (or traced) within sees the models as they were before ``add_adapters``."""
    token = _adapters_are_on.set(False)
    try:
        yield
    finally:
        _adapters_are_on.reset(token)


class WithoutAdapters:
    """The base of a CausalLM with adapters, as a model of its own with the same weights: the reference
    of reinforcement learning.

    Args:
        model: CausalLM.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self.config = model.config

    @property
    def variables(self) -> list[keras.Variable]:
        return self._model.variables

    @property
    def takes_condition(self) -> bool:
        return getattr(self._model, "takes_condition", False)

    def __call__(self, *args: Any, **kwargs: Any) -> Array:
        with without_adapters():
            return self._model(*args, **kwargs)

    def backbone(self, *args: Any, **kwargs: Any) -> Array:
        with without_adapters():
            return self._model.backbone(*args, **kwargs)

    def logits(self, hidden: Array, kernel: Array | None = None) -> Array:
        return self._model.logits(hidden, kernel)

    def readout_kernel(self) -> Array:
        return self._model.readout_kernel()

    @property
    def logit_softcap(self) -> float | None:
        return getattr(self._model, "logit_softcap", None)


def column_norms(kernel: Array) -> Array:
    """float32[O], the lengths of the columns of float32[I, O]."""
    return ops.maximum(ops.norm(kernel, axis=0), 1e-12)


def _dense_layers(model, targets=()):
    """list of Dense, each once; those whose path fits one of the targets."""
    layers = {id(x): x for x in model._flatten_layers(include_self=True, recursive=True)}
    found = [x for x in layers.values() if type(x) in (keras.layers.Dense, AdaptedDense)]
    chosen = [d for d in found if any(re.search(target, d.path) for target in targets or ("",))]
    if not chosen:
        some = ", ".join(dense.path for dense in found[:4]) or "none at all"
        raise ValueError(f"No Dense fits {', '.join(targets)}; there are {some}, ...")
    return chosen


def _replace(dense, name, layer):
    """Sets a sub-layer, and has Keras forget the one there was."""
    before = getattr(dense, name)
    if before is not None:
        dense._layers.remove(before)
    setattr(dense, name, layer)


def _float32(x):
    return ops.cast(ops.convert_to_tensor(x), "float32")


@contextlib.contextmanager
def _opened(dense):
    """The Dense as an AdaptedDense that takes new weights."""
    dense.__class__ = AdaptedDense
    dense._tracker.unlock()
    try:
        yield
    finally:
        dense._tracker.lock()
