"""Fine-tunes a language model on prompts with completions.

    python -m experiments.sft --run_dir=runs/sft --model=runs/pretrain/models/pretrain
    python -m experiments.sft --model=DIR --data=mine.jsonl --run_dir=runs/mine_sft

The second reads JSON lines with "prompt" and "completion". The loss is on the completion alone, with
``--conversations`` on all that the assistant says in JSON lines with "messages".
``--lora.rank=8`` trains adapters, which go to RUN_DIR/models/sft_adapters too.
Writes RUN_DIR/models/sft. About 30 seconds on two CPU cores for the embedded data.
"""

from __future__ import annotations

from experiments import adapters, stages
from experiments.launch import launch
from tfalign.data import (
    BatchStream,
    CompletionRecord,
    ConversationRecord,
    encode_completions,
    encode_conversations,
)
from tfalign.models import from_pretrained
from tfalign.objectives import LanguageModelling
from tfalign.options import option, option_record


@option_record
class SFTConfig(stages.SupervisedConfig):
    run_dir: str = option("runs/sft", "where the run lives")
    model: str = option("runs/pretrain/models/pretrain", "directory of the model to start from")
    data: str = option(
        stages.EMBEDDED, '"embedded", FILE.jsonl with "prompt" and "completion", tfds:NAME:SPLIT'
    )
    lora: adapters.AdapterConfig = option(adapters.AdapterConfig(), "low-rank adapters")
    conversations: bool = option(False, 'whole conversations: JSON lines with "messages"')
    chunk: int = option(
        0, "positions whose logits are computed at a time; 0 for all at once", at_least=0
    )
    length: int = option(96, "longest prompt with completion, tokens", at_least=1)


def fine_tune(config, run):
    """Trains and saves the model; goes on from the newest checkpoint of the run."""
    stages.seed_everything(config.seed)
    model = from_pretrained(config.model, dtype=config.precision)
    adapters.adapt(model, config.lora)
    tokenizer = stages.load_tokenizer(config.model)
    kind, encode = CompletionRecord, encode_completions
    if config.conversations:
        kind, encode = ConversationRecord, encode_conversations
    train, test = (
        stages.tell(
            f"sft {split}",
            encode(
                stages.read(config.data, kind, split, config.on_bad, config.data_dir),
                tokenizer,
                max_tokens=config.length,
                on_bad=config.on_bad,
            ),
        )
        for split in ("train", "test")
    )
    buckets = stages.buckets(config.length)
    batches = BatchStream(train, config.batch_size, buckets, seed=config.seed)
    held_out = BatchStream(test, config.batch_size, buckets, epochs=1)
    stages.train(
        run, "sft", model, LanguageModelling(config.chunk or None), batches, list(held_out), config
    )
    adapters.save_model(run, "sft", model, tokenizer, config.lora, config.model)


def main(config):
    fine_tune(config, stages.open_run("sft", config))


if __name__ == "__main__":
    launch(SFTConfig, main, __doc__)
