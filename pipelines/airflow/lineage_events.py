"""What a stage read and wrote, for OpenLineage: its listener in Airflow asks operators, where it is configured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.project.dvc_records import dependencies, locked_stages, outputs
from headrace.pipelines.project.git_tree import git_status
from headrace.pipelines.project.stage_graph import dvc_target

Files = Mapping[str, str]  # DVC's MD5 by path


def read_and_written(workspace: Path, stage: str, *, pipeline: str) -> tuple[str, Files, Files]:
    """Namespace of a project's files, the repository that its workspace is a clone of; what a stage read and wrote."""
    target = dvc_target(ProjectPaths(workspace).dvc, stage, pipeline=pipeline)
    found = locked_stages(workspace, pipeline)
    entry = {target: found[target]} if target in found else {}
    namespace = git_status(workspace).tree.remote or str(workspace)
    return namespace, dependencies(entry), outputs(entry)


def operator_lineage(namespace: str, read: Files, written: Files) -> Any:
    """The same as OpenLineage's provider takes it: a dataset for each path, its MD5 as version."""
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import Dataset
    from openlineage.client.facet_v2 import dataset_version_dataset

    def datasets(files: Files) -> list[Dataset]:
        return [
            Dataset(namespace, path, facets={"version": dataset_version_dataset.DatasetVersionDatasetFacet(md5)})
            for path, md5 in files.items()
        ]

    return OperatorLineage(inputs=datasets(read), outputs=datasets(written))
