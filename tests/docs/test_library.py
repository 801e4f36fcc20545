"""The programs of docs/library.md, run by two processes as a reader runs them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

PROGRAM = re.compile(r'^```python\n("""(\w+\.py)"""\n.*?)^```$', re.DOTALL | re.MULTILINE)


def write_data(folder: Path, name: str) -> None:
    """The files that a program of the page reads."""
    draw = np.random.default_rng(0)
    for split, rows in (("train", 1000), ("validation", 100)):
        x = draw.normal(size=(rows, 3)).astype(np.float32)
        y = x.sum(axis=1, keepdims=True)
        match name:
            case "train.py" if split == "train":
                table = {"age": x[:, 0], "fare": x[:, 1], "survived": (x[:, 0] > 0).astype(np.int64)}
                pl.DataFrame(table).write_parquet(folder / "passengers.parquet")
            case "from_files.py":
                (folder / "batches" / split).mkdir(parents=True)
                for number, places in enumerate(np.array_split(np.arange(rows), rows // 50)):
                    np.savez(folder / "batches" / split / f"{number:03d}.npz", x=x[places], y=y[places])
            case "from_tf_data.py":
                np.savetxt(folder / f"{split}.csv", np.hstack([x, y]), delimiter=",", fmt="%.6f")


def programs(repository: Path) -> dict[str, str]:
    text = (repository / "docs" / "library.md").read_text(encoding="utf-8")
    return {name: program for program, name in PROGRAM.findall(text)}


def test_the_page_has_these_programs(repository):
    assert list(programs(repository)) == ["train.py", "from_files.py", "from_tf_data.py"]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["train.py", "from_files.py", "from_tf_data.py"])
def test_a_program_trains(name, repository, tmp_path):
    (tmp_path / name).write_text(programs(repository)[name], encoding="utf-8")
    write_data(tmp_path, name)
    launcher = str(Path(sys.executable).with_name("headrace"))

    ended = subprocess.run(
        [launcher, "launch", "-n", "2", name],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    [*_, figures] = re.findall(r"\((\d[^()]*)\)\n", ended.stdout)
    first, *_, last = [float(one) for one in figures.split(",") if one.strip()]
    assert first != last
