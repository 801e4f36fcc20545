"""JSON files of the artifact tree: each has a version, and what can't be read is named with its remedy."""

import json

import pytest

from headrace.components.errors import DataError
from headrace.pipelines.artifacts.artifact import read_artifact, write_artifact
from headrace.pipelines.artifacts.ingest_report import FileRecord, IngestReport
from headrace.pipelines.artifacts.split_manifest import OverlapCounts, SplitManifest, SplitSummary, read_manifest
from headrace.pipelines.paths import PipelinePaths

MANIFEST = SplitManifest(
    pipeline="digits",
    seed=1,
    digest="d" * 64,
    overlap=OverlapCounts(by_id=0, by_content=1, left_out=1),
    splits={"train": SplitSummary(examples=3, digest="a" * 64, classes={"0": 1, "1": 2})},
)
REPORT = IngestReport(
    rows_read=3,
    rows_rejected=0,
    rows_kept=3,
    rows_left_out=0,
    duplicate_rows=0,
    rejected_by_reason={},
    files=(FileRecord(name="a.csv", bytes=7, sha256="f" * 64),),
)


@pytest.fixture
def paths(tmp_path) -> PipelinePaths:
    return PipelinePaths(tmp_path, "digits")


@pytest.mark.parametrize("artifact", [MANIFEST, REPORT], ids=["manifest", "ingest report"])
def test_what_is_written_is_read(artifact, tmp_path):
    write_artifact(tmp_path / "file.json", artifact)
    assert read_artifact(tmp_path / "file.json", type(artifact), command="headrace split digits") == artifact


@pytest.mark.parametrize("artifact", [MANIFEST, REPORT], ids=["manifest", "ingest report"])
def test_a_file_of_before_there_were_versions_is_read(artifact, tmp_path):
    content = artifact.model_dump(mode="json", exclude={"format_version"}, exclude_none=True)
    (tmp_path / "file.json").write_text(json.dumps(content))
    assert read_artifact(tmp_path / "file.json", type(artifact), command="headrace split digits") == artifact


def test_what_has_no_value_is_left_out(tmp_path):
    write_artifact(tmp_path / "file.json", REPORT)
    assert not {"train_rows", "test_rows", "files_left_out"} & json.loads((tmp_path / "file.json").read_text()).keys()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "No such file"),
        ('{"digest": ', "is damaged"),
        ("[]", "expected format_version 1, found none"),
        ('{"format_version": 2}', "expected format_version 1, found 2: another version of Headrace wrote it"),
        ('{"format_version": 1, "digest": "d"}', "is damaged: pipeline: Field required"),
    ],
    ids=["absent", "cut short", "a list", "of a later version", "without a field"],
)
def test_a_manifest_that_can_not_be_read_names_the_command_that_writes_it(paths, text, problem):
    if text is not None:
        paths.manifest.parent.mkdir(parents=True)
        paths.manifest.write_text(text)
    with pytest.raises(DataError, match=rf"{problem}.*`headrace split digits` writes it"):
        read_manifest(paths)
