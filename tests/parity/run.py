"""Parity with transformers through files, in both directions: ``make parity``.

    python tests/parity/run.py --peer-python PATH/TO/python

where the other interpreter has torch and transformers (4.57 was used). For every case transformers
writes a random model with its outputs; tfalign loads it, must give the same outputs, and writes it
again; transformers loads that and must give the same outputs too. Absolute tolerance 1e-4, rows
padded on the left and on the right.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

import tfalign.rewards  # noqa: F401  # registers the reward models' architectures
from tfalign.models import from_pretrained, save_pretrained

TOLERANCE = 1e-4
OTHER_SIDE = pathlib.Path(__file__).with_name("transformers_side.py")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", required=True, help="an interpreter with transformers")
    peer = parser.parse_args().peer_python
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        subprocess.run([peer, OTHER_SIDE, "write", folder], check=True)
        cases = sorted(path.name for path in folder.iterdir())
        for case in cases:
            _load_and_save(folder / case)
        subprocess.run([peer, OTHER_SIDE, "read", folder], check=True)
        worst = [_report(folder / case) for case in cases]
    if not max(worst) <= TOLERANCE:  # NaN fails too
        sys.exit(f"The largest difference must be at most {TOLERANCE}. Received: {max(worst):.2e}")


def _load_and_save(folder):
    model = from_pretrained(folder / "theirs")
    theirs = np.load(folder / "theirs.npz")
    outputs = {}
    for side in ("right", "left"):
        call = {"padding_mask": theirs[f"{side}_mask"]}
        if (folder.name).startswith("bert"):
            call["token_type_ids"] = theirs[f"{side}_types"].astype("int32")
        output = np.asarray(model(theirs[f"{side}_token_ids"].astype("int32"), **call))
        outputs[f"{side}_output"] = output.reshape(theirs[f"{side}_output"].shape)
    np.savez(folder / "ours.npz", **outputs)
    save_pretrained(model, folder / "ours", entries={"pad_token_id": 0})


def _report(folder):
    """Prints a line of the case; returns its largest difference at real tokens."""
    theirs = np.load(folder / "theirs.npz")
    differences = {}
    for direction, file in (("in", "ours.npz"), ("out", "ours_by_them.npz")):
        outputs = np.load(folder / file)
        for side in ("right", "left"):
            output, expected = outputs[f"{side}_output"], theirs[f"{side}_output"]
            if expected.ndim == 3:  # per token: padding columns hold no meaning
                mask = theirs[f"{side}_mask"]
                output, expected = output[mask], expected[mask]
            elif side == "left" and direction == "in":
                # transformers pools the first column, padding or not; tfalign the first token
                expected = theirs["right_output"]
            differences[f"{direction} {side}"] = float(np.abs(output - expected).max())
    shown = ", ".join(f"{name} {value:.1e}" for name, value in differences.items())
    print(f"{folder.name}: largest output {np.abs(theirs['right_output']).max():.1f}; {shown}")
    return max(differences.values())


if __name__ == "__main__":
    main()
