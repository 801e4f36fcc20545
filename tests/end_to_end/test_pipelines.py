"""Every pipeline of the repository, from its real data to a registered champion, by the command that people type."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# pipeline, metric, bound: what the README promises. test_small_systems.py trains what is long here, too, but shorter.
TARGETS = [
    ("digits", "accuracy", 0.96),
    pytest.param("mnist", "accuracy", 0.985, marks=pytest.mark.long),
    pytest.param("titanic", "accuracy", 0.78, marks=pytest.mark.long),
    pytest.param("takeoff", "root_mean_squared_error", -20.0, marks=pytest.mark.long),
    pytest.param("flowers", "accuracy", 0.82, marks=pytest.mark.long),
    pytest.param("linear", "loss", -1.0505, marks=pytest.mark.long),
    pytest.param("hello_rnn", "accuracy", 1.0, marks=pytest.mark.long),
]


def headrace(root: Path, *arguments: str, mirror: Path | None = None) -> str:
    environment = {**os.environ, "HOME": str(root.parent), **({"HEADRACE_MIRROR": str(mirror)} if mirror else {})}
    program = Path(sys.executable).with_name("headrace")
    ended = subprocess.run(
        [program, *arguments],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


@pytest.mark.parametrize(("pipeline", "metric", "bound"), TARGETS)
def test_a_pipeline_reaches_its_target_and_a_second_run_does_nothing(request, pipeline, metric, bound):
    mirror = None if pipeline in ("digits", "linear") else request.getfixturevalue("shared_data")
    if pipeline == "digits":
        run = request.getfixturevalue("digits")  # the one that test_doors.py has watched
        project, output = run.root, run.output
    else:
        project = request.getfixturevalue("project")
        output = headrace(project, "run", pipeline, mirror=mirror)
    metrics = json.loads((project / "reports" / pipeline / "metrics.json").read_text(encoding="utf-8"))
    assert metrics[metric] >= bound if bound > 0 else metrics[metric] <= -bound
    registration = json.loads((project / "reports" / pipeline / "registration.json").read_text(encoding="utf-8"))
    assert (registration["alias"], registration["version"]) == ("champion", 1)
    is_told = "nothing was held out" in str(registration)
    assert is_told == ("measured_on" in metrics) == (pipeline in ("linear", "hello_rnn"))
    assert (project / "reports" / pipeline / "report.html").stat().st_size > 10_000
    assert "to look:" in output

    again = headrace(project, "run", pipeline, mirror=mirror)
    assert again.count("unchanged") >= 6
    assert " running" not in again
