"""`headrace init`: a project where there is none, and nothing changed where there is something."""

import subprocess
from pathlib import Path

import pytest
import yaml

from headrace.components.errors import ParamsError
from headrace.pipelines.commands import init as module
from headrace.pipelines.commands.init import Example, make_project
from headrace.pipelines.params import list_pipelines, load_pipeline
from headrace.pipelines.project import dvc
from headrace.pipelines.project.stage_graph import stage_graph

FILES = ("params.yaml", "dvc.yaml", "headrace.lock", "dags/headrace_pipelines.py", ".gitignore", "README.md")
TEMPLATES = Path(module.__file__).with_name("project_files")


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


def contents(root: Path) -> dict[str, bytes]:
    files = [file for file in root.rglob("*") if file.is_file() and ".git/" not in file.as_posix()]
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in files if ".headrace/" not in str(file)}


def test_an_empty_folder_becomes_a_project(tmp_path, capsys):
    root = tmp_path / "a new one"
    assert make_project(root, Example.DIGITS) == 0
    assert [name for name in FILES if not (root / name).is_file()] == []
    assert load_pipeline(root / "params.yaml", "digits").name == "digits"
    assert list(stage_graph(root / "dvc.yaml", "digits"))[-1] == "register"
    assert "ingest@digits" in dvc.status(root)
    assert (root / ".headrace").stat().st_mode & 0o077 == 0
    assert f"next:\n  cd {root}\n  headrace run digits" in capsys.readouterr().out


def test_once_more_changes_nothing(tmp_path, capsys):
    make_project(tmp_path, Example.TITANIC)
    before = contents(tmp_path)
    assert make_project(tmp_path, Example.DIGITS) == 0
    assert contents(tmp_path) == before
    assert "nothing was missing" in capsys.readouterr().out


def test_without_an_example_there_is_no_pipeline_and_dvc_can_read_it(tmp_path):
    assert make_project(tmp_path, Example.NONE) == 0
    assert list_pipelines(tmp_path / "params.yaml") == ()
    assert dvc.status(tmp_path) == {}


def test_what_is_in_the_way_stays_and_is_named(tmp_path, capsys):
    git(tmp_path, "init", "--quiet")
    own = {
        "params.yaml": "lr: 0.1\n",
        "dvc.yaml": "stages:\n  train:\n    cmd: python train.py\n    deps: [train.py]\n",
        ".gitignore": "*.pyc\n",
        "README.md": "# Ours\n",
        "dags/headrace_pipelines.py": "print('ours')\n",
        "pipelines/__init__.py": "",
        "components/__init__.py": "",
    }
    for name, text in own.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert make_project(tmp_path, Example.DIGITS) == 2
    assert {name: (tmp_path / name).read_text() for name in own} == own
    said = capsys.readouterr().err
    assert "params.yaml is there already and was not changed. Add the list `pipelines`" in said
    assert (
        "dvc.yaml is there already and was not changed. Rename your own train, and add train, own_code, ingest" in said
    )
    assert ".gitignore is there already and was not changed. Add .headrace/, /data/*/raw/" in said
    assert "Call project_dags as in: .headrace/init/dags/headrace_pipelines.py" in said
    assert "README" not in said
    _add_by_hand(tmp_path, own)
    assert make_project(tmp_path, Example.DIGITS) == 0


def _add_by_hand(root: Path, own: dict[str, str]) -> None:
    proposed = root / ".headrace" / "init"
    for name in ("params.yaml", ".gitignore"):
        (root / name).write_text(own[name] + (proposed / name).read_text())
    ours = yaml.safe_load((proposed / "dvc.yaml").read_text())["stages"]
    renamed = yaml.safe_load(own["dvc.yaml"].replace("train:", "own_train:", 1))["stages"]
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": renamed | ours}))
    (root / "dags" / "headrace_pipelines.py").write_text((proposed / "dags" / "headrace_pipelines.py").read_text())


def test_stages_of_an_older_version_are_named_by_what_they_lack(tmp_path, capsys):
    make_project(tmp_path, Example.DIGITS)
    content = yaml.safe_load((tmp_path / "dvc.yaml").read_text())
    content["stages"]["ingest"]["params"] = ["${item.pipeline}.ingest"]
    outs = content["stages"]["evaluate"]["outs"]
    without = [one for one in outs if "outcomes.parquet" not in str(one)]
    content["stages"]["evaluate"]["outs"] = without
    assert len(without) == len(outs) - 1
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(content))
    assert make_project(tmp_path, Example.DIGITS) == 2
    said = "Give ingest, evaluate the `params`, `deps` and `outs` of the same stage in: .headrace/init/dvc.yaml"
    assert said in capsys.readouterr().err
    content["stages"]["ingest"]["params"] += [{"headrace.lock": ["ingest"]}, "own.yaml"]
    content["stages"]["evaluate"]["outs"] = outs
    content["stages"]["ingest"]["params"] += [{".headrace/code.json": ["${item.pipeline}.ingest"]}]
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(content))
    assert make_project(tmp_path, Example.DIGITS) == 0


def test_a_folder_within_a_repository_is_refused(tmp_path):
    git(tmp_path, "init", "--quiet")
    with pytest.raises(ParamsError, match="a project is the top of its repository"):
        make_project(tmp_path / "within", Example.DIGITS)
    assert list((tmp_path / "within").iterdir()) == []


def test_a_remote_that_is_missing_is_named(tmp_path, capsys):
    git(tmp_path, "init", "--quiet")
    subprocess.run([dvc._dvc(), "init", "--quiet"], cwd=tmp_path, check=True)
    assert make_project(tmp_path, Example.DIGITS) == 2
    assert "DVC has no default remote" in capsys.readouterr().err


def test_code_of_ones_own_beside_models_is_not_ignored(tmp_path):
    make_project(tmp_path, Example.DIGITS)
    for name in ("models/churn.py", "data/mapping.csv", "models/digits/model.keras", "data/digits/splits/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    seen = git(tmp_path, "ls-files", "--others", "--exclude-standard").splitlines()
    assert {"models/churn.py", "data/mapping.csv"} <= set(seen)
    assert not {"models/digits/model.keras", "data/digits/splits/x"} & set(seen)


def test_this_repository_is_such_a_project(repository):
    params = yaml.safe_load((repository / "params.yaml").read_text())
    for name in ("digits", "titanic"):
        [(found, section)] = yaml.safe_load((TEMPLATES / f"{name}.yaml").read_text()).items()
        assert found == name
        assert section == {key: value for key, value in params[name].items() if key != "results"}
    links = (
        ("dvc_stages", "dvc.yaml"),
        ("headrace_pipelines.py", "dags/headrace_pipelines.py"),
        ("dvc_config", ".dvc/config"),
    )
    for name, place in links:
        assert (TEMPLATES / name).resolve() == repository / place
    assert module._lacks_lines((repository / ".gitignore").read_text()) == ""
