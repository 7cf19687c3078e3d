"""Compares a policy before and after alignment on held-out prompts, and writes the report.

    python -m experiments.evaluate --run_dir=runs/demo_eval --before=runs/demo/models/sft \\
        --after=runs/demo/models/ppo --reward_model=runs/demo/models/reward_model

Samples one response a prompt from both, scores them with the reward model (and, for the embedded
data, the gold reward with its parts), and measures the KL of the aligned policy to the one before. Writes
report.md, report.json and plots/*.png. About 30 seconds on two CPU cores.
"""

from __future__ import annotations

import itertools
import shlex
import sys

import numpy as np

from experiments import stages
from experiments.align import AlignConfig, rollout_config
from experiments.launch import launch
from tfalign import backend
from tfalign.data import BatchStream, PromptRecord, encode_prompts
from tfalign.data.customer_service import gold_components, gold_reward, names_own
from tfalign.evaluation.report import (
    PolicyEvaluation,
    Report,
    RewardModelEvaluation,
    report_values,
    write_report,
)
from tfalign.models import Actor, from_pretrained
from tfalign.models.actor_critic import copy_weights
from tfalign.options import option, option_record
from tfalign.rewards import LearnedReward
from tfalign.training.credit import RewardToGo
from tfalign.training.rollouts import RolloutWorker
from tfalign.training.run_directory import package_versions


@option_record
class EvaluateConfig:
    run_dir: str = option("runs/evaluate", "where the report goes")
    before: str = option("runs/sft/models/sft", "directory of the policy before alignment")
    after: str = option("runs/ppo/models/ppo", "directory of the policy after it")
    before_name: str = option("sft", "what the report calls the former")
    after_name: str = option("ppo", "what the report calls the latter")
    reward_model: str = option("runs/reward/models/reward_model", "directory of the reward model")
    data: str = option(stages.EMBEDDED, '"embedded", FILE.jsonl with "prompt", tfds:NAME:SPLIT')
    data_dir: str = option("runs/data", "where datasets are built")
    on_bad: str = option("skip", "what a bad or over-long record does", ["stop", "skip"])
    num_prompts: int = option(512, "held-out prompts, at most", at_least=1)
    batch_size: int = option(64, "responses sampled at a time", at_least=1)
    max_prompt_tokens: int = option(48, "longest prompt", at_least=1)
    max_new_tokens: int = option(48, "longest response", at_least=1)
    temperature: float = option(1.0, "of sampling", above=0)
    seed: int = option(1, "of sampling", at_least=0, below=2**32)
    title: str = option("Alignment report", "of the report")
    summary: str = option("", "what ran, in a few sentences of Markdown")


def evaluate(config, run, gold=None, seconds=None):
    """Writes the report.

    Args:
        config: EvaluateConfig.
        run: RunDirectory, whose metrics are drawn.
        gold: ``(prompt, response) -> float``, the judge; None for the reward model.
        seconds: dict of stage to wall clock; None for none.

    Returns:
        dict, what report.json holds.
    """
    judge = Judge(config, gold)
    scores_file = run.path / "reward_model_scores.npz"
    report = Report(
        title=config.title,
        summary=config.summary,
        command=_command(),
        prompts=judge.prompts,
        before=judge(config.before),
        after=judge(config.after),
        reward_model=_held_out_scores(scores_file),
        seconds=seconds or {},
        versions=package_versions(),
        before_name=config.before_name,
        after_name=config.after_name,
    )
    if not backend.is_chief():
        return report_values(report)
    metrics = run.path / "metrics.jsonl"  # of the stages before, where they ran in this run
    run.begin()
    return write_report(report, run.path, metrics if metrics.exists() else None)


