"""The log of a worker, in its own process."""

import json
import os
import subprocess
import sys

PROGRAM = """
from types import SimpleNamespace
import ray.train, cloudpickle
from headrace.pipelines.ray_train.worker import logging_as

ray.train.get_context = lambda: SimpleNamespace(get_world_rank=lambda: 2)

def trains(config):
    if config["job"] == "bad":
        raise ValueError("no rows")

run = cloudpickle.loads(cloudpickle.dumps(logging_as(trains, {"pipeline": "digits", "run": "digits-1", "job": "j"})))
run({"job": "good"})
try:
    run({"job": "bad"})
except ValueError:
    pass
"""


def test_lines_of_a_worker_say_of_which_training_they_are_and_its_rank() -> None:
    command = [sys.executable, "-c", PROGRAM]
    variables = {**os.environ, "HEADRACE_LOG": "json"}
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    lines = [json.loads(line) for line in ended.stderr.splitlines() if line.startswith("{")]
    assert [one["message"] for one in lines] == [
        *("a worker starts", "a worker is done", "a worker starts", "a worker ends")
    ]
    names = {"pipeline": "digits", "run": "digits-1", "job": "j", "rank": "2"}
    assert all({name: one[name] for name in names} == names for one in lines)
    assert (lines[-1]["level"], lines[-1]["error"]) == ("error", "ValueError: no rows")
