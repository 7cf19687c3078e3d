"""The records that travel between the stages: named tuples of arrays, static in shape.

Shape letters: B rows, P prompt columns, R response columns, T = P + R (or a row of text), V
vocabulary. Prompts are left-padded, so response token r always sits at column P + r. A mask is
always carried: nobody infers it from ``ids != pad``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tfalign.options import option, option_record

Array = Any  # numpy.ndarray, or a tensor of the Keras backend
Shape = tuple[int | None, ...]  # of a tensor; None where a size is not known yet
Metrics = dict[str, tuple[Array, Array]]  # of an objective: name to (sum, weight), float32[] each


class Prompts(NamedTuple):
    """What a policy continues."""

    token_ids: Array  # int32[B, P], left-padded
    mask: Array  # bool[B, P], true at real tokens

    @property
    def rows(self) -> Array | None:
        """int32[B], which record of the data each prompt is; None where there are no records."""
        return None

    @property
    def condition(self) -> Array | None:
        """Array[B, ...], what the model reads before each prompt (a user's number, an image), see
        ``models.Conditioned``; None where there is nothing."""
        return None

    def each(self, function: Callable[[Array], Array]) -> Prompts:
        """The prompts with a function applied to every array."""
        return Prompts(*map(function, self))


class NumberedPrompts(Prompts):
    """Prompts of a data set, which know their records and bring conditions; otherwise they are ``Prompts``.

    Args:
        token_ids: int32[B, P], left-padded.
        mask: bool[B, P].
        rows: int32[B], which record each prompt is; None where there are no records.
        condition: array of B rows, see ``Prompts.condition``; None for nothing.

    >>> import numpy as np
    >>> prompts = NumberedPrompts(np.array([[4], [5]]), np.ones((2, 1), "bool"), condition=np.array([7, 8]))
    >>> prompts.each(lambda x: x[1:]).condition
    array([8])
    """

    def __new__(
        cls,
        token_ids: Array,
        mask: Array,
        rows: Array | None = None,
        condition: Array | None = None,
    ):
        prompts = super().__new__(cls, token_ids, mask)
        prompts._rows = rows
        prompts._condition = condition
        return prompts

    @property
    def rows(self) -> Array | None:
        return self._rows

    @property
    def condition(self) -> Array | None:
        return self._condition

    def each(self, function: Callable[[Array], Array]) -> Prompts:
        beside = (x if x is None else function(x) for x in (self._rows, self._condition))
        return NumberedPrompts(*map(function, self), *beside)


class LanguageModelBatch(NamedTuple):
    """Rows of text for next-token prediction, packed or padded."""

    token_ids: Array  # int32[B, T]
    padding_mask: Array  # bool[B, T], true at real tokens
    loss_mask: Array  # bool[B, T], true where the token is a target, predicted from those before it
    segment_ids: Array  # int32[B, T], 1, 2, ... per packed document, 0 at padding


class DistilledTexts(NamedTuple):
    """Rows of text with what a teacher would say at each place."""

    token_ids: Array  # int32[B, T]
    padding_mask: Array  # bool[B, T], true at real tokens
    loss_mask: Array  # bool[B, T], true where the token is a target
    segment_ids: Array  # int32[B, T], 1, 2, ... per packed text, 0 at padding
    teacher_logits: Array  # float32[B, T, V], of the token that follows


class PreferencePairs(NamedTuple):
    """Two answers to one prompt, the first of them preferred."""

    chosen_ids: Array  # int32[B, T], prompt and chosen response, right-padded
    chosen_mask: Array  # bool[B, T]
    rejected_ids: Array  # int32[B, T]
    rejected_mask: Array  # bool[B, T]
    margin: Array  # float32[B], how much better the chosen one should score; 0 where unknown


class RankedResponses(NamedTuple):
    """K responses to each prompt, the best first, laid out as rollouts are.

    A prompt with fewer responses has rows without a response token; they count nowhere.
    """

    token_ids: Array  # int32[B, K, T], left-padded prompt, then response
    padding_mask: Array  # bool[B, K, T]
    response_mask: Array  # bool[B, K, R]
    ref_log_probs: Array  # float32[B, K], the reference's, summed over a response; 0 without one
    condition: Array | None = None  # [B, K, ...], as the prompts'; None for nothing
    packed: PackedRows | None = None  # of the B * K responses; None to read them as they are padded


class LabelledResponses(NamedTuple):
    """A response to each prompt that was liked or not; beside it a response to another prompt."""

    token_ids: Array  # int32[B, 2, T], left-padded prompt, then its own and another's response
    padding_mask: Array  # bool[B, 2, T]
    response_mask: Array  # bool[B, 2, R]
    ref_log_probs: Array  # float32[B, 2], the reference's, summed over a response
    desirable: Array  # bool[B]
    packed: PackedRows | None = None  # of the 2 B responses; None to read them as they are padded


class LabelledSteps(NamedTuple):
    """Answers of several steps, each of which is right or wrong."""

    token_ids: Array  # int32[B, T], prompt and answer, right-padded
    padding_mask: Array  # bool[B, T]
    step_ends: Array  # bool[B, T], true at the last token of each step
    labels: Array  # bool[B, T], whether the step that ends there is right


class ClassifiedTexts(NamedTuple):
    """Texts and their classes."""

    token_ids: Array  # int32[B, T], right-padded
    padding_mask: Array  # bool[B, T]
    labels: Array  # int32[B]


class TaggedTexts(NamedTuple):
    """Sentences and a class for each of their words, at its first token."""

    token_ids: Array  # int32[B, T], right-padded
    padding_mask: Array  # bool[B, T]
    labels: Array  # int32[B, T]
    is_word: Array  # bool[B, T], true at the first token of a word


class SimilarTexts(NamedTuple):
    """Pairs of sentences and how much they mean the same."""

    first_ids: Array  # int32[B, T], right-padded
    first_mask: Array  # bool[B, T]
    second_ids: Array  # int32[B, T]
    second_mask: Array  # bool[B, T]
    similarity: Array  # float32[B], in [0, 1]


class ContrastiveTexts(NamedTuple):
    """Queries and documents, the own document of each query at its row, hard negatives behind all of those."""

    query_ids: Array  # int32[B, T], right-padded
    query_mask: Array  # bool[B, T]
    document_ids: Array  # int32[D, T], D >= B
    document_mask: Array  # bool[D, T]


class MaskedTexts(NamedTuple):
    """Texts, or pairs of them, some of whose tokens are hidden: BERT's pretraining."""

    token_ids: Array  # int32[B, T], with the hidden tokens replaced, right-padded
    padding_mask: Array  # bool[B, T], true at real tokens
    token_type_ids: Array  # int32[B, T], 1 in the second text of a pair
    hidden_columns: Array  # int32[B, M], where tokens are hidden
    hidden_ids: Array  # int32[B, M], which they are
    is_hidden: Array  # bool[B, M], false where a row has fewer than M
    is_random: (
        Array  # int32[B], 1 where the second text is from another document, 0 where it follows
    )


class SequencePairs(NamedTuple):
    """Sources, and targets to be written from them."""

    source_ids: Array  # int32[B, T], right-padded
    source_mask: Array  # bool[B, T], true at real tokens
    target_ids: Array  # int32[B, T], begins with the start token, ends with the stop token
    target_mask: Array  # bool[B, T]


class Generation(NamedTuple):
    """What the decode loop returns."""

    tokens: Array  # int32[B, R], padding id after the end
    log_probs: Array  # float32[B, R], nats, under the distribution sampled from; 0 after the end
    mask: Array  # bool[B, R], true up to and including the stop token
    values: Array | None  # float32[B, R], of the state before each token; None without a critic
    constraint_states: Array | None = None  # int32[B, R], before each token; None for no constraint
    written: Array | None = None  # bool[B, R], the mask and a user's words; None without a user

    @property
    def padding_mask(self) -> Array:
        """bool[B, R], true at real tokens, whoever wrote them."""
        return self.mask if self.written is None else self.written


class PackedRows(NamedTuple):
    """The states that response tokens are drawn from, several responses with their prompts in a row.

    Of B responses, cut into equal parts each of which is packed by itself, in N rows of L columns with room
    for M response tokens. ``data.response_packing`` makes them.
    """

    token_ids: Array  # int32[parts * N, L]
    segment_ids: Array  # int32[parts * N, L], 1, 2, ... per response and its prompt, 0 at padding
    places: Array  # int32[parts * M], where in its part's N * L columns each token's state stands
    cells: Array  # int32[parts * M], which of its part's B * R columns each token is; beyond them for none


class Rollout(NamedTuple):
    """Responses of the policy with all that an on-policy update needs; per-token fields are
    float32[B, R] and 0 where ``response_mask`` is false."""

    token_ids: Array  # int32[B, T], left-padded prompt, then response
    padding_mask: Array  # bool[B, T]
    response_mask: Array  # bool[B, R]
    log_probs: Array  # of the policy that sampled, nats
    ref_log_probs: Array  # of the frozen reference, nats
    values: Array  # the critic's, of the state before each token
    rewards: Array  # score at the last real token, minus the KL penalty
    advantages: Array
    returns: Array  # targets of the critic
    scores: Array  # float32[B], the reward model's
    constraint_states: Array | None = None  # int32[B, R], before each token; None for no constraint
    condition: Array | None = None  # [B, ...], as the prompts'; None for nothing
    packed: PackedRows | None = None  # of these rows; None to update on them as they are padded


@option_record
class LoRA:
    """Low-rank adapters (LoRA, Hu et al. 2021; DoRA, Liu et al. 2024)."""

    rank: int = option(8, "Rank r of the two matrices.", at_least=1)
    alpha: float = option(16.0, "Scale: their product is multiplied by alpha / rank.", above=0)
    targets: tuple[str, ...] = option(
        (), 'Patterns of Dense layers\' paths, such as "attention/(query|value)$"; none: all.'
    )
    dropout: float = option(0.0, "Dropout rate on adapters' inputs.", at_least=0, below=1)
    dora: bool = option(False, "Also train the norm of every weight column (DoRA).")
    int8: bool = option(False, "Hold the frozen kernels in 8 bits.")
