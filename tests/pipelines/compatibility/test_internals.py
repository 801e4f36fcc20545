"""Private names of other libraries are still there, and a version that was not tested is refused in one line."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module", ["airflow_internals", "dvc_messages", "mlflow_internals", "ray_internals", "ray_train_internals"]
)
def test_every_name_can_be_imported_with_what_is_installed(module):
    code = f"from headrace.pipelines.compatibility.{module} import *"
    subprocess.run([sys.executable, "-W", "error::ImportWarning", "-c", code], check=True, timeout=120)


def test_a_ray_that_was_not_tested_is_one_line_with_the_fix():
    code = "import ray; ray.__version__ = '2.99.0'; import headrace.pipelines.compatibility.ray_internals"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert "tested with ray 2.60, found 2.99.0; install a tested version" in ended.stderr
