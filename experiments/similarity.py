"""Sentence embeddings: how well do their cosines follow how much two sentences mean the same?

    python -m experiments.similarity --run_dir=runs/stsb --model=MINILM --train=false \\
        --data="cells:stsb-en-train.csv?first=0&second=1&score=2::cells:stsb-en-test.csv?first=0&second=1&score=2"
    python -m experiments.similarity --run_dir=runs/stsb --model=MINILM --steps=500 --data=TRAIN::TEST

An embedding is the mean of the last states over real tokens. Spearman's correlation on the test pairs
goes to RUN_DIR/similarity.json; with --train=false nothing is trained. MiniLM, which was made for this, has
0.820 untrained. A trained encoder goes to RUN_DIR/models/similarity.
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("similarity", __doc__)
