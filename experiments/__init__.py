"""Experiments: the jobs' mains here, questions in rooms of their own; each module's docstring is its manual."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow: its start-up chatter
