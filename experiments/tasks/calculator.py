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
import operator

import numpy as np

from experiments.launch import launch
from experiments.tasks.tool_use import ToolTask, ToolUseConfig, question, teach
from tfalign.data.word_problems import word_problems
from tfalign.options import option, option_record
from tfalign.text import Message
from tfalign.tools import Call, format_of


@option_record
class CalculatorConfig(ToolUseConfig):
    run_dir: str = option("runs/calculator", "Run directory.")
    problems: int = option(
        40_000, "Problems that are made, of which a tenth is held out.", at_least=100
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


def main(config):
    task = ToolTask(
        calculator,
        conversations(word_problems("train", config.problems)),
        _prompts("train", config),
        _prompts("test", config),
    )
    teach(task, config, "calculator")


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
    """Problems as prompts, with their answers."""
    problems = word_problems(split, config.problems)
    return [question(problem.prompt, problem.answer) for problem in problems]


if __name__ == "__main__":
    launch(CalculatorConfig, main, __doc__)
