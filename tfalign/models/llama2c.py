"""Models and tokenizers in llama2.c's binary formats (github.com/karpathy/llama2.c).

``load_llama2c`` reads the legacy model file (version 0, written by export.py's ``legacy_export``):
seven little-endian int32, then float32 tensors one after another. ``load_llama2c_tokenizer`` reads
the scored vocabulary that ``tokenizer.py`` exports.
"""

from __future__ import annotations

import math
import os
import struct
import types
from collections.abc import Iterable, Sequence

import keras
import numpy as np

from tfalign.files import as_path
from tfalign.models.gpt_config import GPTConfig
from tfalign.models.tasks import CausalLM
from tfalign.text.special_ids import SpecialIds, check_ids

_HEADER = struct.Struct("<7i")
_ROTARY_BASE, _NORM_EPSILON = 10_000.0, 1e-5  # constants of run.c


def load_llama2c(
    model_path: str | os.PathLike, dtype: str | keras.DTypePolicy | None = None
) -> CausalLM:
    """A Llama-style ``CausalLM`` with the weights of a legacy llama2.c model file.

    llama2.c rotates neighbouring features, ``layers.rotate`` the two halves of a head, so that the
    rows of the query and key matrices are put into another order; the scores are the same.

    Args:
        model_path: a ``.bin`` file; a negative vocabulary size in it means an untied LM head.
        dtype: the model's dtype policy; Keras' default where None.

    Returns:
        CausalLM.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not of this format, shorter or longer than its header says, or has a
            weight that is no finite number.
    """
    file = _regular_file(model_path)
    with file.open("rb") as stream:
        config = _config(file, stream.read(_HEADER.size))
        shapes = _shapes(config)
        _check_size(file, shapes)
        tensors = _tensors(file, stream.read(), shapes)
    model = CausalLM(config, dtype=dtype)
    trunk = model.backbone
    trunk.token_embedding.embeddings.assign(tensors["token_embedding"])
    if not config.tied:
        trunk.token_embedding.kernel.assign(tensors["classifier"].T)
    trunk.final_norm.scale.assign(tensors["final_norm"])
    for index, block in enumerate(trunk.blocks):
        attention, feed_forward = block.attention, block.feed_forward
        block.attention_norm.scale.assign(tensors["attention_norm"][index])
        block.feed_forward_norm.scale.assign(tensors["feed_forward_norm"][index])
        for dense, name, heads in (
            (attention.query, "query", config.num_heads),
            (attention.key, "key", config.num_key_value_heads),
        ):
            dense.kernel.assign(_halves(tensors[name][index], heads).T)
        for dense, name in (
            (attention.value, "value"),
            (attention.output_projection, "output"),
            (feed_forward.gate, "gate"),
            (feed_forward.outer, "outer"),
            (feed_forward.inner, "inner"),
        ):
            dense.kernel.assign(tensors[name][index].T)
    return model


def _regular_file(path):
    """A file of this machine, which can be opened without waiting for a writer."""
    file = as_path(path)
    if not file.exists():
        raise FileNotFoundError(f"There is no file {file}.")
    if not file.is_file():
        raise ValueError(f"{file}: a file is needed. Received: a folder, a pipe or a device")
    return file


def _config(file, head):
    if len(head) < _HEADER.size:
        raise ValueError(
            f"{file}: a llama2.c model starts with {_HEADER.size} bytes of header."
            f" Received: {len(head)} bytes"
        )
    header = _HEADER.unpack(head)
    width, hidden_dim, num_layers, num_heads, num_key_value_heads, vocab_size, positions = header
    sizes = (width, hidden_dim, num_layers, num_heads, num_key_value_heads, positions)
    fit = min(sizes) > 0 and not (
        width % (2 * num_heads) or num_heads % num_key_value_heads  # heads rotate in pairs
    )
    if not fit or vocab_size == 0:
        raise ValueError(f"{file} is not a legacy llama2.c model. Received: header={header}")
    return GPTConfig(
        abs(vocab_size),
        width,
        num_layers,
        num_heads,
        num_key_value_heads=num_key_value_heads,
        hidden_dim=hidden_dim,
        max_positions=positions,
        rotary_base=_ROTARY_BASE,
        norm="rms",
        norm_epsilon=_NORM_EPSILON,
        activation="silu",
        gated=True,
        use_bias=False,
        tied=vocab_size > 0,
    )


