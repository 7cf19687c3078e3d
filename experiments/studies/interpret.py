"""Shows attention, logit lens and attributions of a model on one text.

    python -m experiments.studies.interpret --model=runs/demo/models/sft --text="Where is my order?"
    python -m experiments.studies.interpret --model=runs/bert/models/pretrain_bert --text="He was born in London ."
    python -m experiments.studies.interpret --model=runs/sentiment/models/classify --text="A dull film ."

A language model predicts the next token, a masked language model the masked one (the last word's, or that of
--hide), a classifier the class. Plots the attention of every head, the prediction after each block (logit
lens, nostalgebraist 2020) and each token's contribution to the prediction (integrated gradients against padding
tokens, Sundararajan et al. 2017): as PNG in RUN_DIR/plots, and all of it with the texts in one HTML page
without external files, RUN_DIR/interpret.html. Seconds.

Result: attributions sum to the difference that they explain to within 1%, which the page shows; formulas
and their tests are in docs/encoders.md.
"""

from __future__ import annotations

import base64
import dataclasses

import jinja2
import numpy as np
from keras import ops

from experiments.launch import launch
from tfalign.data.encoding import padding_id, sequence_ends
from tfalign.evaluation import plots
from tfalign.files import local_path
from tfalign.interpretability import attention_maps, integrated_gradients, logit_lens
from tfalign.models import CausalLM, MaskedLM, SequenceClassifier, from_pretrained
from tfalign.options import option, option_record
from tfalign.pretrained import load_tokenizer

_PAGE = jinja2.Environment(autoescape=True).from_string("""\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Inside a model</title>
<style>
body { font-family: sans-serif; color: #1F2933; max-width: 75em; margin: 2em auto; }
td, th { padding: 0.2em 0.5em; border-bottom: 1px solid #E4E7EB; text-align: left; white-space: pre; }
.text span { padding: 0.1em 0.15em; border-radius: 0.2em; white-space: pre-wrap; }
.wide { overflow-x: auto; }
img { max-width: 100%; }
</style>
<h1>Inside {{ kind }}</h1>
<p>Asked for {{ question }}, it answers <b>{{ answer }}</b> ({{ "%.1f"|format(100 * probability) }}%).</p>
<h2>Attribution of the answer to tokens</h2>
<p>Integrated gradients of the answer's log-probability: {{ "%.3f"|format(score) }} nats, {{
"%.3f"|format(baseline_score) }} on padding alone; the tokens' attributions add up to {{
"%.3f"|format(total) }} ({{
"%.1f"|format(100 * unexplained) }}% of the difference is unexplained).
Blue is evidence for the answer, orange against it.</p>
<p class="text">{% for token, value, color in attributed -%}
<span style="background: {{ color }}" title="{{ '%+.3f'|format(value) }} nats">{{ token }}</span>
{% endfor %}</p>
<img alt="Attributions" src="{{ pictures.attributions }}">
{% if lens %}
<h2>Prediction after each block</h2>
<div class="wide"><table>
<tr><th>after</th>{% for token in tokens %}<th>{{ token }}</th>{% endfor %}</tr>
{% for row in lens %}<tr><th>{{ "embedding" if loop.index0 == 0 else loop.index0 }}</th>
{% for word, p in row %}<td style="background: rgba(0, 114, 178, {{ '%.2f'|format(0.6 * p) }})">{{
word }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
<img alt="Logit lens" src="{{ pictures.logit_lens }}">
{% endif %}
<h2>Attention</h2>
<p>One row per block, one map per head; queries are rows, keys columns.</p>
<p>{% for token in tokens %}{{ loop.index0 }} {{ token }} &ensp; {% endfor %}</p>
<img alt="Attention maps" src="{{ pictures.attention }}">
</html>
""")


@option_record
class InterpretConfig:
    run_dir: str = option("runs/interpret", "Directory of the plots and the page.")
    model: str | None = option(
        None, "Directory of a language model, a masked language model or a classifier; required."
    )
    text: str = option("The quick brown fox jumps over the lazy dog.", "Input text.")
    hide: int | None = option(
        None,
        "Masked language model: index of the token to mask, from 0; none: the last word's.",
        at_least=0,
    )
    steps: int = option(
        64,
        "Initial number of points of the integral, doubled until less than 1% is unexplained.",
        at_least=1,
    )


@dataclasses.dataclass(frozen=True)
class Question:
    """What a model predicts about one text.

    Attributes:
        token_ids: int32[1, T].
        asked: str, the prediction in words, such as "the next token".
        log_probs: ``(hidden float[N, T, W], mask) -> float32[N, answers]``.
        name: ``int -> str``, name of an answer.
    """

    token_ids: np.ndarray
    asked: str
    log_probs: object
    name: object


