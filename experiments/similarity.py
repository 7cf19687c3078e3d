"""Fine-tunes an encoder to embed sentences, and correlates cosines with similarity of meaning.

    python -m experiments.similarity --run_dir=runs/stsb --model=MINILM --train=false \\
        --data="cells:stsb-en-train.csv?first=0&second=1&score=2::cells:stsb-en-test.csv?first=0&second=1&score=2"
    python -m experiments.similarity --run_dir=runs/stsb --model=MINILM --steps=500 --data=TRAIN::TEST

An embedding is the mean of the last hidden states over real tokens (Reimers and Gurevych 2019). Writes
Spearman's correlation on the test pairs to RUN_DIR/similarity.json, and the trained encoder to
RUN_DIR/models/similarity; with --train=false the model is only measured. MiniLM, pretrained for this task, has
0.820 without fine-tuning (docs/results/pretrained_encoders.md).
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("similarity", __doc__)
