"""Exports a model for serving: a SavedModel for TF Serving, or a LiteRT file.

    python -m experiments.export --model=runs/demo/models/ppo --output=served/agent
    docker run -p 8501:8501 -v $PWD/served/agent:/models/agent -e MODEL_NAME=agent tensorflow/serving
    python -m experiments.export --model=runs/demo/models/ppo --output=agent.tflite --format=litert

The SavedModel needs only TensorFlow. Its signature "generate" takes prompts (string[N]) and a seed, if the
tokenizer is a byte-level BPE; "generate_ids" takes token_ids, mask and seed. A LiteRT file takes token_ids,
mask and uniform random numbers; --top_k=1 makes it greedy. --int8 stores the kernels in 8 bits.
"""

from experiments.launch import launch_job

if __name__ == "__main__":
    launch_job("export", __doc__)
