"""KerasHub's models as policies: padding on either side, the cached loop, and a road through SFT, DPO and
PPO."""

import json

import numpy as np
import pytest

from tests.sampling import with_slow

pytest.importorskip("keras_hub")

import keras
import keras_hub

from tfalign.decoding import Greedy, generate
from tfalign.models import from_pretrained
from tfalign.models.keras_hub import KerasHubCausalLM
from tfalign.pretrained import load_tokenizer
from tfalign.text import StreamDecoder, encode_joined, train_byte_bpe
from tfalign.text.keras_hub import KerasHubTokenizer
from tfalign.trainers import FineTuner, OnPolicyTrainer, PreferenceTrainer

V, B, P, R = 37, 3, 6, 7
SIZES = {"vocabulary_size": V, "num_layers": 2, "hidden_dim": 16, "intermediate_dim": 32}
GROUPED = {"num_query_heads": 4, "num_key_value_heads": 2}
REAL = np.array([6, 2, 4])
IDS = np.random.default_rng(0).integers(1, V, size=(B, P)).astype("int32")
LEFT = np.arange(P)[None, :] >= P - REAL[:, None]


def gpt2(vocabulary=V, positions=40, **more):
    sizes = SIZES | {"vocabulary_size": vocabulary, "dropout": 0.0}
    backbone = keras_hub.models.GPT2Backbone(num_heads=2, max_sequence_length=positions, **sizes)
    return keras_hub.models.GPT2CausalLM(backbone, **more)


def llama():
    return keras_hub.models.LlamaCausalLM(keras_hub.models.LlamaBackbone(**SIZES, **GROUPED))


def mistral():
    backbone = keras_hub.models.MistralBackbone(**SIZES, **GROUPED, sliding_window=5)
    return keras_hub.models.MistralCausalLM(backbone)


@pytest.fixture(
    scope="module",
    params=with_slow([gpt2, llama, mistral], [llama]),
    ids=["gpt2", "llama", "mistral"],
)
def model(request):
    model, random = KerasHubCausalLM(request.param()), np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(variable + 0.3 * random.normal(size=variable.shape))
    return model


def test_padding_on_either_side_is_irrelevant(model):
    right = np.stack([np.roll(row, n - P) for row, n in zip(IDS, REAL)])
    left_logits = np.asarray(model(IDS, padding_mask=LEFT))
    right_logits = np.asarray(model(right, padding_mask=LEFT[:, ::-1]))
    for row, n in enumerate(REAL):
        alone = np.asarray(model(IDS[row : row + 1, P - n :]))[0]
        np.testing.assert_allclose(left_logits[row, P - n :], alone, atol=1e-4)
        np.testing.assert_allclose(right_logits[row, :n], alone, atol=1e-4)


@pytest.mark.slow
def test_the_cached_loop_is_the_full_forward_pass(model):
    """Prompts of different lengths in one batch; tokens, their log-probs, and where they stop."""
    found = generate(model, IDS, LEFT, max_new_tokens=R, sampler=Greedy(), pad_id=0)
    tokens, log_probs = np.asarray(found.tokens), np.asarray(found.log_probs)
    for row, n in enumerate(REAL):
        text = np.concatenate([IDS[row, P - n :], tokens[row]])[None]
        logits = np.asarray(model(text.astype("int32")))[0, n - 1 : -1].astype("float64")
        np.testing.assert_array_equal(np.argmax(logits, axis=-1), tokens[row])
        expected = np.max(logits, -1) - np.log(np.sum(np.exp(logits), -1))
        np.testing.assert_allclose(log_probs[row], expected, atol=1e-4)
    stop = int(tokens[1, 2])
    first = tokens[1].tolist().index(stop)
    stopped = generate(
        model, IDS, LEFT, max_new_tokens=R, sampler=Greedy(), stop_tokens=(stop,), pad_id=0
    )
    expected = np.where(np.arange(R) <= first, tokens[1], 0)
    np.testing.assert_array_equal(np.asarray(stopped.tokens)[1], expected)
    assert np.asarray(stopped.mask)[1].sum() == first + 1


@pytest.mark.slow
def test_a_row_does_not_depend_on_the_batch(model):
    together = generate(model, IDS, LEFT, max_new_tokens=R, seed=3)
    alone = generate(model, IDS[:1], LEFT[:1], max_new_tokens=R, seed=3)
    np.testing.assert_array_equal(np.asarray(together.tokens)[:1], alone.tokens)


def test_the_readout_kernel_is_the_readout(model):
    hidden = model.backbone(IDS, padding_mask=LEFT)
    product = np.asarray(hidden) @ np.asarray(model.readout_kernel())
    np.testing.assert_allclose(model.logits(hidden), product, atol=1e-4)


