"""Workers as processes of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def run_workers(repository, free_ports) -> Callable[..., None]:
    """Runs a script, or code after "-c", for each worker, with its rank, all ports (JSON) and what else is given."""

    def run(*script: str | Path, num_workers: int, arguments: tuple[str, ...]) -> None:
        ports = json.dumps(free_ports(num_workers))
        environment = {**os.environ, "PYTHONPATH": str(repository), "TF_CPP_MIN_LOG_LEVEL": "3"}
        processes = [
            subprocess.Popen(
                [sys.executable, *script, str(rank), ports, *arguments],
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
