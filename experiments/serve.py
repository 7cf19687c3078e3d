"""Serves a model over HTTP with OpenAI's interface: completions and chat, streamed or whole.

    pip install tfalign[serve]
    python -m experiments.serve --model=runs/demo/models/ppo --port=8000
    curl localhost:8000/v1/completions -H 'Content-Type: application/json' \\
        -d '{"prompt": "Customer: Where is my order 147?\\nAgent:", "max_tokens": 40}'

POST /v1/completions, /v1/chat/completions (with a chat template in the model's directory); GET /v1/models,
/health, /metrics (Prometheus). Requests are decoded together (``tfalign.serving.engine``): --rows at once, up to
--most_waiting wait, and further ones get a 503. A malformed, too large or unsupported request gets a 4xx with a
sentence; docs/serving.md lists the fields. The field "seed" makes a response reproducible. A client that
disconnects frees its row. With a key (TFALIGN_API_KEY, or --api_key, which other users of the machine can see)
requests must contain it. After SIGTERM responses may finish within --drain_seconds, and the exit status is 143.
The server keeps no state: after a kill and a restart it is as before.
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("serve", __doc__)
