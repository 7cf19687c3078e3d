"""Aligns a policy with each of some users, and compares it with one aligned with what all users agree on.

    tfalign demo
    python -m experiments.tasks.personalisation
    python -m experiments.tasks.personal_policies

The rewards are the models that ``experiments.tasks.personalisation`` has learned from others' choices: the personal one
with a vector fitted to --choices choices of a new user, and the pooled one. The users are the first new ones of each of
the four pairs of tastes: who like or dislike courtesy, and like or dislike brevity. From the demo's fine-tuned policy an
algorithm trains one policy by the pooled reward and one by each user's, on the same prompts, in as many steps, with
rewards scaled to a standard deviation of 1 over the same answers; so that the reward's taste is all that differs. Each
is judged by the user's own gold reward, which nothing is trained on, of responses to prompts that are phrased as none
in training. Prints, and writes to RUN_DIR/report.md, a row for each user with 95% intervals.

Result: docs/results/personalisation.md.
"""

from __future__ import annotations

import itertools
import json

import numpy as np

from experiments.launch import launch
from tfalign.applications.personalisation import (
    PersonalReward,
    PersonalRewardModel,
    choices_of,
    customers,
)
from tfalign.data.customer_service.examples import generate_examples
from tfalign.evaluation.markdown import table
from tfalign.evaluation.statistics import mean_interval
from tfalign.files import write_json_atomically, write_text_atomically
from tfalign.options import changed, option, option_record, record, to_dict
from tfalign.trainers import OnPolicyTrainer
from tfalign.trainers.base import open_run
from tfalign.trainers.evaluation import PolicyEvaluator
from tfalign.trainers.on_policy_options import ALGORITHMS, OnPolicyOptions
from tfalign.trainers.saving import model_directory
from tfalign.training.run_directory import METRICS

POOLED = "pooled"


@option_record
class PersonalPoliciesConfig:
    run_dir: str = option("runs/personal_policies", "Run directory.")
    model: str = option("runs/demo/models/sft", "Directory of the policy that all start from.")
    rewards: str = option("runs/personalisation", "Run directory of the reward models.")
    language: str = option("en", "Language of users and prompts.", ("en", "zh"))
    users: tuple[str, ...] = option(
        (), "Users by their tastes, such as likes_courteous_dislikes_concise; none: all four."
    )
    choices: int = option(16, "Choices of each user that the vector is fitted to.", at_least=0)
    algorithm: str = option("ppo", "On-policy algorithm.", ALGORITHMS)
    num_prompts: int = option(384, "Held-out prompts, each answered once.", at_least=2)
    options: OnPolicyOptions = record(
        changed(
            OnPolicyOptions(),
            steps=50,
            update_epochs=2,
            learning_rate=4e-4,
            log_every=5,
            save_every=50,
            max_prompt_tokens=42,
            on_bad="skip",
            max_new_tokens=48,
            missing_stop_penalty=2.0,
        )
    )


def main(config):
    run = open_run(config.run_dir, {"personal_policies": to_dict(config)}, "personal_policies")
    users = chosen_users(config.language, config.users)
    for name, reward in rewards_of(users, config).items():
        if not model_directory(run.path, name).exists():
            align(name, reward, config, run)
    found = judged(users, config, run)
    ratios = first_ratios(run.path / METRICS)
    write_json_atomically(run.file("report.json"), {"users": found, "first_max_log_ratio": ratios})
    text = report(found, max(ratios.values()))
    write_text_atomically(run.file("report.md"), text)
    print(text)


def chosen_users(language, names=()):
    """The first new user of each pair of tastes, or of some: stage -> Customer.

    Raises:
        ValueError: if there is no such user.
    """
    found = {}
    for user in customers(200, seed=1, language=language):
        tastes = [
            f"{'likes' if liked > 0 else 'dislikes'}_{name}"
            for name, liked in user.tastes.items()
            if liked
        ]
        if len(tastes) == len(user.tastes):
            found.setdefault("_".join(tastes), user)
    missing = set(names) - found.keys()
    if missing:
        raise ValueError(f"The users are {', '.join(found)}. Received: {min(missing)}")
    return {name: found[name] for name in names or found}


