"""Teaches a small model to use a calculator: GRPO with a tool, in turns.

    python -m experiments.tasks.calculator --run_dir=runs/calculator

A small Llama-style model is first fine-tuned on conversations about word problems of two steps ("Ann buys 24 boxes
of 13 pens and gives 57 pens away. How many pens has Ann now?"). In half of them the answer is said at once, in a third
after a call of the calculator, and in the rest the call is a bad one: cut off, or of a tool that is not there. The
model learns to speak like them: it cannot calculate in its head, calls the tool now and then, and one call in three is
bad. Then GRPO (Shao et al. 2024) samples 8 conversations for each problem, in which calls are run and their results
read, and rewards those whose last turn is the right number. Writes to RUN_DIR/report.json, and prints, of held-out
problems, greedily: the fraction answered rightly without the tool and with it, calls per answer and the fraction of
bad calls, before and after.

Result: docs/results/calculator.md.
"""

from __future__ import annotations

import ast
import json
import operator

import keras
import numpy as np

from experiments.launch import launch
from tfalign.data import BatchStream, PromptRecord, encode_prompts
from tfalign.data.word_problems import word_problems
from tfalign.decoding import Conversation, Generator, Greedy
from tfalign.evaluation.statistics import wilson_interval
from tfalign.files import write_json_atomically
from tfalign.models import CausalLM
from tfalign.options import changed, option, option_record, record, to_dict
from tfalign.pretrained import Pretrained, load
from tfalign.rewards import TextReward
from tfalign.text import Message, Tokenizer, train_byte_bpe
from tfalign.tools import Call, Toolbox, ToolUser, format_of
from tfalign.trainers import FineTuner, OnPolicyTrainer
from tfalign.trainers.base import open_run
from tfalign.trainers.on_policy_options import OnPolicyOptions
from tfalign.trainers.options import FineTuneOptions
from tfalign.trainers.pipeline import SecondsOfRun
from tfalign.trainers.saving import model_directory
from tfalign.training.responses import join

_PROMPT, _RESPONSE = 64, 80  # maximum lengths, tokens
_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_SPECIAL = {"pad": "<|pad|>", "eos": "<|end|>"} | {
    role: f"<|{role}|>" for role in ("user", "assistant", "tool")
}


@option_record
class CalculatorConfig:
    run_dir: str = option("runs/calculator", "Run directory.")
    width: int = option(128, "Hidden size.", at_least=1)
    num_layers: int = option(3, "Number of blocks.", at_least=1)
    problems: int = option(
        40_000, "Problems that are made, of which a tenth is held out.", at_least=100
    )
    held_out: int = option(500, "Held-out problems that are asked.", at_least=1)
    sft: FineTuneOptions = option(
        changed(
            FineTuneOptions(),
            conversations=True,
            length=_PROMPT + _RESPONSE,
            batch_size=64,
            steps=1500,
            learning_rate=2e-3,
            warmup_steps=100,
        ),
        "Fine-tuning on the conversations",
    )
    grpo: OnPolicyOptions = record(
        changed(
            OnPolicyOptions(),
            batch_size=256,  # 8 responses to each of 32 prompts
            steps=80,
            learning_rate=5e-4,
            warmup_steps=10,
            kl_coefficient=0.0,
            missing_stop="keep",
            max_prompt_tokens=_PROMPT,
            max_new_tokens=_RESPONSE,
            max_turns=3,
            log_every=10,
            save_every=50,
        ),
        "GRPO",
    )


def calculator(expression: str) -> float:
    """Works out an expression of numbers, + - * / and brackets.

    Args:
        expression: what to work out, such as "2*(3+4)".

    Returns:
        The value.
    """
    value = _value(ast.parse(expression, mode="eval").body)
    return int(value) if value == int(value) else value


_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def _value(node):
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    raise ValueError("an expression has numbers, + - * / and brackets")


def right(prompt, response, record):
    """1 where the last turn is the right number."""
    return float(response.strip() == record["answer"])


