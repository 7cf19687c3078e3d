"""A real trained model through the cached loop: 200 greedy steps, token by token."""

import json

import numpy as np

from tfalign.decoding import Generator, Greedy
from tfalign.models.llama2c import load_llama2c
