"""Parity with transformers through files, in both directions: ``make parity``.

    python tests/parity/run.py --peer-python PATH/TO/python [--only=Gemma]

where the other interpreter has torch, transformers (5.23 was used) and peft (0.21). For every case transformers
writes a random model with what it computes; tfalign loads it, must compute the same, and writes it
again; transformers loads that and must compute the same too. Compared are logits (or hidden states)
and the states after every block, rows padded on the left and on the right, to 1e-4, and a hundred
greedily decoded tokens, which must be identical. So must be the ids of conversations, for tokenizers
and chat templates of several kinds.

Odd spellings of configurations (``spellings``) are loaded too: each is computed as transformers or peft
computes it, or refused.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
from functools import partial

import numpy as np

from tfalign.decoding import Greedy, generate
from tfalign.models import CausalLM, from_pretrained, save_pretrained
from tfalign.models.peft import load_adapters, save_adapters
from tfalign.text import Message, Tokenizer, encode_conversation, render_conversation

TOLERANCE = 1e-4
OTHER_SIDE = pathlib.Path(__file__).with_name("transformers_side.py")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", required=True, help="an interpreter with transformers")
    parser.add_argument("--only", default="", help="pattern of the cases' names; all where empty")
    asked = parser.parse_args()
    peer, only = asked.peer_python, asked.only
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        subprocess.run([peer, OTHER_SIDE, "write", folder, only], check=True)
        for case in _cases(folder / "chat"):
            _compare_conversations(case)
        adapted = _cases(folder / "adapters")
        for case in adapted:
            _load_and_save_adapters(case)
        cases = _cases(folder / "models")
        for case in cases:
            _load_and_save(case)
        subprocess.run([peer, OTHER_SIDE, "read", folder, only], check=True)
        worst = [_report(case) for case in cases]
        worst += [_report_adapters(case) for case in adapted]
        silent = _compare_spellings(folder)
    print(f"{len(worst)} cases, largest difference {max(worst):.1e}")
    if silent:
        sys.exit(f"{len(silent)} odd spellings differ in silence: {silent}")
    if not max(worst) <= TOLERANCE:  # NaN fails too
        sys.exit(f"The largest difference must be at most {TOLERANCE}. Received: {max(worst):.2e}")


def _cases(folder):
    return sorted(folder.iterdir()) if folder.exists() else []


def _compare_spellings(folder):
    """Loads every odd spelling; returns those that differ from what transformers and peft compute,
    and what is refused though nothing about it is odd."""
    outcomes = {"equal": [], "refused": [], "only tfalign loads": [], "different": []}
    for case in _cases(folder / "spellings"):
        load = partial(from_pretrained, case / "theirs")
        outcomes[_outcome(case, load)].append(case.name)
    for case in _cases(folder / "adapter_spellings"):
        base = from_pretrained(folder / "bases" / "llama")
        adapted = partial(_with_adapters, base, case / "theirs")
        outcomes[_outcome(case, adapted)].append(f"adapter, {case.name}")
    for outcome, names in outcomes.items():
        print(f"odd spellings, {outcome}: {len(names)}")
    print("only tfalign loads:", *outcomes["only tfalign loads"], sep="\n    ")
    plain = [name for name in outcomes["refused"] if name.endswith("as it is")]
    return outcomes["different"] + plain


def _with_adapters(base, directory):
    load_adapters(base, directory)
    return base


def _outcome(case, load):
    theirs = np.load(case / "theirs.npz")
    try:
        model = load()
    except ValueError as error:
        if "output" in theirs:
            print(f"{case.name}: refused: {str(error).replace(str(case), '')[:160]}")
        return "refused"
    if "output" not in theirs:
        print(f"{case.name}: transformers does not load it: {str(theirs['error'])[:120]}")
        return "only tfalign loads"
    ids = theirs["ids"].astype("int32")
    output = np.asarray(model(ids, padding_mask=np.ones(ids.shape, "bool")))
    difference = float(np.abs(output.reshape(theirs["output"].shape) - theirs["output"]).max())
    if difference <= TOLERANCE:
        return "equal"
    print(f"{case.name}: DIFFERENT by {difference:.1e}")
    return "different"


def _compare_conversations(folder):
    tokenizer = Tokenizer.load(folder)
    for number, case in enumerate(json.loads((folder / "expected.json").read_text())):
        messages = [Message(**message) for message in case["messages"]]
        encoded = encode_conversation(tokenizer, messages, case["open_ended"])
        ids, theirs = encoded.token_ids, case["token_ids"]
        if any(theirs[: len(prompt)] != prompt for prompt in case["asked"]):
            # the whole conversation would have other tokens there than a model is asked with
            theirs = case["asked"][0] + ids[len(case["asked"][0]) :]
            print(f"{folder.name}, conversation {number}: only the first prompt's ids are compared")
        same = [
            render_conversation(tokenizer, messages, case["open_ended"]) == case["text"],
            ids == theirs,
            case["from_assistant"] in (None, [int(said) for said in encoded.from_assistant]),
        ]
        if not all(same):
            sys.exit(f"{folder.name}, conversation {number}: text, ids, mask are equal: {same}")
    print(f"{folder.name}: conversations equal")


def _load_and_save_adapters(folder):
    model = from_pretrained(folder / "base", dropout=0.0)
    load_adapters(model, folder / "theirs")
    theirs = np.load(folder / "theirs.npz")
    ids = theirs["ids"].astype("int32")
    output = np.asarray(model(ids, padding_mask=np.ones(ids.shape, "bool")))
    np.savez(folder / "ours.npz", output=output.reshape(theirs["output"].shape))
    save_adapters(model, folder / "ours")


def _report_adapters(folder):
    theirs = np.load(folder / "theirs.npz")["output"]
    differences = [
        float(np.abs(np.load(folder / file)["output"] - theirs).max())
        for file in ("ours.npz", "ours_by_them.npz")
    ]
    print(f"adapters, {folder.name}: in {differences[0]:.1e}, out {differences[1]:.1e}")
    return max(differences)


def _load_and_save(folder):
    model = from_pretrained(folder / "theirs")
    theirs = np.load(folder / "theirs.npz")
    states = _recorded_states(model)
    outputs = {}
    for side in ("right", "left"):
        call = {"padding_mask": theirs[f"{side}_mask"]}
        if folder.name.startswith(("Bert", "Roberta", "XLMRoberta")):
            call["token_type_ids"] = theirs[f"{side}_types"].astype("int32")
        output = np.asarray(model(theirs[f"{side}_token_ids"].astype("int32"), **call))
        outputs[f"{side}_output"] = output.reshape(theirs[f"{side}_output"].shape)
        outputs[f"{side}_states"] = np.stack(states)
        states.clear()
    if isinstance(model, CausalLM):
        prompts = theirs["left_token_ids"].astype("int32"), theirs["left_mask"]
        new = theirs["continued"].shape[1]
        outputs["continued"] = generate(
            model, *prompts, max_new_tokens=new, sampler=Greedy()
        ).tokens
    np.savez(folder / "ours.npz", **outputs)
    pad_id = 1 if folder.name.startswith(("Roberta", "XLMRoberta")) else 0
    save_pretrained(model, folder / "ours", entries={"pad_token_id": pad_id})


def _recorded_states(model):
    """A list that the states after every block go to; the last one after a decoder's final norm."""
    trunk, states = getattr(model, "backbone", model), []
    layers = list(trunk.blocks)
    if hasattr(trunk, "final_norm"):
        layers[-1] = trunk.final_norm
    for layer in layers:

        def call(*args, original=layer.call, **kwargs):
            states.append(original(*args, **kwargs))
            return states[-1]

        layer.call = call
    return states


