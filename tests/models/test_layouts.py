"""Meshes by name, and what they cannot cut."""

from __future__ import annotations

import pytest

from tfalign.models import BERTConfig, GPTConfig
from tfalign.models.layouts import check_mesh, distribution, parse_mesh


@pytest.mark.parametrize(
    "text", ["", "data", "data:x", "data:0", "rows:8", "data:2,fsdp:2", "data:2;model:4"]
)
def test_a_mesh_of_another_form_is_shown(text):
    with pytest.raises(ValueError, match="A mesh is .* Received: mesh="):
        parse_mesh(text)


def test_a_mesh_needs_its_devices():
    with pytest.raises(ValueError, match="data:2,model:4 needs 8 devices. Received: 3"):
        distribution(parse_mesh("data:2,model:4"), ["cpu:0", "cpu:1", "cpu:2"])


@pytest.mark.parametrize(
    ("mesh", "config", "message"),
    [
        (
            "model:4",
            GPTConfig(16, 12, 1, 6),
            "model axis must divide num_heads=6. Received: model:4",
        ),
        (
            "model:4",
            GPTConfig(16, 16, 1, 4, num_key_value_heads=2),
            "model axis must divide num_key_value_heads=2. Received: model:4",
        ),
        (
            "data:2,model:4",
            GPTConfig(16, 16, 1, 4, hidden_dim=42),
            "model axis must divide hidden_dim=42. Received: model:4",
        ),
        (
            "expert:4",
            GPTConfig(16, 16, 1, 4, num_experts=6),
            "expert axis must divide num_experts=6. Received: expert:4",
        ),
        ("expert:3", BERTConfig(16, 16, 1, 4), "expert axis must divide width=16"),
        ("fsdp:3", BERTConfig(16, 16, 1, 4), "fsdp axis must divide width=16. Received: fsdp:3"),
    ],
)
def test_what_does_not_divide_is_named(mesh, config, message):
    with pytest.raises(ValueError, match=message):
        check_mesh(config, parse_mesh(mesh))


def test_what_divides_may_be_cut():
    for mesh in ("data:8", "fsdp:8", "data:2,model:4", "fsdp:2,model:4"):
        check_mesh(GPTConfig(50_257, 16, 1, 4), parse_mesh(mesh))
