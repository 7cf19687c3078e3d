"""stable-baselines3's PPO learns on text generation through its Gymnasium id.

    python -m venv /tmp/sb3 && /tmp/sb3/bin/pip install -r experiments/peers/requirements-sb3.txt
    KERAS_BACKEND=jax PYTHONPATH=. /tmp/sb3/bin/python experiments/peers/sb3_ppo.py --seeds 0 1 2

Nothing of the agent is tfalign's: it sees the id, the spaces, the observations and the rewards. The
process is the one that the id makes without arguments (``environments.tasks.repeat_prompt``), whose
optimum ``best_returns`` finds by trying all V**R responses to every prompt. PPO's settings are SB3's
defaults but for what ``SETTINGS`` says: short episodes need fewer steps between updates and no
discount. Printed, a line of JSON a seed: the mean return over all prompts of the learned policy, sampled
(``--episodes``) and with its most likely actions, and its share of the optimum.

Expected: at least 90 % of the optimum for every seed; 94.3, 99.9 and 99.9 % for seeds 0, 1 and 2, in
80 to 220 seconds each on a busy two-core machine. Where the limit truncates instead
(``limit_terminates=False``), the same settings stay at 77 %: SB3 then adds its value of the full
text, a state from which nothing is ever learned, to a return that has its score already.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import gymnasium
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

import tfalign  # noqa: F401  (registers the id)
from tfalign.environments.tasks import best_returns

ID = "tfalign/TextGeneration-v0"
NUM_ENVS = 16
SETTINGS = {
    "n_steps": 64,
    "batch_size": 256,
    "learning_rate": 3e-3,
    "gamma": 1.0,
    "ent_coef": 0.01,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=30_000, help="of the environments, together")
    parser.add_argument("--episodes", type=int, default=200, help="of the evaluation")
    args = parser.parse_args()
    optimum = float(best_returns(gymnasium.make(ID).unwrapped.mdp).mean())
    shares = []
    for seed in args.seeds:
        start = time.perf_counter()
        agent = PPO(
            "MultiInputPolicy", make_vec_env(ID, NUM_ENVS, seed=seed), seed=seed, **SETTINGS
        )
        before = mean_return(agent, args.episodes, deterministic=False)
        agent.learn(args.steps)
        seconds = time.perf_counter() - start
        sampled = mean_return(agent, args.episodes, deterministic=False)
        report = {
            "seed": seed,
            "optimum": optimum,
            "return_before": round(before, 3),
            "return_sampled": round(sampled, 3),
            "return_most_likely": round(mean_return(agent, 50, deterministic=True), 3),
            "share_of_optimum": round(sampled / optimum, 3),
            "steps": args.steps,
            "seconds": round(seconds, 1),
        }
        print(json.dumps(report), flush=True)
        shares.append(sampled / optimum)
    if min(shares) < 0.9:
        sys.exit(f"less than 90 % of the optimum: {min(shares):.1%}")


def mean_return(agent, episodes, deterministic):
    """Mean undiscounted return over episodes, every prompt as often as any other."""
    env = gymnasium.make(ID)
    prompts = len(env.unwrapped.mdp.prompts.token_ids)
    returns = []
    for episode in range(episodes):
        observation, _ = env.reset(options={"prompt_index": episode % prompts})
        earned, over = 0.0, False
        while not over:
            action, _ = agent.predict(observation, deterministic=deterministic)
            observation, reward, terminated, truncated, _ = env.step(int(action))
            earned, over = earned + reward, terminated or truncated
        returns.append(earned)
    return float(np.mean(returns))


if __name__ == "__main__":
    main()
