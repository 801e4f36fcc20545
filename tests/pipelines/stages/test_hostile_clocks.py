"""Every stage with another clock than the one before it: what is made depends on data and settings alone."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from headrace.pipelines.paths import PipelinePaths

pytestmark = pytest.mark.skipif(not shutil.which("faketime"), reason="needs faketime (apt install faketime)")

ALL_STAGES = """
import sys
from pathlib import Path
from headrace.pipelines.params import load_pipeline
from headrace.pipelines.paths import PipelinePaths
for name in sys.argv[1:]:
    stage = getattr(__import__(f"headrace.pipelines.stages.{name}", fromlist=[name]), name)
    stage(load_pipeline(Path("params.yaml"), "small"), PipelinePaths(Path.cwd(), "small"))
"""
# Imported first by each Python: libfaketime 0.9.10 refuses time.sleep() where it leaves the monotonic clock alone.
SLEEP = """
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""
# A year back and on; the hour that Berlin has twice, the one that it lacks; a leap day; before this code was written.
CLOCKS = ["-1y", "+1y", "@2026-10-25 02:30:00", "@2026-03-29 02:30:00", "@2028-02-29 23:59:58", "@2001-01-01 00:00:00"]


def write_project(root: Path, repository: Path) -> Path:
    """A pipeline that reads the partitions of one interval: the day on which Berlin's clocks go back."""
    root.mkdir()
    for day in ("2026-10-24", "2026-10-25", "2026-10-26"):
        folder = root / "landing" / f"date={day}"
        folder.mkdir(parents=True)
        rows = [f"{day}-{number},{number * 1.5},{'big' if number % 3 else 'small'}" for number in range(200)]
        (folder / "a.csv").write_text("\n".join(["id,size,kind", *rows, ""]))
    titanic = yaml.safe_load((repository / "params.yaml").read_text())["titanic"]
    source = {"kind": "delimited", "dataset": "small", "partitions": {"root": str(root / "landing")}}
    source["interval"] = {"start": "2026-10-24T22:00:00Z", "end": "2026-10-25T23:00:00Z"}
    label = {"type": "category", "name": "kind", "classes": ["big", "small"]}
    small = titanic | {
        "ingest": {"source": source, "key": ["id"], "features": {"size": {"type": "number"}}, "label": label},
        "normalize": {"transforms": {"size": [{"kind": "standardize"}]}},
        "split": {"validation_fraction": 0.2, "test_fraction": 0.2},
        "train": titanic["train"] | {"epochs": 2, "num_workers": 1, "global_batch_size": 8},
        "register": {"thresholds": {}, "compare": {"metric": "loss"}},
    }
    (root / "params.yaml").write_text(yaml.safe_dump({"pipelines": ["small"], "small": small}))
    return root


def run_stages(root: Path, *stages: str, clock: str | None = None) -> None:
    command = [sys.executable, "-c", ALL_STAGES, *stages]
    environment = {**os.environ, "TZ": "Europe/Berlin", "HOME": str(root), "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    if clock:
        command = ["faketime", "-f", clock, *command]
        (root / "site").mkdir(exist_ok=True)
        (root / "site" / "sitecustomize.py").write_text(SLEEP)
        environment["PYTHONPATH"] = str(root / "site")
    ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def digests(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, repository) -> Path:
    root = write_project(tmp_path_factory.mktemp("clocks") / "undisturbed", repository)
    run_stages(root, "ingest", "normalize", "split")
    return root


@pytest.mark.parametrize("clock", [CLOCKS[0], *(pytest.param(one, marks=pytest.mark.long) for one in CLOCKS[1:])])
def test_data_is_the_same_by_any_clock_and_of_the_interval_alone(undisturbed, tmp_path, repository, clock):
    root = write_project(tmp_path / "here", repository)
    for stage in ("ingest", "normalize", "split"):
        run_stages(root, stage, clock=None if stage == "normalize" else clock)
    assert digests(root / "data") == digests(undisturbed / "data")
    assert [file.name for file in PipelinePaths(root, "small").raw.iterdir()] == ["date=2026-10-25_a.csv"]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)  # Ray under faketime starts slowly
def test_a_model_is_the_same_though_the_clock_jumps_between_the_stages(undisturbed, tmp_path, repository):
    models = []
    for clocks in ((None, None, None), ("-1y", "+1y", "-1y")):
        root = shutil.copytree(undisturbed, tmp_path / str(len(models)))
        for stage, clock in zip(("train", "evaluate", "register"), clocks, strict=True):
            run_stages(root, stage, clock=clock)
        paths = PipelinePaths(root, "small")
        models.append((paths.metrics.read_text(), (paths.checkpoint / "weights.npz").read_bytes()))
        assert "champion" in paths.registration.read_text()
    assert models[0] == models[1]
