"""Who answers the policy's turns: the tools of a trainer, or the reward's environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tfalign.data.encoding import are_conversations
from tfalign.rewards.callables import find_function
from tfalign.tools import FORMATS, Toolbox, ToolUser
from tfalign.trainers.on_policy_options import TurnOptions
from tfalign.trainers.rewards import Context


def found_tools(tools: Sequence[str | Callable]) -> list[Callable]:
    """Tools as functions, also those that are named "FILE.py:NAME" or "MODULE:NAME".

    Raises:
        ValueError: if a name names no function.
    """
    return [find_function(tool, "tool") if isinstance(tool, str) else tool for tool in tools]


def toolbox_of(tools: Sequence[str | Callable], options: TurnOptions) -> Toolbox | None:
    """The Toolbox of a trainer's tools; None where there are none."""
    if not tools:
        return None
    return Toolbox(found_tools(tools), options.tool_timeout, options.tool_characters)


def resolve_user(
    toolbox: Toolbox | None,
    reward: Callable,
    context: Context,
    options: TurnOptions,
) -> Callable | None:
    """Who speaks after the policy's turns, see ``RolloutConfig``; None for nobody.

    Args:
        toolbox: Toolbox, or None.
        reward: of rollouts; an environment brings a user.
        context: of the reward.
        options: TurnOptions.

    Raises:
        ValueError: if there are tools and an environment, or turns are limited and nobody answers.
    """
    user = getattr(reward, "user", None)
    if toolbox is None:
        if user is None and options.max_turns is not None:
            raise ValueError(
                "max_turns is of conversations, with tools or an environment. "
                f"Received: max_turns={options.max_turns}"
            )
        if user is not None:
            user.max_turns = options.max_turns
        return user
    if user is not None:
        raise ValueError("An environment answers by itself, without tools. Received: both")
    how = are_conversations(context.records), options.call_format and FORMATS[options.call_format]
    return ToolUser(toolbox, context.tokenizer, *how, context.stop_tokens, options.max_turns)
