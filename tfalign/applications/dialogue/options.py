"""The options of ``tfalign dialogue``. This module imports neither Keras nor TensorFlow."""

from __future__ import annotations

from tfalign.options import changed, option, option_record, record
from tfalign.trainers.on_policy_options import OnPolicyOptions
from tfalign.trainers.options import FineTuneOptions


@option_record
class DialogueOptions:
    """Teaches a small model to serve callers: fine-tuning on dialogues, then RL against simulated users."""

    run_dir: str = option(
        "runs/dialogue", "Run directory; the same command continues the run in it."
    )
    data: str = option(
        "embedded",
        "Dialogues: embedded, embedded:chinese, or camrest:FOLDER, crosswoz:FOLDER.",
    )
    width: int = option(128, "Hidden size.", at_least=1)
    num_layers: int = option(2, "Number of blocks.", at_least=1)
    dropout: float = option(0.1, "Dropout rate of fine-tuning.", at_least=0, below=1)
    copies: int = option(
        10, "Copies of each training dialogue, all but the first with other values.", at_least=1
    )
    goals: int = option(600, "Goals that are drawn for training, beside the data's.", at_least=0)
    test_goals: int = option(
        500, "Goals of simulated users that the model is tested with.", at_least=2
    )
    learned_users: int = option(
        0,
        "Test with so many users, too, whose words a model of its own learned from the dialogues.",
        at_least=0,
    )
    algorithm: str = option("rloo", "On-policy algorithm.")
    dialogue_turns: int = option(7, "Replies after which a simulated user gives up.", at_least=1)
    price: float = option(0.03, "Price of a turn; a content user is worth 1.", at_least=0)
    sft: FineTuneOptions = record(
        changed(
            FineTuneOptions(),
            conversations=True,
            length=200,
            batch_size=16,
            steps=400,
            learning_rate=3e-3,
            warmup_steps=50,
            on_bad="skip",
            log_every=50,
        ),
        "Fine-tuning on dialogues",
        prefix="sft.",
    )
    rl: OnPolicyOptions = record(
        changed(
            OnPolicyOptions(),
            batch_size=128,
            steps=60,
            learning_rate=3e-4,
            warmup_steps=5,
            kl_coefficient=0.02,
            missing_stop="keep",
            max_prompt_tokens=40,
            max_new_tokens=176,
            log_every=1,
            save_every=20,
        ),
        "RL",
    )
