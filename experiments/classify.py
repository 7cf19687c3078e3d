"""Fine-tunes an encoder to classify texts.

    python -m experiments.classify --run_dir=runs/sentiment --model=MINILM --data_dir=DATA \\
        --data=tfds:movie_reviews:train::tfds:movie_reviews:test --length=256 --windows=20 \\
        --steps=560 --batch_size=16 --learning_rate=1.5e-4
    python -m experiments.classify --model=DIR --data=mine.jsonl

The second reads JSON lines with "text" and "label", and holds a tenth of the texts out. The classes are
those of the training records, in alphabetical order; the model goes to RUN_DIR/models/classify with their
names, accuracy on the held-out texts (with Wilson's interval) to RUN_DIR/classify.json. A text of more than
--length tokens is truncated, or split into --windows: each learns the text's class, and together they decide it.
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("classify", __doc__)