def _report(folder):
    """Prints a line of the case; returns its largest difference at real tokens."""
    theirs = np.load(folder / "theirs.npz")
    differences = {}
    for direction, file in (("in", "ours.npz"), ("out", "ours_by_them.npz")):
        outputs = np.load(folder / file)
        for side in ("right", "left"):
            mask = theirs[f"{side}_mask"]
            output, expected = outputs[f"{side}_output"], theirs[f"{side}_output"]
            if expected.ndim == 3:  # per token: padding columns hold no meaning
                output, expected = output[mask], expected[mask]
            elif side == "left" and direction == "in":
                # transformers pools the first column, padding or not; tfalign the first token
                expected = theirs["right_output"]
            states = np.abs(outputs[f"{side}_states"] - theirs[f"{side}_states"])[:, mask]
            differences[f"{direction} {side}"] = float(np.abs(output - expected).max())
            differences[f"{direction} {side} states"] = float(states.max())
        if "continued" in theirs:
            equal = np.array_equal(outputs["continued"], theirs["continued"])
            differences[f"{direction} continued"] = 0.0 if equal else float("inf")
    worst = max(differences, key=differences.get)
    largest = np.abs(theirs["right_output"]).max()
    print(f"{folder.name}: {differences[worst]:.1e} ({worst}), largest output {largest:.1f}")
    return differences[worst]


if __name__ == "__main__":
    main()
