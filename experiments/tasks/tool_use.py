"""What the experiments with a tool share: a small model is fine-tuned on conversations, then aligned with the tool at hand,
and asked held-out questions before and after, with the tool and without."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from tfalign.data import BatchStream, PromptRecord, encode_prompts
from tfalign.decoding import Conversation, Generator, Greedy
from tfalign.evaluation.statistics import wilson_interval
from tfalign.files import write_json_atomically
from tfalign.models import CausalLM
from tfalign.options import changed, option, option_record, record, to_dict
from tfalign.pretrained import Pretrained, load
from tfalign.rewards import TextReward
from tfalign.text import Message, Tokenizer, train_byte_bpe
from tfalign.tools import Toolbox, ToolUser
from tfalign.trainers import FineTuner, OnPolicyTrainer
from tfalign.trainers.base import open_run
from tfalign.trainers.on_policy_options import OnPolicyOptions
from tfalign.trainers.options import FineTuneOptions
from tfalign.trainers.pipeline import SecondsOfRun
from tfalign.trainers.saving import model_directory
from tfalign.training.responses import join

_PROMPT, _RESPONSE = 64, 80  # maximum lengths, tokens
_TOKENIZER_TALKS = 2000  # conversations that the tokenizer is made of
_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_SPECIAL = {"pad": "<|pad|>", "eos": "<|end|>"} | {
    role: f"<|{role}|>" for role in ("user", "assistant", "tool")
}

SFT = changed(
    FineTuneOptions(),
    conversations=True,
    length=_PROMPT + _RESPONSE,
    batch_size=64,
    steps=1500,
    learning_rate=2e-3,
    warmup_steps=100,
)
GRPO = changed(
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
)


@option_record
class ToolUseConfig:
    run_dir: str = option("runs/tool_use", "Run directory.")
    vocab_size: int = option(640, "Vocabulary size of the tokenizer.", at_least=300)
    width: int = option(128, "Hidden size.", at_least=1)
    num_layers: int = option(3, "Number of blocks.", at_least=1)
    held_out: int = option(500, "Held-out questions that are asked.", at_least=1)
    sft: FineTuneOptions = option(SFT, "Fine-tuning on the conversations")
    grpo: OnPolicyOptions = record(GRPO, "GRPO")


class ToolTask(NamedTuple):
    """A tool, and what it is good for.

    Attributes:
        tool: see ``tools.Toolbox``.
        talks: list of {"messages": [...]}, demonstrations.
        prompts: list of {"prompt": [message], "answer": str} that the policy is aligned on.
        held_out: likewise, what it is asked before and after.
    """

    tool: Callable
    talks: list[dict[str, Any]]
    prompts: list[dict[str, Any]]
    held_out: list[dict[str, Any]]


def right(prompt, response, record):
    """1 where the last turn is the record's answer."""
    return float(response.strip() == record["answer"])


def question(asked, answer):
    """A question as a prompt of one message, with its answer."""
    return {"prompt": [{"role": "user", "content": asked}], "answer": answer}


def teach(task, config, name):
    """Trains, and writes and prints the report: stage -> fractions right with their 95% intervals, and the calls.

    Args:
        task: ToolTask.
        config: ToolUseConfig.
        name: str, of the experiment.
    """
    run = open_run(config.run_dir, {name: to_dict(config)}, name)
    watch = SecondsOfRun(run)
    settings = {"run_dir": run, "seed": config.grpo.run.seed}
    if not model_directory(run.path, "sft").exists():
        keras.utils.set_random_seed(config.grpo.run.seed)
        tuner = FineTuner(new_model(task.talks, config), task.talks, options=config.sft, **settings)
        watch.measure("sft", tuner.train)
    if not model_directory(run.path, "grpo").exists():
        policy = model_directory(run.path, "sft")
        how = {"tools": [task.tool], "options": config.grpo} | settings
        trainer = OnPolicyTrainer(policy, right, task.prompts, "grpo", **how)
        watch.measure("grpo", trainer.train)
    report = {stage: measured(task, config, run, stage) for stage in ("sft", "grpo")}
    report["seconds"] = watch.seconds
    write_json_atomically(run.file("report.json"), report)
    print(json.dumps(report, indent=2))


def new_model(talks, config):
    """A model with random weights, whose tokenizer has a token for each digit."""
    texts = [
        "".join(" " if character.isdigit() else character for character in message["content"])
        for talk in talks[:_TOKENIZER_TALKS]
        for message in talk["messages"]
    ]
    plain = train_byte_bpe(texts, config.vocab_size, _SPECIAL)
    roles = {role: plain.special_tokens[role] for role in ("pad", "eos")}
    tokenizer = Tokenizer(plain.core, roles, _TEMPLATE)
    sizes = {"width": config.width, "num_layers": config.num_layers}
    model = CausalLM.from_preset(
        "mini_llama", vocab_size=tokenizer.vocab_size, max_positions=256, **sizes
    )
    return Pretrained(model, tokenizer)


def measured(task, config, run, stage):
    """Of held-out questions, greedily: the fraction right without the tool and with it, and the calls."""
    pretrained = load(model_directory(run.path, stage))
    tokenizer, asked = pretrained.tokenizer, task.held_out[: config.held_out]
    records = [
        PromptRecord((Message("user", one["prompt"][0]["content"]),), row={"answer": one["answer"]})
        for one in asked
    ]
    lengths = config.grpo.responses
    encoded = encode_prompts(records, tokenizer)
    prompts = next(BatchStream(encoded, len(records), [lengths.max_prompt_tokens]))
    reward = TextReward(right, tokenizer.decode, records)
    how = Greedy(), tokenizer.stop_ids, tokenizer.pad_id
    with Toolbox([task.tool]) as toolbox:
        user = ToolUser(toolbox, tokenizer, is_chat=True, max_turns=config.grpo.turns.max_turns)
        loops = {
            "without": Generator(pretrained.model, lengths.max_new_tokens, *how),
            "with": Conversation(pretrained.model, lengths.max_new_tokens, user, *how),
        }
        found = {}
        for name, loop in loops.items():
            said = loop(prompts.token_ids, prompts.mask, records=prompts.rows)
            scores = reward(*join(prompts, said), said.mask, prompts.rows)
            interval = wilson_interval(int(scores.sum()), len(scores))
            found[f"{name}_tool"] = {"right": interval.value, "ci95": [interval.low, interval.high]}
        return found | user.statistics()
