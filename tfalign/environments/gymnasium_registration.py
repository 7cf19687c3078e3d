"""The id under which Gymnasium finds the environments; whose modules it imports when it makes one."""

from gymnasium.envs.registration import register

register(
    id="tfalign/TextGeneration-v0",
    entry_point="tfalign.environments.gymnasium_env:TextGenerationEnv",
    vector_entry_point="tfalign.environments.gymnasium_vector_env:TextGenerationVectorEnv",
)
