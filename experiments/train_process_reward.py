"""Learns a process reward model: is each step of an answer right?

    python -m experiments.train_process_reward --model=DIR --data=steps.jsonl --run_dir=runs/steps

Reads JSON lines with "prompt", "steps" (a list of texts) and "labels" (a list of true and false); steps
are separated by a line break, which must be one token. The trunk starts from the given language model
(Uesato et al. 2022; Lightman et al. 2023). Writes RUN_DIR/models/process_reward, which
``rewards.ProcessReward`` makes a reward of.
"""

from __future__ import annotations

from experiments import stages
from experiments.launch import launch
from tfalign.data import BatchStream, StepsRecord, encode_steps
from tfalign.models import from_pretrained
from tfalign.objectives import ProcessRewardModelling
from tfalign.options import option, option_record
from tfalign.rewards import ProcessRewardModel


@option_record
class ProcessRewardConfig(stages.SupervisedConfig):
    run_dir: str = option("runs/process_reward", "where the run lives")
    model: str = option("runs/sft/models/sft", "language model whose trunk and tokenizer are used")
    data: str = option("steps.jsonl", 'FILE.jsonl with "prompt", "steps" and "labels"')
    length: int = option(256, "longest prompt with steps, tokens", at_least=1)
    steps: int = option(300, "updates", at_least=1)
    learning_rate: float = option(3e-4, "at its peak", above=0)


def train_process_reward(config, run):
    """Trains and saves the model; goes on from the newest checkpoint of the run."""
    stages.seed_everything(config.seed)
    trunk = from_pretrained(config.model, dtype=config.precision).backbone
    model = ProcessRewardModel(trunk)
    tokenizer = stages.load_tokenizer(config.model)
    train, test = (
        stages.tell(
            f"process_reward {split}",
            encode_steps(
                stages.read(config.data, StepsRecord, split, config.on_bad, config.data_dir),
                tokenizer,
                max_tokens=config.length,
                on_bad=config.on_bad,
            ),
        )
        for split in ("train", "test")
    )
    columns = stages.buckets(config.length)
    batches = BatchStream(train, config.batch_size, columns, seed=config.seed)
    held_out = BatchStream(test, min(config.batch_size, len(test)), columns, epochs=1)
    stages.train(
        run, "process_reward", model, ProcessRewardModelling(), batches, list(held_out), config
    )
    stages.save_model(run, "process_reward", model, tokenizer)


def main(config):
    train_process_reward(config, stages.open_run("process_reward", config))


if __name__ == "__main__":
    launch(ProcessRewardConfig, main, __doc__)
