"""A stranger's project: Headrace installed from its wheel, and no source tree about."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

PROGRAMS = ("airflow", "dvc", "mlflow", "ray")


@dataclass(frozen=True)
class Installation:
    """A virtual environment with the wheel; its other packages are those of the environment that runs the tests."""

    folder: Path
    home: Path

    def run(self, root: Path, *command: str, variables: Mapping[str, str] = {}) -> str:
        ended = self.attempt(root, *command, variables=variables)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    def attempt(self, root: Path, *command: str, variables: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))}
        paths = {"PATH": os.pathsep.join([str(self.folder / "bin"), os.environ["PATH"]]), "HOME": str(self.home)}
        return subprocess.run(
            [str(self.folder / "bin" / command[0]), *command[1:]],
            cwd=root,
            env={**kept, **paths, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )


@pytest.fixture(scope="module")
def installation(repository, tmp_path_factory) -> Installation:
    folder, home = tmp_path_factory.mktemp("installation"), tmp_path_factory.mktemp("home")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=repository, check=True, capture_output=True, timeout=120)
    place = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True, timeout=120)
    [wheel] = folder.glob("*.whl")
    uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--offline", "--no-deps"]
    subprocess.run([*uv, "--python", str(place / "bin" / "python"), str(wheel)], check=True, timeout=120)
    [packages] = place.glob("lib/python*/site-packages")
    (packages / "packages.pth").write_text(str(next(Path(sys.prefix).glob("lib/python*/site-packages"))))
    for name in PROGRAMS:
        (place / "bin" / name).symlink_to(Path(sys.executable).with_name(name))
    (home / ".gitconfig").write_text("[user]\n\tname = Test\n\temail = test@localhost\n")
    return Installation(place, home)


def shorten(root: Path) -> None:
    """Two epochs, which reach 0.9."""
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["digits"]["train"]["epochs"] = 2
    params["digits"]["register"]["thresholds"]["accuracy"]["minimum"] = 0.8
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_repository_with_folders_and_stages_of_its_own(installation, tmp_path):
    """Names that Headrace's own code has, on the path as Airflow's runs have them; stages before, between and after."""
    root = tmp_path / "theirs"
    for name in ("components", "pipelines"):
        (root / name).mkdir(parents=True)
        (root / name / "__init__.py").write_text("raise RuntimeError('theirs')\n")
    (root / "dvc.yaml").write_text(
        textwrap.dedent("""\
        stages:
          note:
            cmd: date > note.txt
            outs: [note.txt]
          count:
            matrix: {pipeline: "${pipelines}"}
            cmd: ls data/${item.pipeline}/splits | wc -l > counts-${item.pipeline}.txt
            deps: ["data/${item.pipeline}/splits"]
            outs: ["counts-${item.pipeline}.txt"]
          announce:
            cmd: cat reports/digits/registration.json > announced.json
            deps: [reports/digits/registration.json]
            outs: [announced.json]
        """)
    )
    assert "dvc.yaml is there already" in installation.attempt(root, "headrace", "init").stderr
    stages = yaml.safe_load((root / ".headrace" / "init" / "dvc.yaml").read_text())["stages"]
    stages["ingest"]["deps"] = ["note.txt"]
    stages["train"]["deps"].append("counts-${item.pipeline}.txt")
    own = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": own | stages}))
    installation.run(root, "headrace", "init")
    shorten(root)
    said = installation.run(root, "headrace", "run", "digits", variables={"PYTHONPATH": str(root)})
    order = [line.split()[0] for line in said.splitlines() if line.endswith("| running")]
    assert order[0] == "note"
    assert order.index("split") < order.index("count") < order.index("train")
    assert order[-1] == "announce"
    assert json.loads((root / "announced.json").read_text())["alias"] == "champion"
    listed = installation.run(root, "headrace", "list", variables={"PYTHONPATH": str(root)})
    assert "stale" not in listed
    assert {"note", "count", "announce"} <= set(listed.split())


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_every_way_of_running_works_in_a_new_project(installation, tmp_path):
    root = tmp_path / "an empty folder"
    root.mkdir()
    installation.run(root, "headrace", "init")
    shorten(root)
    assert "registered     version 1, champion" in installation.run(root, "headrace", "run", "digits")
    assert "up to date" in installation.run(root, "dvc", "repro")
    for command in (["add", "--all"], ["commit", "--quiet", "--message", "A project"]):
        subprocess.run(["git", *command], cwd=root, check=True, env={**os.environ, "HOME": str(installation.home)})
    installation.run(root, "dvc", "exp", "run", "--name", "other", "-S", "digits.train.seed=2", "evaluate@digits")
    assert "other" in installation.run(root, "dvc", "exp", "show", "--csv")
    rows = "".join(f"{number},{number % 7},{3 * number + number % 7}\n" for number in range(400))
    (root / "rows.csv").write_text("a,b,c\n" + rows)
    installation.run(root, "headrace", "new", "sums", "--csv", "rows.csv", "--target", "c")
    assert "sums" in installation.run(root, "headrace", "list")
    subprocess.run(["git", "checkout", "--quiet", "params.yaml"], cwd=root, check=True)
    airflow = {"AIRFLOW_HOME": str(tmp_path / "airflow"), "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags")}
    airflow |= {"AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    installation.run(root, "airflow", "db", "migrate", variables=airflow)
    installation.run(root, "airflow", "dags", "test", "headrace_digits", variables=airflow)
    [run] = (root / ".headrace" / "workspaces").glob("*/reports/digits/registration.json")
    assert json.loads(run.read_text())["version"] is not None
