"""Best of up to 64 on the demo's fine-tuned policy, by its reward model.

    python -m experiments.pipeline --config=demo
    python -m experiments.studies.best_of_n --config=best_of_n

Stiennon et al. 2020 (figure 7) and Gao et al. 2022 go from 1 to some thousands; Touvron et al. 2023
(section 3.2.3) to 100. 64 prompts with 256 samples each: 64 to choose from, 64 to beat, 192 in all to
rank the chosen ones among. The chooser prefers its choice in n / (n + 1) of the comparisons; the gold
reward goes from 0.18 to 1.30 at n = 16 and no further. A minute or two on two CPU cores.
"""

CONFIG = {
    "run_dir": "runs/best_of_n",
    "model": "runs/demo/models/sft",
    "reward": "runs/demo/models/reward_model",
    "max_prompt_tokens": 42,
    "max_new_tokens": 48,
}
