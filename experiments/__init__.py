"""Experiments: one absl main per job; each module's docstring is its manual."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow: its start-up chatter
