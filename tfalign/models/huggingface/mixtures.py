"""Mixtures of experts: Mixtral and Qwen3-MoE (transformers' configuration and modeling files of these names).

A file has a tensor for each matrix of each expert, as published ones do; transformers writes them so, too.
"""

from __future__ import annotations

from tfalign.models.huggingface.kinds import COUNT, NUMBERS
from tfalign.models.huggingface.llama import BLOCK, MISTRAL, QWEN3, TRUNK, read_mistral
from tfalign.models.huggingface.rotary import read_rotary
from tfalign.models.huggingface.tables import TRANSPOSED, Field, Row, expert, table
from tfalign.models.huggingface.windows import (
    DENSE,
    WINDOWED,
    read_windows,
    used_window,
    without_blocks,
)

_NOT_OF_DENSE = {name: value for name, value in MISTRAL.fixed.items() if name != "num_experts"}
_OF_EXPERTS = {"num_experts": lambda config: config.num_experts or "a number"}
_FIELDS = (
    Field("num_experts_per_token", "num_experts_per_tok", 2),
    Field("router_loss", "router_aux_loss_coef", 0.001),
    Field("expert_capacity", "tfalign_expert_capacity", None, null=True, written=False),
)


def _rows(block, router, experts, names):
    """Rows of a block, of the router, and of the experts, whose matrices have these names: gate, inner, outer."""

    def of_expert(number):
        return [
            expert(f"feed_forward.experts.{path}", f"{experts}.{number}.{name}", number)
            for path, name in zip(("gate", "inner", "outer"), names)
        ]

    row = Row(("feed_forward.router.kernel",), f"{router}.weight", TRANSPOSED)
    return table(TRUNK, (*block, row), "layers.{}", of_expert)


MIXTRAL = MISTRAL._replace(
    model_type="mixtral",
    fields=(
        *MISTRAL.fields,
        Field("num_experts", "num_local_experts", 8, also=("num_experts",)),
        *_FIELDS,
    ),
    fixed=_NOT_OF_DENSE
    | _OF_EXPERTS
    | {
        "expert_dim": lambda config: config.hidden_dim,
        "dense_blocks": (),
        "normalized_routing": True,
    },
    rows=_rows(BLOCK, "block_sparse_moe.gate", "block_sparse_moe.experts", ("w1", "w3", "w2")),
    harmless=("output_router_logits",),  # whether transformers adds the load-balancing loss
    only=MISTRAL.only | {"router_jitter_noise": 0.0},
    read=lambda entries: read_mistral(entries, default=None),
)


def _read_qwen3_moe(entries):
    count, every = entries.get("num_hidden_layers", 0), entries.get("decoder_sparse_step", 1)
    COUNT.check("decoder_sparse_step", every)
    dense = entries.get("mlp_only_layers") or []
    NUMBERS.check("mlp_only_layers", dense)
    dense = {*dense, *(block for block in range(count) if (block + 1) % every)}
    window = used_window(entries, 4096)
    types = [DENSE if window is None else WINDOWED] * count
    entries = read_windows(read_rotary(entries), window, types)
    return entries | {"mlp_only_layers": tuple(block for block in range(count) if block in dense)}


def _write_qwen3_moe(entries):
    used = {"use_sliding_window": entries["windowed_blocks"] is not None, "decoder_sparse_step": 1}
    return without_blocks(entries) | used


QWEN3_MOE = QWEN3._replace(
    model_type="qwen3_moe",
    fields=(
        *QWEN3.fields,
        Field("num_experts", "num_experts", 128, also=("num_local_experts",)),
        *(_FIELDS[0]._replace(default=8), *_FIELDS[1:]),
        Field("expert_dim", "moe_intermediate_size", 768),
        Field("normalized_routing", "norm_topk_prob", False),
        Field("dense_blocks", "mlp_only_layers", (), null=True),
    ),
    fixed={name: value for name, value in QWEN3.fixed.items() if name != "num_experts"}
    | _OF_EXPERTS
    | {"windowed_blocks": lambda c: c.attention_window and tuple(range(c.num_layers))},
    rows=_rows(BLOCK, "mlp.gate", "mlp.experts", ("gate_proj", "up_proj", "down_proj")),
    uses=(*QWEN3.uses, "decoder_sparse_step"),
    harmless=("output_router_logits", "max_window_layers", "layer_types"),
    read=_read_qwen3_moe,
    write=_write_qwen3_moe,
)
