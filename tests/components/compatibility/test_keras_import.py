"""Keras as workers import it: without packages that they don't use, which can still be imported afterwards."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import sys
from headrace.components.compatibility.keras_import import OPTIONAL, import_keras
import_keras()
import keras
assert not set(OPTIONAL) & set(sys.modules), set(OPTIONAL) & set(sys.modules)
assert "rich" in sys.modules
assert float(keras.ops.sum(keras.ops.ones(3))) == 3
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(keras.ops.ones((4, 2)), keras.ops.ones((4, 1)), verbose=0)
import matplotlib, pandas, sklearn
"""


def test_it_works_without_them_and_they_can_be_imported_later():
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=120, env=environment)


def test_a_process_that_has_keras_keeps_it():
    program = "import keras, sys; from headrace.components.compatibility.keras_import import import_keras\n"
    program += "before = sys.modules['keras']; import_keras(); assert sys.modules['keras'] is before"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
