"""The two programs of examples/from_plain_keras, run as a user runs them."""

import difflib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLAIN, OURS = "plain_keras.py", "with_headrace.py"


@pytest.fixture
def folder(repository: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(repository / "examples" / "from_plain_keras", tmp_path / "example"))


def accuracy(folder: Path, *command: str) -> float:
    environment = {**os.environ, "HOME": str(folder.parent), "TF_CPP_MIN_LOG_LEVEL": "3"}
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=250, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    [*_, found] = re.findall(r"validation accuracy (\d\.\d+)", ended.stdout)
    return float(found)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_both_learn_the_digits_and_the_second_by_two_processes(folder):
    launcher = str(Path(sys.executable).with_name("headrace"))

    plain = accuracy(folder, sys.executable, PLAIN)
    ours = accuracy(folder, launcher, "launch", "-n", "2", OURS)  # Ray's way is in tests/pipelines/fit

    assert plain > 0.85
    assert ours > 0.85


def test_the_model_is_the_same_and_what_differs_is_short(repository):
    texts = [
        (repository / "examples" / "from_plain_keras" / name).read_text(encoding="utf-8") for name in (PLAIN, OURS)
    ]
    models = [re.search(r"def build_model.*?return model\n", text, re.DOTALL)[0] for text in texts]
    removed = [
        line
        for line in difflib.ndiff(*(text.splitlines() for text in texts))
        if line.startswith("- ") and line[2:].strip()
    ]

    assert models[0] == models[1]
    assert len(removed) <= 10
