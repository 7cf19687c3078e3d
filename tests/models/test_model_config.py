"""Configurations refuse what they do not know, and travel as dicts."""

import json

import pytest

from tfalign.models import BERTConfig, GPTConfig, TransformerConfig

ALL = pytest.mark.parametrize("config_class", [GPTConfig, BERTConfig, TransformerConfig])


@ALL
def test_unknown_field_is_refused_by_name(config_class):
    with pytest.raises(ValueError, match="has no n_head; it has .*num_heads"):
        config_class.from_dict({"vocab_size": 5, "width": 4, "num_layers": 1, "n_head": 2})


@ALL
def test_unknown_preset_is_refused_with_those_there_are(config_class):
    with pytest.raises(ValueError, match="Presets are tiny, .*Received: 'huge'"):
        config_class.from_preset("huge")
    with pytest.raises(TypeError, match="n_head"):
        config_class.from_preset("tiny", n_head=3)


@ALL
def test_preset_with_changes_and_round_trip_through_json(config_class):
    config = config_class.from_preset("tiny", vocab_size=17)
    assert config.vocab_size == 17
    assert config == config_class.from_preset("tiny").replace(vocab_size=17)
    assert config_class.from_dict(json.loads(json.dumps(config.to_dict()))) == config
