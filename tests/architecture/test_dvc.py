"""dvc.yaml is complete: what a stage reads, whether code, data or parameters, is what makes it run again."""

import ast
from pathlib import Path, PurePosixPath

import pytest
import yaml

from pipelines.params import load_pipeline
from pipelines.paths import PipelinePaths

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
# Only refuse what is wrong, or say what params.yaml may hold: without them a stage would give the same.
CHECKS = {
    "components/errors.py",
    "components/evaluation/gate.py",  # of register it is a dependency; elsewhere params.py checks names with it
    "components/evaluation/settings.py",
    "components/examples/settings.py",
    "components/models/shapes.py",
    "components/settings.py",
    "components/sources/file.py",
    "components/sources/generated_settings.py",
    "components/sources/settings.py",
    "components/training/settings.py",
    "components/transforms/check.py",
    "components/transforms/settings.py",
}
# How files are written and read, and services that hold copies: they change no output.
PLUMBING = {
    "components/mapping.py",
    "pipelines/params.py",
    "pipelines/paths.py",
    "pipelines/schedule.py",
    "pipelines/storage/atomic.py",
    "pipelines/storage/download.py",
    "pipelines/storage/lock.py",
    "pipelines/storage/objects.py",
    "pipelines/storage/origins.py",
}


@pytest.fixture(params=STAGES)
def stage(request) -> str:
    return request.param


def entries(stage: str, *keys: str) -> list[str]:
    found = [entry for key in keys for entry in STAGES[stage].get(key, [])]
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
    files = {name.replace(".", "/") + ".py" for name in names if name.startswith(("components.", "pipelines."))}
    return {file for file in files if (ROOT / file).is_file()}


def reachable(stage: str) -> set[str]:
    """Every file of the project that a stage's module leads to, not looking into what is plumbing."""
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


def test_code_that_decides_what_a_stage_gives_is_a_dependency(stage):
    read = {file for file in reachable(stage) if file.startswith("components/")} - CHECKS
    assert {file for file in read if not is_below(file, entries(stage, "deps"))} == set()


def test_code_that_a_stage_never_reaches_is_no_dependency(stage):
    """An edit of it would train a model again for nothing."""
    code = [entry for entry in entries(stage, "deps") if entry.endswith(".py")]
    assert [file for file in code if file not in reachable(stage)] == []


def test_every_file_that_a_stage_reads_is_a_dependency(stage):
    paths = PipelinePaths(Path(), "${item.pipeline}")
    known = [*entries(stage, "deps"), *entries(stage, "outs", "metrics", "plots")]
    used = set()
    for file in reachable(stage):
        if file.startswith("pipelines/"):
            used |= {chain.split(".")[0] for chain in attribute_chains(file, "paths")}
    artifacts = {getattr(paths, name).as_posix() for name in used - {"root", "pipeline"}}
    artifacts = {path for path in artifacts if not path.startswith(".headrace/")}  # Headrace's own, never versioned
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
