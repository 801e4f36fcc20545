"""A model of one's own: while FOLDER has folders, worker 0 removes one and gets little memory."""

import resource
from pathlib import Path

import keras
import psutil
import ray.train

FOLDER = Path("FOLDER")
# Each worker's half of a batch of 1,200 gives the wide layer 157 MB of outputs, and as much for their gradients.
HEADROOM_BYTES = 1 << 26


class NarrowMemory(keras.callbacks.Callback):
    """Little more address space than the process has before its first step."""

    def on_train_begin(self, logs=None):
        if ray.train.get_context().get_world_rank() == 0 and (groups := sorted(FOLDER.iterdir())):
            groups[0].rmdir()
            used_bytes = psutil.Process().memory_info().vms
            resource.setrlimit(resource.RLIMIT_AS, (used_bytes + HEADROOM_BYTES, resource.RLIM_INFINITY))


def build_callbacks():
    return [NarrowMemory()]


def build_model(inputs, label):
    flat = keras.layers.Flatten()(*inputs.values())
    wide = keras.layers.Dense(1 << 16, activation="relu")(flat)
    return keras.Model(inputs, keras.layers.Dense(label.outputs)(wide))
