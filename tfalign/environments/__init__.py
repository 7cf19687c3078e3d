"""Text generation as a Markov decision process: ``mdp`` is the pure core, the rest are its faces.

A face is imported when it is first asked for, so that none needs what another is built on.
"""

from __future__ import annotations

from tfalign.lazy import lazily

_HOMES = {
    "AlignmentAgent": "tf_agents_alignment_agent",
    "GPTPolicy": "tf_agents_gpt_policy",
    "HostReward": "gymnasium_wrappers",
    "KLPenalty": "penalties",
    "LearnedUser": "users",
    "ScriptedUser": "users",
    "TextGenerationEnv": "gymnasium_env",
    "TextGenerationMDP": "mdp",
    "TextGenerationPyEnvironment": "tf_agents_py_environment",
    "TextGenerationTFEnvironment": "tf_agents_tf_environment",
    "TextGenerationVectorEnv": "gymnasium_vector_env",
    "VectorHostReward": "gymnasium_wrappers",
}


__getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
