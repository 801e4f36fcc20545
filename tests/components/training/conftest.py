"""Workers as processes of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.components.compatibility.keras_import import import_keras
from headrace.components.training import checkpoints


@pytest.fixture(scope="session")
def run_workers(repository, free_ports) -> Callable[..., None]:
    """Runs a script, or code after "-c", for each worker, with its rank, all ports (JSON) and what else is given."""

    def run(*script: str | Path, num_workers: int, arguments: tuple[str, ...]) -> None:
        code = (
            script[1] if script[0] == "-c" else f"import runpy; runpy.run_path({str(script[0])!r}, run_name='__main__')"
        )
        code = f"from {import_keras.__module__} import import_keras; import_keras()\n{code}"  # as workers do
        ports = json.dumps(free_ports(num_workers))
        environment = {**os.environ, "PYTHONPATH": str(repository), "TF_CPP_MIN_LOG_LEVEL": "3"}
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(rank), ports, *arguments],
                env=environment,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(num_workers)
        ]
        try:
            errors = [process.communicate(timeout=400)[1] for process in processes]
        finally:
            for process in processes:
                process.kill()
        assert [process.returncode for process in processes] == [0] * num_workers, errors

    return run


@pytest.fixture(scope="session")
def train_workers(run_workers) -> Callable[..., list[checkpoints.Checkpoint]]:
    """Train by code that writes each worker's state in `final-<rank>`; gives the states of all."""

    def train(
        code: str, training: dict[str, Any], folder: Path, num_workers: int, **changes: Any
    ) -> list[checkpoints.Checkpoint]:
        folder.mkdir(exist_ok=True)
        settings = json.dumps({**training, **changes})
        run_workers("-c", code, num_workers=num_workers, arguments=(str(folder), settings))
        return [checkpoints.load(folder / f"final-{rank}") for rank in range(num_workers)]

    return train


@pytest.fixture(scope="session")
def assert_equal_training() -> Callable[..., None]:
    """The same weights, and the same metrics of every epoch, to `tolerance`."""

    def check(one: checkpoints.Checkpoint, other: checkpoints.Checkpoint, *, tolerance: float) -> None:
        for left, right in zip(one.state.history, other.state.history, strict=True):
            assert left.keys() == right.keys()
            for name in left.keys() - {"seconds"}:
                np.testing.assert_allclose(left[name], right[name], rtol=tolerance, err_msg=name)
        for left, right in zip(one.weights, other.weights, strict=True):
            np.testing.assert_allclose(left, right, rtol=tolerance, atol=tolerance)

    return check
