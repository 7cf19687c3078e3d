"""What the TF-Agents faces share: the import itself, and the specs.

TF-Agents is built on Keras 2, which TensorFlow hands it as ``tf.keras`` if asked before the import.
Keras 3, which has its own name, is untouched.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfalign.environments.mdp import TextGenerationMDP

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
try:
    # where ``import tensorflow.keras`` leads, TensorFlow decides once, when it is imported, which may
    # have been before; one of TF-Agents' networks does that, and tf.keras would be Keras 3 from then on
    sys.modules.setdefault("tensorflow.keras", importlib.import_module("tf_keras.api._v2.keras"))
    import tensorflow as tf
    import tensorflow_probability as tfp
    from tf_agents.agents import data_converter, tf_agent
    from tf_agents.environments import py_environment, tf_environment
    from tf_agents.policies import tf_policy
    from tf_agents.specs import array_spec, tensor_spec
    from tf_agents.trajectories import policy_step, time_step
except ImportError as error:
    raise ImportError(
        f"TF-Agents cannot be imported ({error}): pip install 'tfalign[agents]' installs it"
    ) from error

__all__ = [
    "action_spec",
    "array_spec",
    "assertion",
    "check_rows",
    "data_converter",
    "observation_spec",
    "policy_step",
    "py_environment",
    "split_action_mask",
    "tensor_spec",
    "tf_agent",
    "tf_environment",
    "tf_policy",
    "tfp",
    "time_step",
]


def observation_spec(mdp: TextGenerationMDP) -> dict[str, Any]:
    """What a policy sees of one row: a dict of array specs.

    "token_ids" int32[T], the prompt on the left, then what has been written, then padding;
    "padding_mask" int32[T], 1 at real tokens; and, if the process has a mask, "action_mask"
    int32[V], 1 where an action is allowed.
    """
    columns = mdp.prompts.token_ids.shape[1] + mdp.max_new_tokens
    spec = {
        "token_ids": _integers(columns, mdp.vocab_size, "token_ids"),
        "padding_mask": _integers(columns, 2, "padding_mask"),
    }
    if mdp.allowed_tokens is not None:
        spec["action_mask"] = _integers(mdp.vocab_size, 2, "action_mask")
    return spec


def action_spec(mdp: TextGenerationMDP) -> array_spec.BoundedArraySpec:
    """The next token: an int32 scalar in [0, V)."""
    return array_spec.BoundedArraySpec((), "int32", 0, mdp.vocab_size - 1, "token")


def split_action_mask(observation: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """(observation without its mask, mask), the ``observation_and_action_constraint_splitter``."""
    rest = {name: x for name, x in observation.items() if name != "action_mask"}
    return rest, observation["action_mask"]


def check_rows(
    passed: tf.Tensor, what: str, complaint: str, values: tf.Tensor
) -> list[tf.Operation]:
    """An assertion that names the first row that failed it: operations to depend on.

    Args:
        passed: bool[B].
        what: str, what is wrong in a row.
        complaint: str, why.
        values: [B], what was received.

    Returns:
        list of operations, empty where they have been executed already.
    """
    row = tf.argmin(tf.cast(passed, tf.int32))
    message = tf.strings.join(
        [f"The {what} of row ", tf.as_string(row), f" {complaint}. Received: "]
        + [tf.as_string(values[row])]
    )
    return assertion(tf.reduce_all(passed), message)


def assertion(passed: tf.Tensor, message: Any) -> list[tf.Operation]:
    """``tf.debugging.Assert`` as a list of operations, empty where it has been executed already."""
    check = tf.debugging.Assert(passed, [message])
    return [] if check is None else [check]


def _integers(columns, count, name):
    return array_spec.BoundedArraySpec((columns,), "int32", 0, count - 1, name)
