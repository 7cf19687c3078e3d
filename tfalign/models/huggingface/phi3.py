"""Phi-3 (transformers' configuration_phi3.py and modeling_phi3.py): a Llama whose projections stand side by side."""

from __future__ import annotations

from tfalign.models.huggingface.llama import (
    BASE,
    BLOCK,
    GROUPS,
    HEAD_DIM,
    LLAMA,
    MISTRAL,
    POSITIONS,
    SHARED_FIELDS,
    TIED,
    TRUNK,
    WINDOW,
    read_mistral,
)
from tfalign.models.huggingface.tables import SIDE_BY_SIDE, Field, Row, table

_SIDE_BY_SIDE = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
)


def _joined(name, *paths):
    return Row(tuple(f"{path}.kernel" for path in paths), f"{name}.weight", SIDE_BY_SIDE)


PHI3 = MISTRAL._replace(
    model_type="phi3",
    fields=(
        *(field for field in SHARED_FIELDS if not field.theirs.startswith("tfalign_")),
        *(GROUPS, HEAD_DIM, BASE, TIED, POSITIONS._replace(default=4096), *WINDOW),
        Field("dropout", "resid_pdrop", 0.0),
        Field("embedding_dropout", "embd_pdrop", 0.0),  # which transformers does not apply
    ),
    rows=table(
        TRUNK,
        (
            _joined("self_attn.qkv_proj", "attention.query", "attention.key", "attention.value"),
            _joined("mlp.gate_up_proj", "feed_forward.gate", "feed_forward.inner"),
            *(row for row in BLOCK if not row.name.startswith(_SIDE_BY_SIDE)),
        ),
        "layers.{}",
    ),
    # its code is transformers' now; and a number that only "longrope", which is refused, looks at
    harmless=("auto_map", "original_max_position_embeddings"),
    only=LLAMA.only | {"attention_bias": False},
    read=lambda entries: read_mistral(entries, default=None),
)
