import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from headrace.components.errors import ParamsError
from headrace.pipelines.params import list_pipelines
from headrace.pipelines.project.stage_graph import dvc_target, last_targets, lost_outputs, missing_inputs, stage_graph


@pytest.fixture(scope="module")
def edges_by_dvc(repository: Path) -> set[tuple[str, str]]:
    """What DVC itself makes of dvc.yaml, for all pipelines."""
    command = [Path(sys.executable).with_name("dvc"), "dag", "--dot"]
    lines = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True).stdout.splitlines()
    pairs = [line.strip(" ;").replace('"', "").split(" -> ") for line in lines if "->" in line]
    # Digests of own code, which `headrace` itself writes before it calls DVC, are no stage of a pipeline.
    return {(before, after) for before, after in pairs if before != "own_code"}


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
        ("stages: {a: {matrix: {pipeline: [p], size: [1, 2]}, cmd: x}}", "expected `matrix:"),
        ("stages: {a: {cmd: x, deps: }}", "stages.a.deps: expected a list of paths, found nothing: remove the key"),
        ("stages: {a: {cmd: x, outs: y}}", "stages.a.outs: expected a list of paths, found 'y'"),
        ("stages: {a: [x]}", "stages.a: expected cmd, deps and outs, found ['x']"),
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
    with pytest.raises(ParamsError, match=re.escape(message)):
        stage_graph(tmp_path / "dvc.yaml", "p")


def test_other_pipelines_stages_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(
        "stages: {a: {matrix: {pipeline: [p]}, cmd: x}, b: {matrix: {pipeline: [q]}, cmd: x}}"
    )
    assert stage_graph(tmp_path / "dvc.yaml", "p") == {"a": ()}


OWN = """
stages:
  clean: {cmd: c, deps: [raw.csv], outs: [landing/rows.csv]}
  ingest:
    matrix: {pipeline: "${pipelines}"}
    cmd: i
    deps: [landing]
    outs: ["data/${item.pipeline}/examples"]
  check:
    matrix: {pipeline: "${pipelines}"}
    cmd: c
    deps: ["data/${item.pipeline}/examples"]
    outs: ["checked/${item.pipeline}.json"]
  train:
    matrix: {pipeline: "${pipelines}"}
    cmd: t
    deps: ["data/${item.pipeline}/examples", "checked/${item.pipeline}.json"]
    outs: ["models/${item.pipeline}"]
  upload: {cmd: u, deps: [models/p/model.keras, upload.py], outs: [uploaded.json]}
  announce: {cmd: a, deps: [uploaded.json], outs: [said.txt]}
  compare: {cmd: c, deps: [models/p, models/q], outs: [compared.csv]}
  paper: {cmd: p, deps: [text.md], outs: [paper.pdf]}
  sizes: {matrix: {size: [1, 2]}, cmd: s, outs: ["${item.size}.txt"]}
  each: {foreach: [1, 2], do: {cmd: "echo ${item}"}}
  named: {cmd: n, deps: ["${place}/x"], outs: [n.txt]}
"""


def test_a_stage_of_ones_own_belongs_where_it_is_read_or_reads(tmp_path: Path) -> None:
    file = tmp_path / "dvc.yaml"
    file.write_text(OWN)
    shared = {"clean": (), "ingest": ("clean",), "check": ("ingest",), "train": ("ingest", "check")}
    assert stage_graph(file, "p") == {**shared, "upload": ("train",), "announce": ("upload",)}
    assert stage_graph(file, "q") == shared
    assert next(iter(stage_graph(file, "p"))) == "clean"


def test_a_stage_without_a_matrix_has_its_plain_name_for_dvc(tmp_path: Path) -> None:
    file = tmp_path / "dvc.yaml"
    file.write_text(OWN)
    assert [dvc_target(file, name, pipeline="p") for name in ("clean", "train")] == ["clean", "train@p"]
    assert last_targets(file, "p") == ["announce"]
    assert last_targets(file, "q") == ["train@q"]
    assert missing_inputs(tmp_path, "ingest", pipeline="p") == ["clean"]
    assert missing_inputs(tmp_path, "upload", pipeline="p") == ["train@p"]


def test_lost_outputs_are_those_that_neither_dvc_nor_the_folder_has(tmp_path):
    nowhere = {"cache": False, "persist": True}
    outs = ["a", {"b": {"cache": False}}, {"${item.pipeline}/c": nowhere}, {"${item.pipeline}/d": nowhere}]
    stages = {"register": {"matrix": {"pipeline": ["p"]}, "cmd": "x", "outs": outs}}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "d").touch()
    assert lost_outputs(tmp_path, "register", pipeline="p") == ["p/c"]
