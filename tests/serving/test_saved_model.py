"""Exported models give the library's own ids, here and in a process without the library."""

import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfalign.decoding import Generator, Sampler, generate
from tfalign.decoding.patterns import regular_expression
from tfalign.models import CausalLM, GPTConfig
from tfalign.models.lora import quantize
from tfalign.serving.litert import export_litert, export_litert_logits
from tfalign.serving.saved_model import export_saved_model
from tfalign.text import train_byte_bpe, train_word_piece

TOKENIZER = train_byte_bpe([], 259)
CONFIG = GPTConfig(259, 16, 2, 2, max_positions=40, initializer_range=0.3)
PROMPTS = ["Hello", "好", "a longer one"]
NEW = 8


def padded(rows, columns):
    ids, mask = np.zeros((len(rows), columns), "int32"), np.zeros((len(rows), columns), "bool")
    for row, tokens in enumerate(rows):
        ids[row, columns - len(tokens) :] = tokens
        mask[row, columns - len(tokens) :] = True
    return ids, mask


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(model, folder of its SavedModel)."""
    model, folder = CausalLM(CONFIG), tmp_path_factory.mktemp("served") / "agent"
    signatures = export_saved_model(
        model, TOKENIZER, folder, version=3, batch_size=4, max_prompt_tokens=16, max_new_tokens=NEW
    )
    assert signatures["serving_default"] == signatures["generate"] == ["prompts", "seed"]
    assert signatures["generate_ids"] == ["token_ids", "mask", "seed"]
    return model, folder / "3"


def expected(model, prompts, seed, constraint=None):
    ids, mask = padded([TOKENIZER.encode(prompt, bos=True) for prompt in prompts], 16)
    return generate(
        model,
        ids,
        mask,
        max_new_tokens=NEW,
        seed=seed,
        stop_tokens=(TOKENIZER.eos_id,),
        pad_id=TOKENIZER.pad_id,
        constraint=constraint,
    )


@pytest.mark.slow
def test_texts_in_and_out(exported):
    model, folder = exported
    serve = tf.saved_model.load(str(folder)).signatures["generate"]
    for prompts, seed in ((PROMPTS, 5), (PROMPTS[2:], 2**32 - 1)):
        found = serve(prompts=tf.constant(prompts), seed=tf.constant(seed, tf.int64))
        wanted = expected(model, prompts, seed)
        np.testing.assert_array_equal(found["tokens"], wanted.tokens)
        np.testing.assert_array_equal(found["mask"], wanted.mask)
        np.testing.assert_allclose(found["log_probs"], wanted.log_probs, atol=1e-4)
        rows = zip(np.asarray(wanted.tokens), np.asarray(wanted.mask))
        texts = [TOKENIZER.decode(tokens[mask]).encode() for tokens, mask in rows]
        shown = [text.decode("utf-8", "replace").encode() for text in found["text"].numpy()]
        assert shown == texts


@pytest.mark.slow
def test_ids_of_fewer_rows_and_columns(exported):
    model, folder = exported
    serve = tf.saved_model.load(str(folder)).signatures["generate_ids"]
    ids, mask = padded([[5, 6, 7], [9]], 4)
    found = serve(token_ids=ids, mask=mask, seed=tf.constant(1, tf.int64))
    wanted = generate(
        model, ids, mask, max_new_tokens=NEW, seed=1, stop_tokens=(2,), pad_id=TOKENIZER.pad_id
    )
    np.testing.assert_array_equal(found["tokens"], wanted.tokens)


@pytest.mark.parametrize(
    "prompts, message",
    [([], "there are no prompts"), (["x" * 30], "too long"), (["a"] * 5, "more prompts")],
)
def test_what_does_not_fit_is_refused(exported, prompts, message):
    serve = tf.saved_model.load(str(exported[1])).signatures["generate"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        serve(prompts=tf.constant(prompts, tf.string), seed=tf.constant(0, tf.int64))


@pytest.mark.slow
def test_eight_bit_kernels_are_saved_in_eight_bits(tmp_path):
    config = CONFIG.replace(width=64, num_heads=4)
    choices = {"batch_size": 1, "max_prompt_tokens": 8, "max_new_tokens": 3}
    sizes = {}
    for name in ("float", "int8"):
        model = CausalLM(config)
        if name == "int8":
            quantize(model)
        export_saved_model(model, TOKENIZER, tmp_path / name, **choices)
        variables = (tmp_path / name / "1" / "variables").glob("*.data*")
        sizes[name] = sum(path.stat().st_size for path in variables)
    kernels = 2 * 12 * 64 * 64
    assert sizes["float"] - sizes["int8"] > 0.95 * 3 * kernels - 4 * 2 * 10 * 64
    ids, mask = padded([[5, 6]], 8)
    serve = tf.saved_model.load(str(tmp_path / "int8" / "1")).signatures["generate_ids"]
    found = serve(token_ids=ids, mask=mask, seed=tf.constant(1, tf.int64))
    wanted = generate(
        model, ids, mask, max_new_tokens=3, seed=1, stop_tokens=(2,), pad_id=TOKENIZER.pad_id
    )
    np.testing.assert_array_equal(found["tokens"], wanted.tokens)


def test_a_tokenizer_of_another_kind_leaves_ids(tmp_path):
    words = train_word_piece(["a b c"], 60)
    signatures = export_saved_model(
        CausalLM(CONFIG),
        words,
        tmp_path,
        batch_size=1,
        max_prompt_tokens=4,
        max_new_tokens=2,
        stop_tokens=(words.sep_id,),
    )
    assert set(signatures) == {"generate_ids", "serving_default"}


@pytest.mark.slow
def test_in_a_process_without_the_library(exported, tmp_path):
    model, folder = exported
    script = f"""
