"""A real trained model through the cached loop: 200 greedy steps, token by token."""

import json

import numpy as np

from tfalign.decoding import Generator, Greedy
from tfalign.models.llama2c import load_llama2c


def test_greedy_steps_of_stories260k(shared_data):
    """The same story from a prompt padded on the left and one padded on the right."""
    folder = shared_data / "stories260K"
    expected = json.loads((folder / "expected_greedy.json").read_text())["ids"]
    mask = np.array([[0, 0, 1], [1, 0, 0]], "bool")
    prompts = np.where(mask, expected[0], 9).astype("int32")
    generator = Generator(load_llama2c(folder / "stories260K.bin"), len(expected) - 1, Greedy())
    generation = generator(prompts, mask)
    assert len(expected) == 201
    assert np.asarray(generation.tokens).tolist() == [expected[1:]] * 2