def rewards_of(users, config):
    """Stage -> reward, the pooled one and each user's, of standard deviation 1 over the users' answers."""
    pooled, personal = (
        PersonalRewardModel.load(f"{config.rewards}/{name}") for name in (POOLED, "personal")
    )
    known = {
        stage: list(itertools.islice(choices_of(user, seed=3), max(config.choices, 64)))
        for stage, user in users.items()
    }
    vectors = {POOLED: (pooled, pooled.prior.mean)} | {
        stage: (personal, personal.vector(pairs[: config.choices]).mean)
        for stage, pairs in known.items()
    }
    answers = [
        (pair.prompt, answer)
        for pair in itertools.chain(*known.values())
        for answer in (pair.chosen, pair.rejected)
    ]
    return {
        stage: PersonalReward(model, vector / np.std(model.rewards(*zip(*answers)) @ vector))
        for stage, (model, vector) in vectors.items()
    }


def align(name, reward, config, run):
    """Trains the policy of one reward."""
    prompts = list(generate_examples(f"prompts_{config.language}", "train"))
    trainer = OnPolicyTrainer(
        config.model,
        reward,
        prompts,
        config.algorithm,
        options=config.options,
        run_dir=run,
        stage=name,
    )
    trainer.train()


def judged(users, config, run):
    """Each user's gold reward of the start, the pooled policy and the user's own: stage -> numbers."""
    responses = config.options.responses
    evaluator = PolicyEvaluator(
        config.model,
        lambda prompts, responses: [0.0] * len(prompts),
        list(generate_examples(f"prompts_{config.language}", "test", config.num_prompts)),
        num_prompts=config.num_prompts,
        max_prompt_tokens=responses.max_prompt_tokens,
        max_new_tokens=responses.max_new_tokens,
    )
    places = {name: model_directory(run.path, name) for name in (POOLED, *users)}
    said = {name: evaluator(place) for name, place in ({"start": config.model} | places).items()}

    def gold(user, name):
        values = np.array(list(map(user.gold, evaluator.prompts, said[name].responses)))
        return values, list(mean_interval(values))

    found = {}
    for stage, user in users.items():
        (_, start), (pooled, of_pooled), (own, of_own) = (
            gold(user, name) for name in ("start", POOLED, stage)
        )
        found[stage] = {"tastes": user.tastes, "start": start, "pooled": of_pooled, "own": of_own}
        found[stage]["own_less_pooled"] = list(mean_interval(own - pooled))  # prompt by prompt
        found[stage]["kl"] = {name: float(said[name].kl.mean()) for name in (POOLED, stage)}
        found[stage]["answer"] = [
            evaluator.prompts[0], said[POOLED].responses[0], said[stage].responses[0]
        ]  # fmt: skip
    return found


def first_ratios(metrics):
    """Stage -> the largest log ratio of a first update, over a run's metrics."""
    largest = {}
    for line in metrics.read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        if "first_max_log_ratio" in told:
            name = told["stage"]
            largest[name] = max(largest.get(name, 0.0), told["first_max_log_ratio"])
    return largest


def report(found, largest_ratio):
    """The table."""
    rows = [
        [
            stage.replace("_", " "),
            *(shown(of[name]) for name in ("start", "pooled", "own", "own_less_pooled")),
            "yes" if of["own"][1] > of["pooled"][2] else "no",
            " / ".join(f"{of['kl'][name]:.1f}" for name in (POOLED, stage)),
        ]
        for stage, of in found.items()
    ]
    header = ["user", "fine-tuned", "pooled policy", "own policy", "own less pooled"]
    header += ["intervals apart", "KL, nats, pooled / own"]
    return f"{table(header, rows)}\n\nfirst_max_log_ratio: {largest_ratio:.1e} at most.\n"


def shown(interval):
    mean, low, high = interval
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    launch(PersonalPoliciesConfig, main, __doc__)