def main(config):
    run = open_run(config.run_dir, {"calculator": to_dict(config)}, "calculator")
    watch = SecondsOfRun(run)
    settings = {"run_dir": run, "seed": config.grpo.run.seed}
    if not model_directory(run.path, "sft").exists():
        keras.utils.set_random_seed(config.grpo.run.seed)
        start, talks = _model(config), conversations(word_problems("train", config.problems))
        tuner = FineTuner(start, talks, options=config.sft, **settings)
        watch.measure("sft", tuner.train)
    if not model_directory(run.path, "grpo").exists():
        policy, prompts = model_directory(run.path, "sft"), _prompts("train", config)
        how = {"tools": [calculator], "options": config.grpo} | settings
        trainer = OnPolicyTrainer(policy, right, prompts, "grpo", **how)
        watch.measure("grpo", trainer.train)
    report = {stage: _measured(config, run, stage) for stage in ("sft", "grpo")}
    report["seconds"] = watch.seconds
    write_json_atomically(run.file("report.json"), report)
    print(json.dumps(report, indent=2))


def conversations(problems, seed=1):
    """How others have answered: {"messages": [...]} for each problem; half at once, a third with a call, the
    rest with a bad one."""
    numbers, write = np.random.default_rng(seed), format_of(None).write
    found = []
    for problem in problems:
        asked = [Message("user", problem.prompt)]
        answer = Message("assistant", problem.answer)
        call = write([Call("calculator", {"expression": problem.expression})])
        kind = numbers.choice(["at once", "call", "cut", "other"], p=[0.5, 0.33, 0.085, 0.085])
        turns = {
            "at once": [],
            "call": [(call, problem.answer)],
            "cut": [(call.replace('"}}', '"'), "Error: it is not JSON")],
            "other": [(call.replace("calculator", "search"), "Error: there is no tool 'search'")],
        }[kind]
        for said, heard in turns:
            asked += [Message("assistant", said), Message("tool", heard)]
        found.append({"messages": [message._asdict() for message in [*asked, answer]]})
    return found


def _prompts(split, config):
    """Problems as prompts of one message, with their answers."""
    return [
        {"prompt": [{"role": "user", "content": problem.prompt}], "answer": problem.answer}
        for problem in word_problems(split, config.problems)
    ]


def _model(config):
    """A model with random weights, whose tokenizer has a token for each digit."""
    texts = [
        "".join(" " if character.isdigit() else character for character in message["content"])
        for talk in conversations(word_problems("train", 2000))
        for message in talk["messages"]
    ]
    plain = train_byte_bpe(texts, 640, _SPECIAL)
    roles = {role: plain.special_tokens[role] for role in ("pad", "eos")}
    tokenizer = Tokenizer(plain.core, roles, _TEMPLATE)
    sizes = {"width": config.width, "num_layers": config.num_layers}
    model = CausalLM.from_preset(
        "mini_llama", vocab_size=tokenizer.vocab_size, max_positions=256, **sizes
    )
    return Pretrained(model, tokenizer)


def _measured(config, run, stage):
    """Of held-out problems, greedily: the fraction right without the tool and with it, and the calls."""
    pretrained = load(model_directory(run.path, stage))
    tokenizer, asked = pretrained.tokenizer, _prompts("test", config)[: config.held_out]
    records = [
        PromptRecord((Message("user", one["prompt"][0]["content"]),), row={"answer": one["answer"]})
        for one in asked
    ]
    prompts = next(BatchStream(encode_prompts(records, tokenizer), len(records), [_PROMPT]))
    reward = TextReward(right, tokenizer.decode, records)
    how = Greedy(), tokenizer.stop_ids, tokenizer.pad_id
    with Toolbox([calculator]) as toolbox:
        user = ToolUser(toolbox, tokenizer, is_chat=True, max_turns=config.grpo.turns.max_turns)
        loops = {
            "without": Generator(pretrained.model, _RESPONSE, *how),
            "with": Conversation(pretrained.model, _RESPONSE, user, *how),
        }
        found = {}
        for name, loop in loops.items():
            said = loop(prompts.token_ids, prompts.mask, records=prompts.rows)
            scores = reward(*join(prompts, said), said.mask, prompts.rows)
            interval = wilson_interval(int(scores.sum()), len(scores))
            found[f"{name}_tool"] = {"right": interval.value, "ci95": [interval.low, interval.high]}
        return found | user.statistics()


if __name__ == "__main__":
    launch(CalculatorConfig, main, __doc__)
