"""Evaluation of a policy while it is trained: means over its responses to held-out prompts."""

from __future__ import annotations

import numpy as np

from tfalign.data.examples import PromptExamples
from tfalign.training.rollouts import RolloutWorker
from tfalign.types import Array, Generation, NumberedPrompts


class ResponseMeans:
    """Means over one sampled response to every held-out prompt, of the policy as it is when called.

    Batches have as many rows and columns as those of training, and go through the same programs; the last
    one is filled up with the first prompts, which count once. A prompt is answered from the same random
    numbers in every call, whichever batch it is in.

    Args:
        worker: RolloutWorker, whose policy, reward and reference are used.
        rows: responses of a batch.
        columns: the maximum prompt length, tokens.
        seed: int in [0, 2**32), of sampling.
        first_record: number of the first held-out prompt among the records that the reward knows.
    """

    def __init__(
        self, worker: RolloutWorker, rows: int, columns: int, seed: int, first_record: int = 0
    ) -> None:
        self._worker = worker
        self._rows, self._columns = rows, columns
        self._seed = seed
        self._first_record = first_record

    def __call__(self, examples: PromptExamples, prefix: str = "eval_") -> dict[str, float]:
        """Responds to all prompts.

        Args:
            examples: held-out prompts, at least one.
            prefix: put before every name.

        Returns:
            dict of floats, named as the worker's statistics: "eval_score" (as the score that is trained
            on, but for the cost), "eval_kl" (nats a response), "eval_response_length" (tokens),
            "eval_ended" (fraction that ended with a stop token); with limits on costs "eval_cost_NAME" of each.

        Raises:
            RewardError: if a reward or a cost fails or is not finite.
        """
        count = len(examples)
        batches = np.resize(np.arange(count), (-(-count // self._rows), self._rows))
        measured = [self._measured(examples.batch(rows, self._columns)) for rows in batches]
        return {
            prefix + name: float(np.concatenate([one[name] for one in measured])[:count].mean())
            for name in measured[0]
        }

    def _measured(self, prompts: NumberedPrompts) -> dict[str, Array]:
        """Name -> float64[rows], one for each response."""
        worker, responder = self._worker, self._worker.responder
        rows = prompts.rows + self._first_record
        known = NumberedPrompts(*prompts, rows, prompts.condition)
        sampled = responder.generate(known, self._seed, prompts.rows)
        generation = Generation(*(None if x is None else np.asarray(x) for x in sampled))
        answers = responder.score(known, generation)
        given = answers.token_ids, answers.padding_mask, generation, answers.condition
        compared = worker.compare(*given)
        log_ratios = np.asarray(compared.log_probs) - np.asarray(compared.ref_log_probs)
        scores, ended = worker.shaped(answers.rewards, generation)
        measured = {
            "score": scores,
            "kl": np.where(generation.mask, log_ratios, 0.0).sum(axis=1),
            "response_length": generation.mask.sum(axis=1),
            "ended": ended,
        }
        if answers.costs is not None:
            names = worker.cost_limits.names
            measured |= {f"cost_{name}": of_one for name, of_one in zip(names, answers.costs.T)}
        return {name: np.asarray(values, "float64") for name, values in measured.items()}
