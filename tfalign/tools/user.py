"""Who answers a policy that calls tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfalign.decoding.text_user import Said, TextUser
from tfalign.text import encode_reply
from tfalign.tools.formats import BadCall, Call, CallFormat, format_of
from tfalign.tools.toolbox import Result, Toolbox


class ToolUser(TextUser):
    """Runs the calls of a turn and says their results; a turn without a call is the answer, and ends the row.

    Results stand in the conversation as the policy's chat template writes them, or plainly (``CallFormat.results``).

    Args:
        toolbox: Toolbox.
        tokenizer: of the policy.
        is_chat: bool, whether prompts are conversations in the tokenizer's chat template.
        call_format: CallFormat; the chat template's where None.
        stop_tokens, max_turns: see ``TextUser``.

    Raises:
        ValueError: if the chat template cannot show results.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        tokenizer: Any,
        is_chat: bool = False,
        call_format: CallFormat | None = None,
        stop_tokens: Sequence[int] | None = None,
        max_turns: int | None = None,
    ) -> None:
        self.toolbox = toolbox
        self.call_format = call_format or format_of(getattr(tokenizer, "chat_template", None))
        self._begun = self._calls = self._bad = 0
        encode = self._in_template if is_chat else self._plainly
        super().__init__(self._run, tokenizer, stop_tokens, max_turns, encode)
        encode([[(Call("tool", {}), Result("a result", True))]])

    def statistics(self) -> dict[str, float]:
        """Since it was asked last: "tool_calls" (calls of a conversation, mean over those with a whole turn), and
        "bad_calls" (their fraction that no tool answered), where there were any."""
        begun, calls, bad = self._begun, self._calls, self._bad
        self._begun = self._calls = self._bad = 0
        return {"tool_calls": calls / max(begun, 1)} | ({"bad_calls": bad / calls} if calls else {})

    def _run(self, said: list[Said]) -> list[list[tuple[Call | BadCall, Result]]]:
        """Of every row, its last turn's calls and their results."""
        answers = []
        for one in said:
            calls = self.call_format.read(one.turns[-1])
            results = [(call, self.toolbox(call)) for call in calls]
            self._begun += len(one.turns) == 1
            self._calls += len(results)
            self._bad += sum(not result.is_good for _, result in results)
            answers.append(results)
        return answers

    def _plainly(self, answers):
        texts = [self.call_format.results([result.text for _, result in row]) for row in answers]
        return self.tokenizer.encode_following(texts)

    def _in_template(self, answers):
        return [
            encode_reply(
                self.tokenizer,
                [result_message(*of) for of in row],
                tools=self.toolbox.schemas,
            )
            for row in answers
        ]


def result_message(call: Call | BadCall, result: Result) -> dict[str, str]:
    """A call's result as a message of a conversation."""
    name = getattr(call, "name", "unknown")
    # some templates ask for an id, of nine characters
    return {"role": "tool", "name": name, "content": result.text, "tool_call_id": "call00000"}
