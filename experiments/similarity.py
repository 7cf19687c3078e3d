"""Sentence embeddings: how well do their cosines follow how much two sentences mean the same?

    python -m experiments.similarity --run_dir=runs/stsb --model=MINILM \\
        --data="cells:stsb-en-train.csv?first=0&second=1&score=2::cells:stsb-en-test.csv?first=0&second=1&score=2"
    ... --steps=500    # fine-tune on the training pairs first

An embedding is the mean of the last states over real tokens. Spearman's correlation on the test pairs
goes to RUN_DIR/similarity.json; without --steps nothing is trained. With MiniLM, which was made for this,
0.820 untrained. A trained encoder goes to RUN_DIR/models/similarity.
"""

from __future__ import annotations

from experiments import encoders, stages
from experiments.launch import launch
from tfalign.data import BatchStream, SimilarityRecord, encode_similarities
from tfalign.evaluation.statistics import spearman
from tfalign.models import SentenceEncoder
from tfalign.objectives import SentenceSimilarity, cosine_of_pairs
from tfalign.options import option, option_record
from tfalign.pretrained import load_tokenizer


@option_record
class SimilarityConfig(encoders.EncoderConfig):
    run_dir: str = option("runs/similarity", "where the run lives")
    highest: float = option(5.0, "the score of two sentences that mean the same", above=0)
    steps: int = option(0, "updates; 0 to measure the model as it is", at_least=0)
    learning_rate: float = option(2e-5, "at its peak", above=0)


def main(config):
    run = stages.open_run("similarity", config)
    stages.seed_everything(config.seed)
    trunk = encoders.trunk_of(config.model, config.precision, config.dropout)
    model, tokenizer = SentenceEncoder(trunk), load_tokenizer(config.model)
    train, test = (
        encode_similarities(
            stages.read(config.data, SimilarityRecord, split, config.on_bad, config.data_dir),
            tokenizer,
            config.highest,
            config.length,
        )
        for split in ("train", "test")
    )
    columns = [32, config.length]
    if config.steps:
        batches = BatchStream(train, config.batch_size, columns, seed=config.seed)
        stages.train(run, "similarity", model, SentenceSimilarity(), batches, [], config)
        stages.save_model(run, "similarity", model.backbone, tokenizer)
    function = encoders.compiled(cosine_of_pairs, model)
    cosines = encoders.over_all(function, test, config.batch_size, columns)
    results = {"spearman": spearman(cosines, test.similarity), "pairs": len(test)}
    encoders.report(run, "similarity", results)


if __name__ == "__main__":
    launch(SimilarityConfig, main, __doc__)