def _shapes(config):
    """Tensor name -> shape, in the file's order."""
    layers, width, hidden = config.num_layers, config.width, config.hidden_dim
    head_dim = width // config.num_heads
    groups_width = head_dim * config.num_key_value_heads
    shapes = {
        "token_embedding": (config.vocab_size, width),
        "attention_norm": (layers, width),
        "query": (layers, width, width),
        "key": (layers, groups_width, width),
        "value": (layers, groups_width, width),
        "output": (layers, width, width),
        "feed_forward_norm": (layers, width),
        "gate": (layers, hidden, width),  # w1
        "outer": (layers, width, hidden),  # w2
        "inner": (layers, hidden, width),  # w3
        "final_norm": (width,),
        "cosines": (config.max_positions, head_dim // 2),  # recomputed here
        "sines": (config.max_positions, head_dim // 2),
    }
    return shapes if config.tied else shapes | {"classifier": (config.vocab_size, width)}


def _check_size(file, shapes):
    """Before anything is read or built: sizes in a header may be any number."""
    expected = _HEADER.size + 4 * sum(map(math.prod, shapes.values()))
    if file.stat().st_size != expected:
        raise ValueError(
            f"{file} is truncated or oversized: its header asks for {expected} bytes."
            f" Received: {file.stat().st_size} bytes"
        )


def _tensors(file, data, shapes):
    values = np.frombuffer(data, "<f4")
    parts = np.split(values, np.cumsum([math.prod(shape) for shape in shapes.values()])[:-1])
    tensors = {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts)}
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ValueError(
                f"{file}: every weight must be finite. Received: {name} with NaN or inf"
            )
    return tensors


def _halves(weight, num_heads):
    """Rows of each head from pairs (0, 1), (2, 3), ... to halves (0, 2, ..., 1, 3, ...), as
    transformers' converter of Llama's checkpoints does."""
    rows, columns = weight.shape
    pairs = weight.reshape(num_heads, rows // num_heads // 2, 2, columns)
    return pairs.transpose(0, 2, 1, 3).reshape(rows, columns)


class Llama2cTokenizer(SpecialIds):
    """llama2.c's tokenizer: SentencePiece's BPE by scores, bytes where a character is unknown.

    Args:
        pieces: list of bytes, the text of each id; ids 3 to 258 are the 256 bytes.
        scores: list of float, the higher the sooner two tokens merge into this one.

    Attributes:
        special_ids: "bos" is 1 and "eos" 2, as in run.c.
        vocab_size: int.
        chat_template: None.
    """

    chat_template = None
    special_ids = types.MappingProxyType({"bos": 1, "eos": 2})
    _first_byte = 3

    def __init__(self, pieces: Sequence[bytes], scores: Sequence[float]) -> None:
        self._pieces = list(pieces)
        self._scores = list(scores)
        self._ids = {piece: token_id for token_id, piece in enumerate(pieces)}
        self.vocab_size = len(self._pieces)

    def is_special(self, token_id: int) -> bool:
        """Whether ``decode`` leaves the token out."""
        return token_id in self.special_ids.values()

    def encode(self, text: str, bos: bool = False, eos: bool = False) -> list[int]:
        """Token ids of a text, as run.c's ``encode``: a space is put before it."""
        ids = self._merged(" " + text if text else "")
        return [self.bos_id] * bos + ids + [self.eos_id] * eos

    def encode_batch(
        self, texts: Iterable[str], bos: bool = False, eos: bool = False
    ) -> list[list[int]]:
        """``encode`` of many texts."""
        return [self.encode(text, bos, eos) for text in texts]

    def encode_following(self, texts: Iterable[str]) -> list[list[int]]:
        """Ids of texts as they stand behind other text: no space is put before them."""
        return [self._merged(text) for text in texts]

    def _merged(self, text):
        """Joins the neighbours of the best score, the first of them, until there are none."""
        ids = []
        for character in text:
            if "\ud800" <= character <= "\udfff":
                raise ValueError(f"A text must be Unicode. Received: the lone {character!r}")
            raw = character.encode("utf-8")
            known = self._ids.get(raw)
            ids += [self._first_byte + byte for byte in raw] if known is None else [known]
        while True:
            joined = [
                self._ids.get(self._pieces[a] + self._pieces[b]) for a, b in zip(ids, ids[1:])
            ]
            candidates = [(self._scores[j], -at) for at, j in enumerate(joined) if j is not None]
            if not candidates:
                return ids
            at = -max(candidates)[1]
            ids[at : at + 2] = [joined[at]]

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """The text of token ids, without the space that ``encode`` put before it; BOS and EOS have none.

        Raises:
            ValueError: if an id is none of the vocabulary's.
        """
        del skip_special  # run.c does not show them either
        kept = [at for at in check_ids(ids, self.vocab_size) if not self.is_special(at)]
        text = b"".join(self._bytes(token_id) for token_id in kept)
        return text.removeprefix(b" ").decode("utf-8", errors="replace")

    def decode_batch(self, rows: Iterable[Iterable[int]], skip_special: bool = True) -> list[str]:
        """``decode`` of many rows."""
        return [self.decode(row, skip_special) for row in rows]

    def _bytes(self, token_id):
        is_byte = self._first_byte <= token_id < self._first_byte + 256
        return bytes([token_id - self._first_byte]) if is_byte else self._pieces[token_id]


def load_llama2c_tokenizer(path: str | os.PathLike) -> Llama2cTokenizer:
    """Reads llama2.c's tokenizer file: int32 longest piece, then (float32 score, int32 length,
    bytes) for each id.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file ends within an entry, has too few for the 256 bytes, or a score that is
            no finite number.
    """
    file, entry = _regular_file(path), struct.Struct("<fi")
    data = file.read_bytes()
    pieces, scores, offset = [], [], 4
    while offset < len(data):
        start = offset + entry.size
        score, length = entry.unpack_from(data, offset) if start <= len(data) else (0.0, -1)
        offset = start + length
        if length < 0 or offset > len(data) or not math.isfinite(score):
            raise ValueError(f"{file} is truncated or damaged at token {len(pieces)}.")
        pieces.append(data[start:offset])
        scores.append(score)
    if len(pieces) < Llama2cTokenizer._first_byte + 256:
        raise ValueError(
            f"{file}: a llama2.c tokenizer has at least 259 tokens. Received: {len(pieces)}"
        )
    return Llama2cTokenizer(pieces, scores)
