"""Continues prompts with a trained model, token by token as they are sampled.

    python -m experiments.generate --model=runs/demo/models/ppo \\
        --prompt="Customer: Where is my order 147?\\nAgent:"
    python -m experiments.generate --model=runs/demo/models/ppo        # interactive
    python -m experiments.generate --prompt="the game was" --max_new_tokens=20 \\
        --model=runs/language_models/wikitext-2/LSTM/models/LSTM

Without ``--prompt``, every typed line is a prompt (``\\n`` in it is a line break), until an empty line or the
end of input.
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("generate", __doc__)
