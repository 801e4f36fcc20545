"""dvc.yaml is complete: what a stage reads, whether code, data or parameters, is what makes it run again."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
import yaml

from headrace.pipelines.headrace_lock import lock_text, pinned
from headrace.pipelines.params import load_pipeline
from headrace.pipelines.paths import PipelinePaths

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
OWN_CODE = {"own_code": STAGES.pop("own_code")}  # digests for DVC alone, whose output is read as parameters
# Services that hold copies, and how files are written: what a stage reads is not decided there.
PLUMBING = {
    "components/mapping.py",
    "components/redaction.py",
    "pipelines/params.py",
    "pipelines/paths.py",
    "pipelines/schedule.py",
    "components/files/atomic.py",
    "pipelines/fetching/download.py",
    "pipelines/host/file_lock.py",
    "pipelines/object_store/objects.py",
    "pipelines/fetching/file_servers.py",
}


@pytest.fixture(params=STAGES)
def stage(request) -> str:
    return request.param


def entries(stage: str, *keys: str) -> list[str]:
    """The names under some keys; parameters that are in another file than params.yaml are left out."""
    found = [entry for key in keys for entry in STAGES[stage].get(key, [])]
    elsewhere = {"headrace.lock", ".headrace/code.json"}
    found = [entry for entry in found if not (isinstance(entry, dict) and elsewhere & entry.keys())]
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in found]


def is_below(path: str, entries: list[str]) -> bool:
    return any(PurePosixPath(path).is_relative_to(entry) for entry in entries)


def imported(file: str) -> set[str]:
    """The project's own files that a file imports, also inside its functions."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    own = {name.removeprefix("headrace.") for name in names if name.startswith("headrace.")}
    files = {name.replace(".", "/") + ".py" for name in own}
    return {file for file in files if (ROOT / file).is_file()}


def reachable(stage: str) -> set[str]:
    """Every file of the project that a stage's module leads to, without what is plumbing."""
    found: set[str] = set()
    waiting = {f"pipelines/stages/{stage}.py"}
    while waiting:
        file = waiting.pop()
        found.add(file)
        waiting |= imported(file) - found - PLUMBING
    return found


def attribute_chains(file: str, variable: str) -> set[str]:
    """`a.b` for each `variable.a.b` of a file, the longest ones only."""
    chains, parts_of_others = set(), set()
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        names, inner = [], node
        while isinstance(inner, ast.Attribute):
            names.insert(0, inner.attr)
            inner = inner.value
        if names and isinstance(inner, ast.Name) and inner.id == variable:
            chains.add(".".join(names))
            parts_of_others.add(".".join(names[:-1]))
    return chains - parts_of_others


def test_code_and_packages_count_by_their_versions_alone(stage):
    """A comment must not train a model again, and another TensorFlow must."""
    assert {"headrace.lock": [stage]} in STAGES[stage]["params"]
    assert [entry for entry in entries(stage, "deps") if not entry.startswith(("data/", "models/", "reports/"))] == []


def test_headrace_lock_says_what_the_requirements_pin():
    assert lock_text(pinned(ROOT / "requirements.lock")) == (ROOT / "headrace.lock").read_text(encoding="utf-8"), (
        "run `make lock`, or `headrace upgrade --from requirements.lock`"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "stale"),
    [
        ("tensorflow", {"normalize", "train", "evaluate"}),
        ("polars", {"ingest", "normalize", "split", "evaluate"}),
        ("numerics", set(STAGES)),
    ],
)
def test_another_version_makes_the_stages_stale_that_it_decides(tmp_path, changed, stale):
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    reduced = {"pipelines": ["linear"], "linear": content["linear"]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(reduced), encoding="utf-8")
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    lock = (ROOT / "headrace.lock").read_text(encoding="utf-8")
    (tmp_path / "headrace.lock").write_text(lock, encoding="utf-8")
    for path in sorted({one for stage in STAGES for one in entries(stage, "deps", "outs", "metrics", "plots")})[::-1]:
        file = tmp_path / path.replace("${item.pipeline}", "linear")
        if not file.exists():  # as a folder is once what lies in it was written
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(path, encoding="utf-8")
    (tmp_path / ".headrace").mkdir()
    (tmp_path / ".headrace" / "code.json").write_text(
        '{"linear": {"ingest": {}, "normalize": {}, "train": {}}}', encoding="utf-8"
    )
    dvc(tmp_path, "init", "--no-scm", "--quiet")
    dvc(tmp_path, "commit", "--force", "--quiet")
    assert json.loads(dvc(tmp_path, "status", "--json")).keys() == OWN_CODE.keys()
    (tmp_path / "headrace.lock").write_text(re.sub(rf"(\b{changed}: ).*", r"\g<1>99", lock), encoding="utf-8")
    found = json.loads(dvc(tmp_path, "status", "--json")).keys()
    assert found - OWN_CODE.keys() == {f"{stage}@linear" for stage in stale}


def dvc(folder: Path, *arguments: str) -> str:
    command = [str(Path(sys.executable).with_name("dvc")), *arguments]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=120)
    return ended.stdout


def test_every_file_that_a_stage_reads_is_a_dependency(stage):
    paths = PipelinePaths(Path(), "${item.pipeline}")
    known = [*entries(stage, "deps"), *entries(stage, "outs", "metrics", "plots")]
    used = set()
    for file in reachable(stage):
        if file.startswith("pipelines/"):
            used |= {chain.split(".")[0] for chain in attribute_chains(file, "paths")}
    artifacts = {getattr(paths, name).as_posix() for name in used - {"root", "pipeline"}}
    artifacts = {path for path in artifacts if not path.startswith(".headrace/")}  # Headrace's own, never versioned
    artifacts -= {paths.dvc_view.as_posix()}  # which DVC refuses as an output
    assert artifacts, "the test finds what a stage reads by the name `paths`"
    assert {path for path in artifacts if not is_below(path, known)} == set()


def test_every_parameter_that_a_stage_reads_is_declared(stage):
    declared = [entry.removeprefix("${item.pipeline}.") for entry in entries(stage, "params")]
    used = {
        chain.replace("register_", "register") for chain in attribute_chains(f"pipelines/stages/{stage}.py", "pipeline")
    }
    read = {chain for chain in used if chain not in ("name", "name.title")}
    assert read, "the test finds what a stage reads by the name `pipeline`"
    assert {chain for chain in read if not any(f"{chain}.".startswith(f"{entry}.") for entry in declared)} == set()


def test_every_declared_parameter_must_be_in_params_yaml():
    """DVC refuses a parameter that is not there, in the middle of a run: headrace must refuse it first."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for pipeline in content["pipelines"]:
        load_pipeline(ROOT / "params.yaml", pipeline)
        for stage in STAGES:
            for entry in entries(stage, "params"):
                section = content
                for part in entry.replace("${item.pipeline}", pipeline).split("."):
                    assert part in section, f"{stage}: {entry}"
                    section = section[part]


def test_dvc_finds_one_dvc_yaml(repository):
    """It reads every file of that name, wherever it lies: a second one is a second set of stages."""
    names = subprocess.run(["git", "ls-files"], cwd=repository, capture_output=True, text=True, check=True).stdout
    assert [name for name in names.splitlines() if name.rsplit("/", 1)[-1] == "dvc.yaml"] == ["dvc.yaml"]
