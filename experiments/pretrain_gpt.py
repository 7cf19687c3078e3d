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

from __future__ import annotations

from experiments import stages
from experiments.launch import launch
from tfalign.data import BatchStream, TextRecord, encode_texts
from tfalign.objectives import LanguageModelling
from tfalign.options import option, option_record
from tfalign.text import train_byte_bpe


@option_record
class PretrainConfig(stages.SupervisedConfig):
    run_dir: str = option("runs/pretrain", "where the run lives")
    data: str = option(
        stages.EMBEDDED,
        '"embedded", or documents: FILE.jsonl with "text", text:FILE_OR_FOLDER_OR_ZIP, '
        "tfds:NAME:SPLIT; TRAIN::TEST names both splits",
    )
    vocab_size: int = option(1024, "of the tokenizer that is trained", at_least=1)
    preset: str = option("mini", "of models.gpt.PRESETS")
    width: int = option(0, "W; 0 keeps the preset's", at_least=0)
    num_layers: int = option(0, "blocks; 0 keeps the preset's", at_least=0)
    num_heads: int = option(0, "attention heads; 0 keeps the preset's", at_least=0)
    attention_window: int = option(0, "tokens that every other block sees; 0 for all", at_least=0)
    dropout: float = option(0.0, "rate; 0 keeps the preset's", at_least=0, below=1)
    max_positions: int = option(128, "longest sequence the model can take", at_least=1)
    length: int = option(96, "tokens of a packed row", at_least=1)
    chunk: int = option(
        0, "positions whose logits are computed at a time; 0 for all at once", at_least=0
    )
    ramp: str = option("", "smaller batches first: UPDATES:ROWSxLENGTH, comma-separated")
    steps: int = option(800, "updates", at_least=1)
    learning_rate: float = option(2e-3, "at its peak", above=0)
    warmup_steps: int = option(50, "updates until the peak", at_least=0)
    weight_decay: float = option(0.1, "of matrices", at_least=0)
    log_every: int = option(20, "updates between lines in metrics.jsonl", at_least=1)
    save_every: int = option(200, "updates between checkpoints", at_least=1)

    def __post_init__(self):
        super().__post_init__()
        longest = stages.longest_row(self.length, self.ramp)
        if longest > self.max_positions:
            raise ValueError(
                "--length, and that of --ramp, must not exceed --max_positions. "
                f"Received: length={longest}, max_positions={self.max_positions}"
            )


def pretrain(config, run):
    """Trains and saves the model; goes on from the newest checkpoint of the run."""
    train, test = (
        stages.read(config.data, TextRecord, split, config.on_bad, config.data_dir)
        for split in ("train", "test")
    )
    stages.seed_everything(config.seed)
    tokenizer = train_byte_bpe((record.text for record in train), config.vocab_size)
    model = stages.new_model(
        config.preset,
        tokenizer.vocab_size,
        config.max_positions,
        config.precision,
        width=config.width,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        attention_window=config.attention_window,
        dropout=config.dropout,
    )
    examples = stages.tell("pretrain", encode_texts(train, tokenizer))

    def packed(rows, length):
        return BatchStream(examples, rows, packed_length=length, seed=config.seed)

    batches = stages.ramped(config.ramp, packed, config.batch_size, config.length)
    held_out = BatchStream(
        encode_texts(test, tokenizer), config.batch_size, packed_length=config.length, epochs=1
    )
    stages.train(
        run,
        "pretrain",
        model,
        LanguageModelling(config.chunk or None),
        batches,
        list(held_out),
        config,
    )
    stages.save_model(run, "pretrain", model, tokenizer)


def main(config):
    pretrain(config, stages.open_run("pretrain", config))


if __name__ == "__main__":
    launch(PretrainConfig, main, __doc__)
