"""Experiments: the mains of the jobs; studies, tasks, tours and benchmarks in folders. Docstrings are manuals."""

import os

os.environ.setdefault(
    "TF_CPP_MIN_LOG_LEVEL", "2"
)  # before TensorFlow is imported: fewer log lines at its start
