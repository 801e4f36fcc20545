import subprocess
import sys
from pathlib import Path

import pytest

from headrace.components.errors import ParamsError
from headrace.pipelines.params import list_pipelines
from headrace.pipelines.storage.graph import stage_graph


@pytest.fixture(scope="module")
def edges_by_dvc(repository: Path) -> set[tuple[str, str]]:
    """What DVC itself makes of dvc.yaml, for all pipelines."""
    command = [Path(sys.executable).with_name("dvc"), "dag", "--dot"]
    lines = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True).stdout.splitlines()
    pairs = [line.strip(" ;").replace('"', "").split(" -> ") for line in lines if "->" in line]
    return {(before, after) for before, after in pairs}


def test_edges_are_those_that_dvc_sees(repository: Path, edges_by_dvc: set[tuple[str, str]]) -> None:
    for pipeline in list_pipelines(repository / "params.yaml"):
        graph = stage_graph(repository / "dvc.yaml", pipeline)
        ours = {(f"{before}@{pipeline}", f"{stage}@{pipeline}") for stage, ups in graph.items() for before in ups}
        assert ours == {edge for edge in edges_by_dvc if edge[1].endswith(f"@{pipeline}")}


def test_stages_come_in_an_order_in_which_they_can_run(repository: Path) -> None:
    graph = stage_graph(repository / "dvc.yaml", "digits")
    assert list(graph) == ["ingest", "normalize", "split", "train", "evaluate", "register"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("stages: [", "line 2: not YAML: "),
        ("stage: {}", "expected `stages`"),
        ("stages: {a: {matrix: {size: [1, 2]}, cmd: x}}", "expected `matrix:"),
        ("stages: {a: {matrix: {pipeline: [p]}, cmd: x, outs: ['${other}']}}", "only ${item.pipeline}"),
        (  # each reads what the other writes
            "stages: {a: {matrix: {pipeline: [p]}, deps: [y], outs: [x]},"
            " b: {matrix: {pipeline: [p]}, deps: [x], outs: [y]}}",
            "wait for each other",
        ),
    ],
)
def test_a_broken_dvc_yaml_is_explained(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "dvc.yaml").write_text(content)
    with pytest.raises(ParamsError, match=message.replace("$", r"\$").replace("{", r"\{").replace("}", r"\}")):
        stage_graph(tmp_path / "dvc.yaml", "p")


def test_other_pipelines_stages_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(
        "stages: {a: {matrix: {pipeline: [p]}, cmd: x}, b: {matrix: {pipeline: [q]}, cmd: x}}"
    )
    assert stage_graph(tmp_path / "dvc.yaml", "p") == {"a": ()}
