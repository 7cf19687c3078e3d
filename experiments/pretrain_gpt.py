"""Pretrains a GPT on text, with a byte-level BPE tokenizer trained on the same text.

    python -m experiments.pretrain_gpt --run_dir=runs/pretrain --steps=800
    python -m experiments.pretrain_gpt --run_dir=runs/mine --data=mine.jsonl --vocab_size=4096
    python -m experiments.pretrain_gpt --run_dir=runs/gpt3 --ramp=100:8x32,200:16x64 \\
        --attention_window=32

The first trains on the embedded customer-service dialogues. Packed rows, AdamW with warm-up and
cosine decay, as GPT-3's appendix B (Brown et al. 2020) scaled to a small model; residual projections
start smaller the deeper the model (Radford et al. 2019, section 2.3). The third begins with 100
updates on batches of 8 rows of 32 tokens, then 200 on 16 of 64, and every other block sees the last
32 tokens alone, as GPT-3's. Writes
RUN_DIR/models/pretrain (a model and its tokenizer), metrics, and checkpoints from which the same
command goes on. About two minutes on two CPU cores.
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("pretrain", __doc__)
