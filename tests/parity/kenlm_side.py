"""Makes tests/language_models/kenlm.json: probabilities of KenLM's modified Kneser-Ney model.

    python tests/parity/kenlm_side.py LMPLZ TEXT

LMPLZ is the estimator of KenLM (github.com/kpu/kenlm), TEXT is tiny Shakespeare; runs in an environment
with the package ``kenlm``. KenLM's vocabulary has <unk> beside the words of the training text and
</s>.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import kenlm

ORDER = 3


def main(lmplz, text):
    lines = [line.lower() for line in pathlib.Path(text).read_text("utf-8").splitlines()[:1100]]
    train, held_out = lines[:1000], lines[1000:]
    with tempfile.NamedTemporaryFile(suffix=".arpa") as arpa:
        subprocess.run(
            [lmplz, "-o", str(ORDER), "-S", "100M"],
            input="\n".join(train) + "\n",
            text=True,
            stdout=arpa,
            check=True,
        )
        model = kenlm.Model(arpa.name)
    scores = [[score for score, *_ in model.full_scores(" ".join(s.split()))] for s in held_out]
    case = {"order": ORDER, "train": train, "held_out": held_out, "log10_probs": scores}
    file = pathlib.Path(__file__).parents[1] / "language_models" / "kenlm.json"
    file.write_text(json.dumps(case) + "\n", "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
