"""Shows text generation as a Gymnasium environment; to be read from top to bottom.

    python -m experiments.tours.gymnasium_tour

A language model writes tokens as an agent takes actions in a Gymnasium environment. Here a tiny model with
random weights acts in one, step by step, and then the compiled decode loop generates the same response. No
data, no training. Background: docs/mdp.md.

Result: prints an episode, the same response from the decode loop, a conversation of two turns and a batch of
eight episodes; half a minute, most of it compilation.
"""

from __future__ import annotations

import dataclasses

import gymnasium
import keras
import numpy as np

from experiments.launch import launch
from tfalign.decoding import Sampler, generate
from tfalign.environments import ScriptedUser, TextGenerationMDP
from tfalign.functional.random import uniform
from tfalign.models import CausalLM, GPTConfig
from tfalign.options import option, option_record
from tfalign.rewards import TextReward
from tfalign.types import Prompts

ALPHABET = "_.abcdeghilnorstu"  # an id is an index into it: 0 is padding, 1 ends a turn


@option_record
class TourConfig:
    seed: int = option(3, "Random seed of weights and sampling.", at_least=0, below=2**32)
    max_new_tokens: int = option(12, "Maximum response length, tokens.", at_least=1)


def main(config):
    keras.utils.set_random_seed(config.seed)
    policy = CausalLM(GPTConfig(len(ALPHABET), 16, 1, 2, max_positions=32, initializer_range=0.3))
    mdp = TextGenerationMDP(
        prompts=prompts("hello", "a star"),
        score=TextReward(vowels, decode),  # or a LearnedReward
        max_new_tokens=config.max_new_tokens,
        vocab_size=len(ALPHABET),
        stop_tokens=(1,),
    )

    stepped = run_episode(mdp, policy, config.seed)
    run_decode_loop(mdp, policy, stepped, config)
    run_two_turns(mdp)
    run_eight_at_once(mdp, config.seed)


def run_episode(mdp, policy, seed):
    """Runs one episode step by step, and returns the token ids of its response."""
    print("--- one episode, one token per step")
    env = gymnasium.make("tfalign/TextGeneration-v0", mdp=mdp, render_mode="ansi", decode=decode)
    print("actions:", env.action_space, "\nobservations:", env.observation_space)
    observation, info = env.reset(options={"prompt": encode("hello")})
    over, step = False, 0
    while not over:
        action = choose(policy, observation, seed, step)
        observation, reward, terminated, truncated, info = env.step(action)
        over, step = terminated or truncated, step + 1
    print(env.render())
    return observation["token_ids"][-mdp.max_new_tokens :][: info["response_length"]].tolist()


def run_decode_loop(mdp, policy, stepped, config):
    """Generates a response to the same prompt with the same random numbers, and compares it."""
    print("--- the compiled loop generates the same response at once")
    out = generate(
        policy,
        [encode("hello")],
        max_new_tokens=config.max_new_tokens,
        seed=config.seed,
        stop_tokens=mdp.stop_tokens,
    )
    fused = np.asarray(out.tokens)[0][np.asarray(out.mask)[0]].tolist()
    print("response:", decode(fused))
    if stepped != fused:
        raise ValueError(f"The episode and the loop differ. Received: {stepped} and {fused}")


def run_two_turns(mdp):
    """Shows a conversation, in which the mask separates the policy's tokens from the user's."""
    print("--- two turns: a user responds when the policy stops; ^ marks the policy's own tokens")
    talk = dataclasses.replace(mdp, user=ScriptedUser([encode(" or ")]))
    env = gymnasium.make("tfalign/TextGeneration-v0", mdp=talk, render_mode="ansi", decode=decode)
    env.reset(options={"prompt": encode("a")})
    for action in encode("cat.dog."):
        *_, info = env.step(action)
    print(env.render())
    print("policy:  ", "".join(" ^"[own] for own in info["response_mask"]))


def run_eight_at_once(mdp, seed):
    """Runs eight environments with random actions, each reset when its episode ends."""
    print("--- eight episodes in one batch, random actions, automatic resets")
    vector = gymnasium.make_vec("tfalign/TextGeneration-v0", num_envs=8, mdp=mdp)
    vector.action_space.seed(seed)
    vector.reset(seed=seed)
    earned, episodes = 0.0, 0
    for _ in range(40):
        _, rewards, terminations, truncations, _ = vector.step(vector.action_space.sample())
        earned, episodes = earned + rewards.sum(), episodes + (terminations | truncations).sum()
    print(f"{episodes} episodes, mean return {earned / episodes:.2f}")


def choose(policy, observation, seed, step):
    """Samples the next token with the random number that the decode loop uses in this step."""
    mask = observation["padding_mask"][None].astype("bool")
    logits = policy(observation["token_ids"][None], padding_mask=mask)
    last = int(np.flatnonzero(mask[0])[-1])
    token, _ = Sampler().choose(
        logits[:, last], uniform(seed, np.zeros(1, "int32"), np.int32(step))
    )
    return int(token[0])


def vowels(prompt, response):
    """A rule as the reward: the number of vowels in the response."""
    del prompt
    return sum(letter in "aeiou" for letter in response)


def encode(text):
    """Token ids of a text, one per letter."""
    return [ALPHABET.index(letter) for letter in text.replace(" ", "_")]


def decode(ids):
    """The text of token ids."""
    return "".join(ALPHABET[i] for i in ids)


def prompts(*texts):
    """Encodes texts as Prompts, padded on the left and masked."""
    columns = max(map(len, texts))
    ids = [[0] * (columns - len(text)) + encode(text) for text in texts]
    mask = [[False] * (columns - len(text)) + [True] * len(text) for text in texts]
    return Prompts(np.array(ids, "int32"), np.array(mask))


if __name__ == "__main__":
    launch(TourConfig, main, __doc__)
