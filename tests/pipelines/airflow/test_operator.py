import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with DVC and two stages, each a small shell command; the path has a space in it."""
    root = tmp_path / "a project"
    root.mkdir()
    write_stages(root, train="cp examples model")
    subprocess.run(["git", "init", "--quiet", "."], cwd=root, check=True)
    subprocess.run([Path(sys.executable).with_name("dvc"), "init", "--quiet"], cwd=root, check=True)
    return root


def write_stages(root: Path, *, train: str) -> None:
    stages = {
        "train": {"cmd": train, "deps": ["examples"], "outs": ["model"]},
        "register": {"cmd": "cp model registered", "deps": ["model"], "outs": ["registered"]},
    }
    content = {"stages": {name: {"matrix": {"pipeline": ["digits"]}, **stage} for name, stage in stages.items()}}
    (root / "dvc.yaml").write_text(yaml.safe_dump(content))
    (root / "examples").write_text("1\n")


def task_of(root: Path):
    """The task of the small project's stage `train`."""
    from pipelines.airflow.operator import stage_task

    return stage_task("train", pipeline="digits", root=root)


def test_a_task_has_its_stages_name(root):
    assert task_of(root).task_id == "train"


def test_a_task_runs_its_stage_and_no_other(root):
    task_of(root).execute({})
    assert (root / "model").read_text() == "1\n"
    assert not (root / "registered").exists()


def test_a_stage_that_fails_fails_its_task(root):
    from airflow.sdk.exceptions import AirflowException

    write_stages(root, train="exit 2")
    with pytest.raises(AirflowException, match="train@digits"):
        task_of(root).execute({})


def test_a_kill_ends_the_stage(root):
    from airflow.sdk.exceptions import AirflowException

    write_stages(root, train="echo $$ > started; sleep 1000")
    task = task_of(root)

    def kill_when_started() -> None:
        while not (root / "started").exists():
            time.sleep(0.05)
        task.on_kill()

    killer = threading.Thread(target=kill_when_started)
    killer.start()
    with pytest.raises(AirflowException):
        task.execute({})
    killer.join(timeout=10)
    with pytest.raises(ProcessLookupError):
        os.kill(int((root / "started").read_text()), 0)
