"""TensorFlow as stages and workers import it: Keras in it is without packages that neither uses."""

import subprocess
import sys

import pytest

from headrace.components.compatibility.keras_import import OPTIONAL

pytestmark = pytest.mark.slow

STAGE = "from headrace.pipelines.compatibility.tensorflow_import import import_tensorflow; import_tensorflow()"
WORKER = """
from headrace.pipelines.distributed_plan import DistributedPlan
from headrace.pipelines.ray_train.worker import prepare_devices
prepare_devices(DistributedPlan(epochs=1, global_batch_size=4), workers_on_node=1)
"""
CHECK = """
import keras, sys
assert {"tensorflow", "rich"} <= set(sys.modules)
assert not unused & set(sys.modules), unused & set(sys.modules)
assert float(keras.ops.sum(keras.ops.ones(3))) == 3
"""


@pytest.mark.parametrize(
    ("program", "unused"), [(STAGE, set(OPTIONAL)), (WORKER, set(OPTIONAL) - {"pandas"})], ids=["stage", "worker"]
)
def test_packages_that_keras_may_use_are_left_out(program, unused):
    """Of workers, Ray imports pandas."""
    subprocess.run([sys.executable, "-c", f"{program}\nunused = {unused}\n{CHECK}"], check=True, timeout=120)