def main(config):
    if config.model is None:
        raise ValueError("--model must be given")
    model, tokenizer = from_pretrained(config.model), load_tokenizer(config.model)
    question = ask(model, tokenizer, config)
    token_ids, backbone = question.token_ids, model.backbone
    everywhere = np.ones(token_ids.shape, "bool")
    answers = np.asarray(question.log_probs(backbone(token_ids), everywhere))[0]
    answer = int(answers.argmax())
    attributions = integrated_gradients(
        backbone,
        lambda hidden, mask: question.log_probs(hidden, mask)[:, answer],
        token_ids,
        _baseline(token_ids, tokenizer),
        steps=config.steps,
    )
    maps = np.asarray(attention_maps(backbone, token_ids))[:, 0]
    lens = None
    if not isinstance(model, SequenceClassifier):
        lens = np.asarray(ops.softmax(logit_lens(model, token_ids)))[:, 0]
    folder = local_path(config.run_dir) / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    draw(folder, maps, lens, np.asarray(attributions.tokens)[0])
    page = local_path(config.run_dir) / "interpret.html"
    page.write_text(
        _PAGE.render(
            kind=f"a {type(model).__name__}",
            question=question.asked,
            answer=question.name(answer),
            probability=float(np.exp(answers[answer])),
            lens=lens is not None and _said(lens, tokenizer),
            pictures={file.stem: _embedded(file) for file in folder.glob("*.png")},
            **_attributed(attributions, [tokenizer.token(i) for i in token_ids[0].tolist()]),
        ),
        encoding="utf-8",
    )
    print(f"{question.asked}: {question.name(answer)} ({np.exp(answers[answer]):.1%}); {page}")


def ask(model, tokenizer, config):
    """The ``Question`` for a model's kind.

    Raises:
        ValueError: if the model is of another kind, or the text does not have the token to mask.
    """
    head, tail = sequence_ends(tokenizer)
    ids = tokenizer.encode(config.text)
    if isinstance(model, CausalLM):
        token_ids = np.array([head + ids], np.int32)
        return _question(
            token_ids, "the next token", lambda h, _: model.logits(h[:, -1]), tokenizer
        )
    if isinstance(model, MaskedLM):
        count = len(ids)
        hide = count - 2 + (count == 1) if config.hide is None else config.hide
        if not 0 <= hide < count:
            raise ValueError(f"--hide names one of {count} tokens. Received: hide={config.hide}")
        column = len(head) + hide
        token_ids = np.array([head + ids + tail], np.int32)
        token_ids[0, column] = tokenizer.mask_id
        asked = f"token {hide} of the text, which is masked ({tokenizer.token(ids[hide])})"
        return _question(token_ids, asked, lambda h, _: model.lens(h[:, column]), tokenizer)
    if isinstance(model, SequenceClassifier):
        token_ids = np.array([head + ids + tail], np.int32)
        return Question(
            token_ids,
            "the class",
            lambda h, mask: ops.log_softmax(model.head(model.backbone.pool(h, mask))),
            lambda number: f"class {number}",
        )
    raise ValueError(
        f"The model must be a language model or a classifier. Received: {type(model).__name__}"
    )


def _question(token_ids, asked, logits, tokenizer):
    return Question(
        token_ids, asked, lambda h, mask: ops.log_softmax(logits(h, mask)), tokenizer.token
    )


def _baseline(token_ids, tokenizer):
    """The text with everything but special tokens replaced by padding."""
    is_special = np.vectorize(tokenizer.is_special, otypes=[bool])(token_ids)
    return np.where(is_special, token_ids, padding_id(tokenizer)).astype(np.int32)


def draw(folder, maps, lens, attributions):
    """Plots attention.png, logit_lens.png and attributions.png.

    Args:
        folder: Path.
        maps: float32[L, H, T, T].
        lens: float32[L + 1, T, V], probabilities; None for a classifier.
        attributions: float32[T], nats.
    """
    plots.heat_maps(folder / "attention.png", maps, "attended token", "token")
    if lens is not None:
        plots.heat_maps(folder / "logit_lens.png", [[lens.max(axis=-1)]], "token", "after block")
    plots.signed_bars(folder / "attributions.png", attributions, "token", "nats of the answer")


def _said(lens, tokenizer):
    """The likeliest token and its probability, after every block at every position."""
    best = lens.argmax(axis=-1)
    return [
        [
            (tokenizer.token(int(token)), float(lens[layer, place, token]))
            for place, token in enumerate(row)
        ]
        for layer, row in enumerate(best)
    ]


def _attributed(attributions, tokens):
    """What the page says of attributions: numbers, and tokens with colours."""
    values = np.asarray(attributions.tokens)[0]
    strongest = max(float(np.abs(values).max()), 1e-9)

    def color(value):
        base = "0, 114, 178" if value >= 0 else "230, 159, 0"
        return f"rgba({base}, {0.8 * abs(value) / strongest:.2f})"

    return {
        "tokens": tokens,
        "attributed": [(t, float(v), color(float(v))) for t, v in zip(tokens, values)],
        "score": float(attributions.score[0]),
        "baseline_score": float(attributions.baseline_score[0]),
        "total": float(values.sum()),
        "unexplained": float(attributions.unexplained[0]),
    }


def _embedded(file):
    return f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}"


if __name__ == "__main__":
    launch(InterpretConfig, main, __doc__)
