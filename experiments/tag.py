"""Fine-tunes an encoder to find named entities.

    python -m experiments.tag --run_dir=runs/wnut17 --model=MINILM --steps=600 \\
        --data=conll:wnut17train.conll::conll:emerging.test.annotated

The source has one word and its tag per line ("O", "B-person", "I-person"), or JSON lines with "words" and
"tags". A word's tag is predicted at its first token; words beyond --length count as "O". Writes the model to
RUN_DIR/models/tag, and precision, recall and F1 of whole entities to RUN_DIR/tag.json.
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("tag", __doc__)
