"""Pretrains a BERT on running text by masked language modelling and next-sentence prediction.

    DATA=/path/to/data/wikitext-2
    python -m experiments.pretrain_bert --run_dir=runs/bert \\
        --data=$DATA/wiki.train.shuffled.tokens.gz::$DATA/wiki.valid.tokens
    ... --next_sentence=false --optimizer=lamb --whole_words    # variants

As Devlin et al. (2019), in small: a WordPiece vocabulary of the same text, 15% of the tokens masked (80% mask,
10% random, 10% kept), pairs of texts of which half are random, AdamW or LAMB with warm-up. The masked tokens
differ in every epoch, and with --next_sentence=false there is one text per row, as in RoBERTa (Liu et al. 2019).
RUN_DIR/models/pretrain_bert is the model and its tokenizer (``BertForPreTraining``, or ``BertForMaskedLM``);
RUN_DIR/pretrain_bert.json has both held-out accuracies, beside those of always predicting the most common token
and the most common class. Short sequences (--length=32) learn faster (docs/results/encoder_pretraining.md).
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("pretrain_bert", __doc__)
