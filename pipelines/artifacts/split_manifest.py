"""manifest.json: how many examples each split has, and the digests by which the splits are known."""

from typing import ClassVar, Literal

from headrace.components.schema.settings import Settings
from headrace.pipelines.artifacts.artifact import Artifact, Omittable, read_artifact
from headrace.pipelines.paths import PipelinePaths


class SplitSummary(Settings):
    """One split; `classes` counts the examples of each class by its index, of a category."""

    examples: int
    digest: str
    classes: Omittable[dict[str, int]] = None


class OverlapCounts(Settings):
    """Rows that are in training and also held out, by id and by content, and how many were left out for it."""

    by_id: int
    by_content: int
    left_out: int


class SplitManifest(Artifact):
    """All splits of a pipeline; `digest` is of all of them together."""

    unversioned: ClassVar[int] = 1  # files written before there were versions

    format_version: Literal[1] = 1
    pipeline: str
    seed: int
    digest: str
    overlap: OverlapCounts
    splits: dict[str, SplitSummary]


def read_manifest(paths: PipelinePaths) -> SplitManifest:
    """manifest.json of a pipeline's splits; raises DataError."""
    return read_artifact(paths.manifest, SplitManifest, command=f"headrace split {paths.pipeline}")
