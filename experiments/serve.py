"""An HTTP server with OpenAI's interface, for one model: completions and chat, streamed or whole.

    pip install tfalign[serve]
    python -m experiments.serve --model=runs/demo/models/ppo --port=8000
    curl localhost:8000/v1/completions -H 'Content-Type: application/json' \\
        -d '{"prompt": "Customer: Where is my order 147?\\nAgent:", "max_tokens": 40}'

POST /v1/completions, /v1/chat/completions (with a chat template in the model's directory); GET /v1/models,
/health, /metrics (Prometheus). Requests are decoded together (``tfalign.serving.engine``): --rows at once,
--most_waiting more wait, and who comes after them gets a 503. What is malformed, too large or not
supported gets a 4xx with a sentence; docs/serving.md lists the fields. Beside OpenAI's fields "seed" makes a
response repeatable. A client that goes away frees its row. With a key (TFALIGN_API_KEY, or --api_key, which
other users of the machine can see) requests must bring it. SIGTERM lets responses end for --drain_seconds,
then the exit status is 143. The server keeps no state: killed and started again it is as before.
"""

from __future__ import annotations

import sys
from pathlib import Path

from experiments.launch import launch
from tfalign.options import option, option_record
from tfalign.serving.settings import Limits


@option_record
class ServeConfig(Limits):
    model: str = option("runs/demo/models/ppo", "directory of the model")
    name: str = option("", "what the model is called; the directory's name where empty")
    host: str = option("127.0.0.1", "address to listen at")
    port: int = option(8000, "port to listen at; 0 for any that is free", at_least=0, at_most=65535)
    rows: int = option(32, "responses decoded at once", at_least=1, at_most=4096)
    length: int = option(
        0,
        "tokens of a prompt with its response at most; 0 for all the model has",
        at_least=2,
        also=(0,),
    )
    most_waiting: int = option(500, "requests that may wait for a row", at_least=1)
    int8: bool = option(False, "hold the kernels in 8 bits")


def make_server(config):
    """The Server of a config, its engine not started."""
    from tfalign.models import from_pretrained
    from tfalign.models.lora import quantize
    from tfalign.pretrained import load_tokenizer
    from tfalign.serving.app import Server
    from tfalign.serving.engine import Engine

    model = from_pretrained(config.model, dropout=0.0)
    if config.int8:
        quantize(model)
    tokenizer = load_tokenizer(config.model)
    length = config.length or model.config.max_positions
    engine = Engine(model, config.rows, length, tokenizer.stop_ids, config.most_waiting)
    name = config.name or Path(config.model).resolve().name
    return Server(engine, tokenizer, name, config)


def main(config):
    try:
        from tfalign.serving import run
    except ImportError as error:
        raise ValueError(f"A server needs `pip install tfalign[serve]`: {error}") from None
    if not config.key and config.host not in ("127.0.0.1", "localhost", "::1"):
        print(
            f"Whoever reaches {config.host} may use this server: it has no --api_key.", flush=True
        )
    listener = run.bind(config.host, config.port)
    sys.exit(run.run(make_server(config), listener))


if __name__ == "__main__":
    launch(ServeConfig, main, __doc__)
