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

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("serve", __doc__)
