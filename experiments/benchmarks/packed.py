"""What packed rows bring: the reference's pass and the updates, padded and packed in turn, on the same rollouts.

    python -m experiments.benchmarks.packed
    python -m experiments.benchmarks.packed --shapes= --demo=runs/demo

At the shapes the models have random weights and prompts are whole; lengths of responses are geometric, in mean a quarter of the
limit, which cuts off their tail. With --demo the fine-tuned policy of a demo's run answers its training prompts. In each
of --rounds rounds one batch of rollouts is compared with the reference and trained on for an epoch, by PPO with the critic on
the policy's backbone or by GRPO, in padded rows and in packed ones. Prints the columns that pass through the model per
batch (of which "real" ones hold a token), the columns whose logits are computed, the programs that were compiled and the CPU time
this took, and how many times as fast packed rows are, in CPU time, in the median over the rounds with the range. Each round runs once before it is timed,
so that no program is compiled while the clock runs.

Result: an epoch of updates is 1.5 to 1.9 times as fast, on 0.5 to 0.6 of the columns (docs/results/packed.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import tree

from experiments.launch import launch
from tfalign.data import BatchStream, PromptRecord, encode_prompts
from tfalign.data.response_packing import packed_rows
from tfalign.decoding import Generator
from tfalign.evaluation.markdown import table
from tfalign.models import Actor, CausalLM, GPTConfig, SharedActorCritic, from_pretrained
from tfalign.options import option, option_record
from tfalign.pretrained import load_tokenizer
from tfalign.trainers.data import EMBEDDED, read_split
from tfalign.trainers.options import DataOptions
from tfalign.training.algorithms import ALGORITHMS
from tfalign.training.learner import Learner
from tfalign.training.on_policy import one_pass
from tfalign.training.responses import RolloutConfig, join
from tfalign.training.rollouts import RolloutWorker
from tfalign.types import Generation, Prompts

# vocabulary, width, layers, heads; prompt and response tokens
SHAPES = {
    "small": ((512, 128, 4, 4), (16, 48)),
    "medium": ((5000, 256, 8, 4), (32, 64)),
}
DEMO = (42, 48)


@option_record
class PackedConfig:
    shapes: tuple[str, ...] = option(("medium",), "Shapes, comma-separated.", SHAPES)
    demo: str | None = option(None, "Run directory of a demo; none: random weights alone.")
    algorithms: tuple[str, ...] = option(
        ("ppo", "grpo"), "Algorithms, comma-separated.", ("ppo", "grpo")
    )
    rows: int = option(64, "Responses of a batch.", at_least=1)
    minibatches: int = option(4, "Updates of an epoch; must divide --rows.", at_least=1)
    rounds: int = option(5, "Timed rounds.", at_least=1)


class Task(NamedTuple):
    """What is trained on."""

    name: str
    model: CausalLM
    responses: Callable  # seed -> (Prompts, Generation)
    new: int  # maximum response length, tokens


def main(config):
    tasks = [random_task(name, config.rows) for name in config.shapes]
    tasks += [demo_task(config)] if config.demo else []
    header = ["task", "algorithm", "rows", "real columns", "columns", "read out", "programs"]
    header += [
        "compiling, CPU s",
        "epoch, CPU s",
        "reference faster by",
        "update faster by",
        "largest difference of losses",
    ]
    rows = [measured(task, name, config) for task in tasks for name in config.algorithms]
    print(table(header, rows))


def random_task(name, rows):
    of_model, (columns, new) = SHAPES[name]
    keras.utils.set_random_seed(0)
    model = CausalLM(GPTConfig(*of_model, max_positions=columns + new))

    def responses(seed):
        random = np.random.default_rng(seed)
        lengths = np.minimum(random.geometric(4 / new, rows), new)
        ids = random.integers(1, of_model[0], (rows, columns + new), "int32")
        mask = np.arange(new) < lengths[:, None]
        log_probs = np.where(mask, -np.log(of_model[0]), 0).astype("float32")
        prompts = Prompts(ids[:, :columns], np.ones((rows, columns), "bool"))
        return prompts, Generation(ids[:, columns:], log_probs, mask, 0 * log_probs)

    return Task(name, model, responses, new)


def demo_task(config):
    columns, new = DEMO
    directory = str(Path(config.demo) / "models" / "sft")
    tokenizer, model = load_tokenizer(directory), from_pretrained(directory)
    records = read_split(EMBEDDED, PromptRecord, "train", DataOptions())
    stream = BatchStream(
        encode_prompts(records, tokenizer, columns, "skip"), config.rows, [columns]
    )
    generator = Generator(model, new, stop_tokens=tokenizer.stop_ids, pad_id=tokenizer.pad_id)
    batches = [next(stream) for _ in range(config.rounds)]

    def responses(seed):
        prompts = Prompts(batches[seed].token_ids, batches[seed].mask)
        generation = generator(*prompts, seed)
        generation = generation._replace(values=0 * generation.log_probs)
        return prompts, tree.map_structure(np.asarray, generation, none_is_leaf=False)

    return Task("demo", model, responses, new)


def measured(task, name, config):
    """A row of the table."""
    layouts = [Layout(task, name, packed, config.minibatches) for packed in (False, True)]
    batches = [task.responses(seed) for seed in range(config.rounds)]
    first = np.array([[layout.run(*batch) for layout in layouts] for batch in batches])  # compiles
    found = np.array([[layout.run(*batch) for layout in layouts] for batch in batches])
    reference, update = (found[:, 0, which] / found[:, 1, which] for which in (0, 1))
    columns = [sum(layout.columns(*batch) for batch in batches) for layout in layouts]
    compiling = np.sum(first - found, axis=0)[:, :2].sum(axis=1)
    programs = [layout.worker.comparison.traces + layout.learner.traces for layout in layouts]
    return [
        task.name,
        name,
        f"{config.rows} in {config.minibatches}",
        f"{real_columns(batches) / config.rounds:.0f}",
        *(" to ".join(f"{x / config.rounds:.0f}" for x in pair) for pair in zip(*columns)),
        " to ".join(map(str, programs)),
        " to ".join(f"{x:.0f}" for x in compiling),
        " to ".join(f"{x:.2f}" for x in np.median(found[:, :, 1], axis=0)),
        *(f"{np.median(x):.2f} [{x.min():.2f}, {x.max():.2f}]" for x in (reference, update)),
        f"{np.abs(found[:, 0, 2] - found[:, 1, 2]).max():.0e}",
    ]


def real_columns(batches):
    """The states of real tokens but the last of each row."""
    masks = [join(*batch)[1] for batch in batches]
    return sum(mask.sum() - len(mask) for mask in masks)


class Layout:
    """The two passes, in padded or in packed rows."""

    def __init__(self, task, name, packed, minibatches):
        chosen = ALGORITHMS[name]
        config = RolloutConfig(task.new, group_size=chosen.group_size, packed=packed)
        actor_critic = (SharedActorCritic if chosen.needs_critic else Actor)(copy_of(task.model))
        self.worker = RolloutWorker(actor_critic, task.model, None, config, chosen.credit)
        self.learner = Learner(actor_critic, chosen.loss, keras.optimizers.Adam(1e-5, epsilon=1e-5))
        self.minibatches = minibatches
        self.start = actor_critic.get_weights()

    def run(self, prompts, generation):
        """(CPU seconds of the reference's pass, of an epoch; loss of its first update)."""
        self.learner.model.set_weights(self.start)
        texts = join(prompts, generation)
        began = time.process_time()
        tree.map_structure(np.asarray, self.worker.compare(*texts, generation), none_is_leaf=False)
        compared = time.process_time()
        scores = np.random.default_rng(0).normal(size=len(texts[0])).astype("float32")
        rollout, _ = self.worker.finish(*texts, generation, scores, np.float32(0), 0 * scores)
        order = np.arange(len(scores), dtype="int32")
        np.asarray(rollout.advantages)
        credited = time.process_time()
        packed = self.worker.config.packed
        updates = one_pass(self.learner, rollout, order, self.minibatches, packed)
        losses = [float(update["loss"]) for update in updates]
        return compared - began, time.process_time() - credited, losses[0]

    def columns(self, prompts, generation):
        """int[2]: columns that pass through the model in an epoch, and those whose logits are computed."""
        token_ids, padding_mask = join(prompts, generation)
        if not self.worker.config.packed:
            return np.array([token_ids[:, 1:].size, generation.mask.size])
        parts = zip(
            *(np.split(x, self.minibatches) for x in (token_ids, padding_mask, generation.mask))
        )
        packed = [packed_rows(*part) for part in parts]
        return np.sum([[rows.token_ids.size, rows.cells.size] for rows in packed], axis=0)


def copy_of(model):
    copy = CausalLM.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


if __name__ == "__main__":
    launch(PackedConfig, main, __doc__)
