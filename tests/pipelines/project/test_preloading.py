"""How `headrace run` starts DVC where stages may be forked, and where they start as usual."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from headrace.components.errors import ParamsError
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.project import preloading as module
from headrace.pipelines.project.preloading import VARIABLE, preloading

PRELOADED = """
import os, sys, threading
from headrace.pipelines.preloaded import NOT_BEFORE_A_FORK, preload
preload()
assert {"tensorflow", "keras", "mlflow", "sklearn", "matplotlib.figure"} <= set(sys.modules)
assert not set(NOT_BEFORE_A_FORK) & set(sys.modules)
assert threading.active_count() == 1, threading.enumerate()
from tensorflow.python.eager import context
assert not context.context()._initialized
if os.fork() == 0:
    import keras, polars, numpy
    frame = polars.DataFrame({"x": [1, 2, 3]}).lazy().select(polars.col("x").sum()).collect()
    assert frame.item() == 6
    assert float(keras.ops.sum(keras.ops.ones((300, 300)) @ keras.ops.ones((300, 300)))) == 300**3
    assert float((numpy.ones((300, 300)) @ numpy.ones((300, 300))).sum()) == 300**3
    os._exit(7)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectPaths:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(module, "_NVIDIA", tmp_path / "no driver")
    write_stage(tmp_path, "headrace evaluate digits")
    return ProjectPaths(tmp_path)


def write_stage(root: Path, command: str) -> None:
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"evaluate": {"cmd": command}}}))


def test_stages_find_a_command_that_falls_back_to_the_usual_one(project):
    with preloading(project) as launcher:
        folder = Path(launcher.programs)
        assert folder.stat().st_mode & 0o777 == 0o700
        for arguments in (["evaluate", "--help"], ["ingest", "--help"]):  # neither has a server yet
            shown = subprocess.run(
                [folder / "headrace", *arguments], capture_output=True, text=True, check=True, timeout=60
            ).stdout
            assert f"headrace {arguments[0]} [OPTIONS]" in shown
    assert not folder.exists()


def test_the_launcher_becomes_the_command_and_its_server_goes_with_it(project, tmp_path):
    with preloading(project) as launcher:
        ended = subprocess.run(
            [*launcher.command, "/bin/sh", "-c", "echo $$; exit 3"], stdout=subprocess.PIPE, check=False, timeout=60
        )
    assert ended.returncode == 3
    assert ended.stdout.strip().isdigit()


@pytest.mark.parametrize(
    "prepare",
    [
        lambda root, patch: patch.setenv("RAY_ADDRESS", "head:6379"),
        lambda root, patch: patch.setenv(VARIABLE, "0"),
        lambda root, patch: patch.setattr(sys, "platform", "darwin"),
        lambda root, patch: patch.setattr(module, "_NVIDIA", root),
        lambda root, patch: patch.setattr(resource, "getrlimit", lambda _kind: (2**34, 2**34)),
        lambda root, patch: write_stage(root, "python evaluate.py"),
    ],
    ids=["cluster", "switched off", "system", "GPU", "limit of addresses", "other stages"],
)
def test_stages_start_as_usual(project, tmp_path, monkeypatch, prepare):
    prepare(tmp_path, monkeypatch)
    with preloading(project) as launcher:
        assert launcher is None


def test_another_setting_is_a_mistake(project, monkeypatch):
    monkeypatch.setenv(VARIABLE, "yes")
    with pytest.raises(ParamsError, match="HEADRACE_PRELOAD=yes: expected 0 or 1"), preloading(project):
        pass


@pytest.mark.slow
def test_what_is_imported_before_a_fork_works_after_it():
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", PRELOADED], check=True, timeout=120, env=environment)
