"""A first look: text generation is an environment like any other. Read it from top to bottom.

    python -m experiments.tours.gymnasium_tour

A language model writes tokens; so does an agent in a Gymnasium environment. This page makes a tiny
model act in one, step by step, and then shows that the compiled decode loop is the same walk. It
needs no data and trains nothing.

Expected: it prints an episode, the same episode from the decode loop, a conversation of two turns and
a batch of eight episodes; half a minute, most of it compilation.
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

ALPHABET = "_.abcdeghilnorstu"  # the ids are places in it: 0 is padding, 1 ends a turn


@option_record
class TourConfig:
    seed: int = option(3, "of weights and sampling", at_least=0, below=2**32)
    max_new_tokens: int = option(12, "longest response", at_least=1)


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

    walked = walk(mdp, policy, config.seed)
    loop_takes_the_same_walk(mdp, policy, walked, config)
    two_turns(mdp)
    eight_at_once(mdp, config.seed)


def walk(mdp, policy, seed):
    """One episode, step by step; the response's ids."""
    print("--- one episode, one token a step")
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


def loop_takes_the_same_walk(mdp, policy, walked, config):
    """The decode loop's response to the same prompt, with the same random numbers."""
    print("--- the compiled loop takes the same walk, all at once")
    out = generate(
        policy,
        [encode("hello")],
        max_new_tokens=config.max_new_tokens,
        seed=config.seed,
        stop_tokens=mdp.stop_tokens,
    )
    fused = np.asarray(out.tokens)[0][np.asarray(out.mask)[0]].tolist()
    print("response:", decode(fused))
    if walked != fused:
        raise ValueError(f"The walk and the loop differ. Received: {walked} and {fused}")


def two_turns(mdp):
    """A conversation: what a user says in between is not the policy's."""
    print(
        "--- two turns: a user speaks when the policy stops; only the policy's tokens are its own"
    )
    talk = dataclasses.replace(mdp, user=ScriptedUser([encode(" or ")]))
    env = gymnasium.make("tfalign/TextGeneration-v0", mdp=talk, render_mode="ansi", decode=decode)
    env.reset(options={"prompt": encode("a")})
    for action in encode("cat.dog."):
        *_, info = env.step(action)
    print(env.render())
    print("its own: ", "".join(" ^"[own] for own in info["response_mask"]))


def eight_at_once(mdp, seed):
    """Eight rows at random, each begun again when its episode is over."""
    print("--- eight episodes in one batch, with automatic resets, at random")
    vector = gymnasium.make_vec("tfalign/TextGeneration-v0", num_envs=8, mdp=mdp)
    vector.action_space.seed(seed)
    vector.reset(seed=seed)
    earned, episodes = 0.0, 0
    for _ in range(40):
        _, rewards, terminations, truncations, _ = vector.step(vector.action_space.sample())
        earned, episodes = earned + rewards.sum(), episodes + (terminations | truncations).sum()
    print(f"{episodes} episodes, mean return {earned / episodes:.2f}")


def choose(policy, observation, seed, step):
    """The sampler's next token, drawn with the decode loop's own random number of this step."""
    mask = observation["padding_mask"][None].astype("bool")
    logits = policy(observation["token_ids"][None], padding_mask=mask)
    last = int(np.flatnonzero(mask[0])[-1])
    token, _ = Sampler().choose(
        logits[:, last], uniform(seed, np.zeros(1, "int32"), np.int32(step))
    )
    return int(token[0])


def vowels(prompt, response):
    """A rule for a reward: how many vowels the response has."""
    del prompt
    return sum(letter in "aeiou" for letter in response)


def encode(text):
    return [ALPHABET.index(letter) for letter in text.replace(" ", "_")]


def decode(ids):
    return "".join(ALPHABET[i] for i in ids)


def prompts(*texts):
    """Prompts, padded on the left with what the mask leaves out."""
    columns = max(map(len, texts))
    ids = [[0] * (columns - len(text)) + encode(text) for text in texts]
    mask = [[False] * (columns - len(text)) + [True] * len(text) for text in texts]
    return Prompts(np.array(ids, "int32"), np.array(mask))


if __name__ == "__main__":
    launch(TourConfig, main, __doc__)
