"""Pretrains a GPT on text, with a byte-level BPE tokenizer trained on the same text.

    python -m experiments.pretrain_gpt --run_dir=runs/pretrain --steps=800
    python -m experiments.pretrain_gpt --run_dir=runs/mine --data=mine.jsonl --vocab_size=4096
    python -m experiments.pretrain_gpt --run_dir=runs/gpt3 --ramp=100:8x32,200:16x64 \\
        --attention_window=32

The first command trains on the embedded customer-service dialogues: packed rows, AdamW with warm-up and cosine
decay, as in GPT-3's appendix B (Brown et al. 2020), scaled to a small model; residual projections are
initialised smaller in deeper models (Radford et al. 2019, section 2.3). The third starts with 100 updates on
batches of 8 rows of 32 tokens, then 200 on 16 rows of 64, and every other block attends to the last 32 tokens
only, as GPT-3's. Writes RUN_DIR/models/pretrain (the model and its tokenizer), metrics, and checkpoints from
which the same command continues. About two minutes on two CPU cores.
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("pretrain", __doc__)
