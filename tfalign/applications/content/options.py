"""The options of ``tfalign compose``. This module imports neither Keras nor TensorFlow."""

from __future__ import annotations

from tfalign.options import changed, option, option_record, record
from tfalign.trainers.on_policy_options import OnPolicyOptions
from tfalign.trainers.options import FineTuneOptions

_PROMPT, _RESPONSE = 36, 44  # tokens, of the E2E data


@option_record
class ComposeOptions:
    """Writes what briefs ask for: fine-tuning on people's texts, then GRPO towards the briefs."""

    run_dir: str = option(
        "runs/compose", "Run directory; the same command continues the run in it."
    )
    data: str = option(
        "embedded",
        '"embedded", "embedded:zh", restaurants:FILE.csv,FILE.csv (E2E) or clothing:FILE.json (AdvertiseGen).',
    )
    held_out_fraction: float = option(
        0.15, "Fraction of the briefs that is held out.", above=0, below=1
    )
    copies: int = option(
        1,
        "Copies of each training text, all but the first with other values in brief and text alike.",
        at_least=1,
    )
    vocab_size: int = option(
        1024, "Vocabulary size of the tokenizer that is trained.", at_least=300
    )
    width: int = option(128, "Hidden size.", at_least=1)
    num_layers: int = option(2, "Number of blocks.", at_least=1)
    banned_limit: float | None = option(
        None, "Limit of the fraction of texts that break a rule; none: no limit.", at_least=0
    )
    length_limit: float | None = option(
        None, "Limit of the mean length, words; none: no limit.", above=0
    )
    banned_weight: float = option(
        0.0, "What a text that breaks a rule is charged instead, in slots.", at_least=0
    )
    length_weight: float = option(0.0, "What each word is charged instead, in slots.", at_least=0)
    texts_each: int = option(4, "Texts sampled for each held-out brief.", at_least=1)
    sft: FineTuneOptions = option(
        changed(
            FineTuneOptions(),
            length=_PROMPT + _RESPONSE,
            on_bad="skip",
            steps=2000,
            batch_size=32,
            learning_rate=2e-3,
            warmup_steps=100,
            save_every=250,
        ),
        "Fine-tuning on people's texts",
    )
    grpo: OnPolicyOptions = record(
        changed(
            OnPolicyOptions(),
            steps=180,
            batch_size=128,  # 8 responses to each of 16 briefs
            minibatch_size=64,
            learning_rate=4e-4,
            warmup_steps=5,
            kl_coefficient=0.025,
            missing_stop="penalty",
            max_prompt_tokens=_PROMPT,
            max_new_tokens=_RESPONSE,
            save_every=50,
        ),
        "GRPO towards the briefs",
    )
