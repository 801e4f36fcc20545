"""The devices that TensorFlow computes on, and how long each takes for the same work."""

import os
import time
from dataclasses import dataclass

import tensorflow as tf

RUNS = 10
OPERATION = "sum of a convolution of 100 random images of 100 x 100 x 3 with 32 filters of 7 x 7"


@dataclass(frozen=True)
class Device:
    """A device by TensorFlow's name, such as GPU:0, and by what the machine says of it."""

    name: str
    description: str

    @property
    def is_gpu(self) -> bool:
        """Whether it is a GPU."""
        return self.name.startswith("GPU")


def find_devices() -> list[Device]:
    """Return the CPU and every GPU that TensorFlow sees, in that order."""
    cpus, gpus = (tf.config.list_physical_devices(kind) for kind in ("CPU", "GPU"))
    found = [Device(f"CPU:{place}", _cores()) for place, _ in enumerate(cpus)]
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    return found + [Device(f"GPU:{place}", str(of.get("device_name", "GPU"))) for place, of in enumerate(details)]


def convolution_seconds(device: Device, *, runs: int = RUNS) -> float:
    """Seconds of each of `runs` of `OPERATION`, one after the other, after a first one that is not counted.

    The first allocates memory and chooses the kernels. Each run's sum is fetched: a GPU only queues what it is given.
    """
    with tf.device(device.name):
        filters = tf.random.normal((7, 7, 3, 32))
        _convolve(filters)
        started_seconds = time.perf_counter()
        for _ in range(runs):
            _convolve(filters)
        return time.perf_counter() - started_seconds


def _convolve(filters: tf.Tensor) -> float:
    images = tf.random.normal((100, 100, 100, 3))
    return float(tf.reduce_sum(tf.nn.conv2d(images, filters, strides=1, padding="VALID")))


def _cores() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{cores} core{'' if cores == 1 else 's'}"
