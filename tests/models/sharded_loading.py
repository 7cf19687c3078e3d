"""Loads a model's directory on a mesh: what was read, and whether all weights are those of the directory.

python sharded_loading.py DIRECTORY MESH
"""

import json
import os
import sys

import keras
import numpy as np
from safetensors.numpy import load_file

from tfalign.models import from_pretrained
from tfalign.models.huggingface import ranges
from tfalign.models.huggingface.binding import bound
from tfalign.models.huggingface.registry import fitting
from tfalign.models.layouts import distribution, parse_mesh


def main(directory, mesh):
    if "KERAS_DISTRIBUTION_NUM_PROCESSES" in os.environ:
        keras.distribution.initialize()
    keras.distribution.set_distribution(distribution(parse_mesh(mesh)))
    read, count = ranges.Ranges.read, []

    def counted(self, start, end):
        count.append(end - start)
        return read(self, start, end)

    ranges.Ranges.read = counted
    model = from_pretrained(directory)
    print(json.dumps({"read": sum(count), "right": _are_right(model, directory)}))


def _are_right(model, directory):
    """Whether every shard that lies here is what the file has there."""
    tensors = load_file(f"{directory}/model.safetensors")
    for row, _, variables, names in bound(fitting(model), model):
        shapes = [tuple(variable.shape) for variable in variables]
        for variable, whole in zip(variables, row.transform.from_file(tensors[names[0]], shapes)):
            for shard in variable.value.addressable_shards:
                if not np.array_equal(np.asarray(shard.data), whole[shard.index]):
                    return False
    return True


if __name__ == "__main__":
    main(*sys.argv[1:])
