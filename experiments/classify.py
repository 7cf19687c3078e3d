"""Fine-tunes an encoder to classify texts.

    python -m experiments.classify --run_dir=runs/sentiment --model=MINILM --data_dir=DATA \\
        --data=tfds:movie_reviews:train::tfds:movie_reviews:test --length=256 --windows=20 \\
        --steps=560 --batch_size=16 --learning_rate=1.5e-4
    python -m experiments.classify --model=DIR --data=mine.jsonl

The second command reads JSON lines with "text" and "label", and holds out a tenth of the texts. The classes are
those of the training records, in alphabetical order. Writes the model with their names to
RUN_DIR/models/classify, and the accuracy on the held-out texts, with Wilson's interval, to
RUN_DIR/classify.json. A text of more than --length tokens is truncated, or split into --windows: each is trained
on the text's class, and the sum of their log-probabilities decides it.
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("classify", __doc__)
