"""``tfalign serve``: a model behind an HTTP server."""

from __future__ import annotations

import sys
from typing import Any

from tfalign.cli.records import ServeJob
from tfalign.files import as_path


def serve(job: ServeJob) -> None:
    """Answers requests until it is told to end, and exits with the server's status.

    Raises:
        ValueError: if the packages of ``tfalign[serve]`` are absent.
    """
    try:
        from tfalign.serving import run
    except ImportError as error:
        raise ValueError(f"A server needs `pip install tfalign[serve]`: {error}") from None
    if not job.limits.key and job.host not in ("127.0.0.1", "localhost", "::1"):
        print(f"Whoever reaches {job.host} may use this server: it has no --api_key.", flush=True)
    listener = run.bind(job.host, job.port)
    sys.exit(run.run(make_server(job), listener))


def make_server(job: ServeJob) -> Any:
    """The Server of a job, its engine not started."""
    from tfalign.applications.personalisation import ProfileStore
    from tfalign.data import FeedbackFile, PromptRecord, read_records
    from tfalign.models.lora import quantize
    from tfalign.pretrained import load
    from tfalign.serving.app import Server
    from tfalign.serving.engine import Engine

    feedback = FeedbackFile(job.feedback) if job.feedback else None
    prompts = read_records(job.label_prompts, PromptRecord) if job.label_prompts else ()
    profiles = ProfileStore(job.profiles) if job.profiles else None
    pretrained = load(job.model, dropout=0.0)
    model, tokenizer = pretrained.model, pretrained.tokenizer
    if job.int8:
        quantize(model)
    length = job.length or model.config.max_positions
    engine = Engine(model, job.rows, length, tokenizer.stop_ids, job.most_waiting)
    name = job.name or as_path(job.model).resolve().name
    return Server(engine, tokenizer, name, job.limits, feedback, prompts, profiles)