import sys, numpy as np, tensorflow as tf
serve = tf.saved_model.load({str(folder)!r}).signatures["generate"]
out = serve(prompts=tf.constant({PROMPTS!r}), seed=tf.constant(5, tf.int64))
assert not [name for name in sys.modules if name.startswith("tfalign")]
np.save({str(tmp_path / "tokens.npy")!r}, out["tokens"])
"""
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    wanted = expected(model, PROMPTS, 5).tokens
    np.testing.assert_array_equal(np.load(tmp_path / "tokens.npy"), wanted)


def _interpret(file, **inputs):
    interpreter = tf.lite.Interpreter(str(file))
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        (name,) = (name for name in inputs if name in detail["name"])
        interpreter.set_tensor(detail["index"], inputs[name])
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


@pytest.mark.slow
def test_litert_logits(tmp_path):
    model, (ids, mask) = CausalLM(CONFIG), padded([[5, 6, 7]], 5)
    size = export_litert_logits(model, tmp_path / "it.tflite", 1, 5)
    assert size == (tmp_path / "it.tflite").stat().st_size
    (logits,) = _interpret(tmp_path / "it.tflite", token_ids=ids, mask=mask)
    wanted = np.asarray(model(ids, padding_mask=mask))
    np.testing.assert_allclose(logits[mask], wanted[mask], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [Sampler(top_k=1), Sampler(0.8, top_p=0.9)], ids=str)
def test_litert_loop(tmp_path, sampler):
    model, (ids, mask) = CausalLM(CONFIG), padded([[5, 6, 7]], 5)
    export_litert(model, tmp_path / "it.tflite", 1, 5, NEW, sampler, (2,))
    uniforms = np.random.default_rng(0).random((NEW, 1)).astype("float32")
    outputs = _interpret(tmp_path / "it.tflite", token_ids=ids, mask=mask, uniforms=uniforms)
    wanted = Generator(model, NEW, sampler, (2,)).run_with(ids, mask, tf.constant(uniforms))
    (tokens,) = (output for output in outputs if output.ndim == 2)
    np.testing.assert_array_equal(tokens, wanted.tokens)


@pytest.mark.slow
def test_a_constraint_is_part_of_it(tmp_path):
    """What it says obeys, and is what the library says under the constraint."""
    pytest.importorskip("outlines_core")
    model, pattern = CausalLM(CONFIG), "(a|b)+[0-9]{2}"
    constraint = regular_expression(pattern, TOKENIZER, 259, NEW)
    sizes = {"batch_size": 4, "max_prompt_tokens": 16, "max_new_tokens": NEW}
    export_saved_model(model, TOKENIZER, tmp_path, constraint=constraint, **sizes)
    serve = tf.saved_model.load(str(tmp_path / "1")).signatures["generate"]
    for seed in range(3):
        found = serve(prompts=tf.constant(PROMPTS), seed=tf.constant(seed, tf.int64))
        wanted = expected(model, PROMPTS, seed, constraint)
        np.testing.assert_array_equal(found["tokens"], wanted.tokens)
        np.testing.assert_allclose(found["log_probs"], wanted.log_probs, atol=1e-4)
        for text in found["text"].numpy():
            assert re.fullmatch(pattern, text.decode()), text


@pytest.mark.slow
def test_a_constraint_is_part_of_a_litert_loop(tmp_path):
    pytest.importorskip("outlines_core")
    model, (ids, mask) = CausalLM(CONFIG), padded([[5, 6, 7]], 5)
    constraint = regular_expression("(a|b)+[0-9]{2}", TOKENIZER, 259, NEW)
    choices = {"stop_tokens": TOKENIZER.stop_ids, "constraint": constraint}
    export_litert(model, tmp_path / "it.tflite", 1, 5, NEW, Sampler(0.8), **choices)
    uniforms = np.random.default_rng(0).random((NEW, 1)).astype("float32")
    outputs = _interpret(tmp_path / "it.tflite", token_ids=ids, mask=mask, uniforms=uniforms)
    loop = Generator(model, NEW, Sampler(0.8), **choices)
    wanted = loop.run_with(ids, mask, tf.constant(uniforms))
    (tokens,) = (output for output in outputs if output.ndim == 2)
    np.testing.assert_array_equal(tokens, wanted.tokens)
