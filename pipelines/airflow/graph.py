"""What DAG files are made from: the pipelines of params.yaml, each with its graph from dvc.yaml."""

from collections.abc import Iterator
from pathlib import Path

from pipelines.params import Pipeline, list_pipelines, load_pipeline
from pipelines.paths import ProjectPaths
from pipelines.storage.graph import StageGraph, stage_graph


def pipelines_with_graphs(root: Path) -> Iterator[tuple[Pipeline, StageGraph]]:
    """Yield every pipeline with its stages, each with the stages that it waits for. Reads two small files, no more."""
    project = ProjectPaths(root)
    for name in list_pipelines(project.params):
        yield load_pipeline(project.params, name), stage_graph(project.dvc, name)