class Judge:
    """Lets one policy after another answer the held-out prompts, and says what the answers are worth.

    Args:
        config: EvaluateConfig; ``before`` is the policy KL is measured to.
        gold: ``(prompt, response) -> float``; None for none.

    Attributes:
        prompts: list of str.
    """

    def __init__(self, config, gold=None):
        self._config, self._gold = config, gold
        self._tokenizer = stages.load_tokenizer(config.before)
        examples = encode_prompts(
            stages.read(config.data, PromptRecord, "test", config.on_bad, config.data_dir),
            self._tokenizer,
            config.max_prompt_tokens,
            config.on_bad,
        )
        batch_size = min(config.batch_size, len(examples))
        batches = BatchStream(examples, batch_size, [config.max_prompt_tokens], epochs=1)
        self._batches = list(itertools.islice(batches, max(config.num_prompts // batch_size, 1)))
        self.prompts = [
            self._tokenizer.decode(ids[mask].tolist())
            for batch in self._batches
            for ids, mask in zip(*batch)
        ]
        self._reference = from_pretrained(config.before)
        self._reward = LearnedReward(from_pretrained(config.reward_model))
        self._worker = None

    def __call__(self, directory):
        """PolicyEvaluation of one response a prompt, sampled from the policy in a directory."""
        worker = self._worker_for(from_pretrained(directory))
        responses, scores, kl, lengths = [], [], [], []
        for index, batch in enumerate(self._batches):
            rollout, _ = worker(batch, self._config.seed + index, kl_coefficient=0.0)
            responses += stages.texts(self._tokenizer, rollout)[1]
            scores.append(np.asarray(rollout.scores))
            kl.append(np.sum(np.asarray(rollout.log_probs) - np.asarray(rollout.ref_log_probs), 1))
            lengths.append(np.sum(np.asarray(rollout.response_mask), 1))
        golds = None
        if self._gold is not None:
            golds = np.array(list(map(self._gold, self.prompts, responses)))
        parts, checks = {}, {}
        if self._config.data == stages.EMBEDDED:
            parts, checks = _details(self.prompts, responses)
        return PolicyEvaluation(
            responses,
            np.concatenate(scores),
            golds,
            np.concatenate(kl),
            np.concatenate(lengths),
            parts,
            checks,
        )

    def _worker_for(self, policy):
        """RolloutWorker of this policy; one of another policy of its shape is compiled already."""
        if self._worker and self._worker.actor_critic.policy.config == policy.config:
            copy_weights(policy, self._worker.actor_critic.policy)
        else:
            self._worker = RolloutWorker(
                Actor(policy),
                self._reference,
                self._reward,
                rollout_config(_sampling(self._config), self._tokenizer),
                RewardToGo(),
            )
        return self._worker


_CHECKS = {
    "right order number": "order",
    "right city": "city",
    "right product": "product",
    "right user name": "user",
}


def _details(prompts, responses):
    """(parts of the gold reward, checks) of responses to the embedded data's prompts."""
    rows = list(map(gold_components, prompts, responses))
    parts = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    checks = {
        name: np.array(
            [names_own(slot, *pair) for pair in zip(prompts, responses)], dtype="float64"
        )
        for name, slot in _CHECKS.items()
    }
    return parts, checks


def _command():
    """The shell command this process was started by."""
    spec = sys.modules["__main__"].__spec__
    program = sys.argv[:1] if spec is None else ["-m", spec.name]
    return " ".join(map(shlex.quote, ["python", *program, *sys.argv[1:]]))


def _sampling(config):
    return AlignConfig(
        max_prompt_tokens=config.max_prompt_tokens,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        missing_stop="keep",
    )


def _held_out_scores(file):
    if not file.exists():
        return None
    with np.load(file) as scores:
        return RewardModelEvaluation(scores["chosen"], scores["rejected"])


def main(config):
    gold = gold_reward if config.data == stages.EMBEDDED else None
    evaluate(config, stages.open_run("evaluate", config), gold)
    print(f"report: {config.run_dir}/report.md")


if __name__ == "__main__":
    launch(EvaluateConfig, main, __doc__)