def test_without_a_cache_there_is_no_policy():
    class Plain:
        pass

    with pytest.raises(ValueError, match="Plain does not decode with a cache"):
        KerasHubCausalLM(Plain())


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """A KerasHub preset of a tiny GPT-2 with a tokenizer of bytes."""
    trained = train_byte_bpe(["xo ox"] * 3, 260, {"eos": "<|endoftext|>"})
    entries = json.loads(trained.to_json())["model"]
    merges = [" ".join(pair) for pair in entries["merges"]]
    tokenizer = keras_hub.models.GPT2Tokenizer(vocabulary=entries["vocab"], merges=merges)
    preprocessor = keras_hub.models.GPT2CausalLMPreprocessor(tokenizer, sequence_length=24)
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("hub") / "preset"
    gpt2(trained.vocab_size, 24, preprocessor=preprocessor).save_to_preset(str(folder))
    return folder


def test_tokenizer(preset):
    tokenizer = load_tokenizer(preset)
    assert isinstance(tokenizer, KerasHubTokenizer)
    assert tokenizer.bos_id == tokenizer.eos_id == 0 and tokenizer.pad_id is None
    assert tokenizer.vocab_size == 260
    for text in ("hello", "好 <|endoftext|>", ""):
        ids = tokenizer.encode(text)
        assert tokenizer.eos_id not in ids and tokenizer.decode(ids) == text
    assert tokenizer.decode(tokenizer.encode("hi", bos=True, eos=True)) == "hi"
    assert tokenizer.stop_ids == tokenizer.head_ids == (0,)
    with pytest.raises(ValueError, match=r"whole number in \[0, 260\). Received: 260"):
        tokenizer.decode([260])


def test_tokens_stream_and_join(preset):
    tokenizer = load_tokenizer(preset)
    draw = np.random.default_rng(0)
    for _ in range(30):
        ids = draw.integers(0, 260, 9).tolist()
        stream = StreamDecoder(tokenizer)
        assert "".join(map(stream.push, ids)) + stream.flush() == tokenizer.decode(ids)
    for first, second in (("x", "o"), ("xo ", "ox"), ("好", "<|endoftext|> x"), ("", "x")):
        before = tokenizer.encode(first)
        (after,) = encode_joined(tokenizer, [first], [before], [second])
        assert tokenizer.decode(before + after) == first + second


class _Pieces:
    """What a SentencePiece tokenizer of KerasHub does with spaces."""

    special_tokens = ["</s>"]
    end_token_id, end_token2_id = 2, 3

    def vocabulary_size(self):
        return 256

    def tokenize(self, text):
        return [ord(letter) for letter in " " + text] if text else []


def test_nothing_is_put_in_front_of_text_that_follows():
    tokenizer = KerasHubTokenizer(_Pieces())
    assert tokenizer.encode("a") == [32, 97]
    assert tokenizer.encode_following(["a", ""]) == [[97], []]
    assert bytes(tokenizer.encode("a</s>b")) == b" a</s>b"  # nor within a text
    assert tokenizer.stop_ids == (2, 3) and tokenizer.is_special(3)


@pytest.mark.slow
def test_a_preset_goes_through_sft_dpo_and_ppo(preset, tmp_path):
    """Answers are learned, then the preferred of two, then what a rule rewards."""
    rows = [
        {"prompt": f"q{i:03d} ", "completion": "xoxo", "chosen": "xxoo", "rejected": "oxox"}
        for i in range(300)
    ]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shared = {"log_every": 1, "warmup_steps": 2, "batch_size": 16}
    limits = {"max_prompt_tokens": 8, "max_new_tokens": 6}

    def last_metrics(folder):
        return json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])

    settings = {"steps": 80, "length": 12, "learning_rate": 1e-2} | shared
    FineTuner(preset, str(data), run_dir=tmp_path / "sft", **settings).train()
    assert last_metrics(tmp_path / "sft")["eval_loss"] < 0.5
    sft = str(tmp_path / "sft" / "models" / "sft")

    settings = {"steps": 20, "learning_rate": 1e-3} | shared | limits
    PreferenceTrainer(sft, str(data), run_dir=tmp_path / "dpo", **settings).train()
    assert last_metrics(tmp_path / "dpo")["eval_accuracy"] == 1.0
    dpo = str(tmp_path / "dpo" / "models" / "dpo")

    settings = {"steps": 40, "batch_size": 32, "learning_rate": 3e-3} | limits

    def reward(prompt, response):
        return response.count("x") / 6

    OnPolicyTrainer(dpo, reward, str(data), run_dir=tmp_path / "ppo", **settings).train()
    lines = (tmp_path / "ppo" / "metrics.jsonl").read_text().splitlines()
    scores = [json.loads(line)["score"] for line in lines]
    assert json.loads(lines[0])["first_max_log_ratio"] < 1e-3  # sampler and scorer are one
    assert np.mean(scores[-5:]) > np.mean(scores[:2]) + 0.1
    assert isinstance(from_pretrained(tmp_path / "ppo" / "models" / "ppo"), KerasHubCausalLM)
