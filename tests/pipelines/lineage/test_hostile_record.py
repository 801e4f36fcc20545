"""Records of somebody else's, or damaged: who may write to the registry decides neither what git does nor what runs."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from headrace.components.errors import DataError, ServiceError
from headrace.pipelines.artifacts.provenance_record import Provenance, parse_provenance
from headrace.pipelines.lineage.chain import Subject
from headrace.pipelines.lineage.named_model import NamedVersion
from headrace.pipelines.lineage.recording import gather
from headrace.pipelines.lineage.reproduction import _apply_changes
from headrace.pipelines.params import load_pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.tracking.registry import Version

MD5 = "0123456789abcdef" * 2


@pytest.fixture
def project(empty_project) -> Any:
    return empty_project


@pytest.fixture
def record(project) -> dict[str, Any]:
    """A record as JSON has it, of a pipeline whose stages have not run."""
    root = project.root
    file = gather("split", load_pipeline(root / "params.yaml", "line"), PipelinePaths(root, "line"))
    content = json.loads(file.read_text())
    content["locked"] = {"ingest@line": {"cmd": "headrace ingest line", "outs": [{"path": "data/line", "md5": MD5}]}}
    return dict(content)


def parsed(record: dict[str, Any]) -> Provenance:
    return parse_provenance(json.dumps(record).encode(), of="line:1")


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("tree.commit", "--output=overwritten", "tree.commit: String should match pattern"),
        ("tree.commit", "HEAD", "tree.commit: String should match pattern"),
        ("locked.ingest@line", "--force", "locked.ingest@line: Input should be an object"),
        ("locked.ingest@line.outs.0.md5", "../../../../etc/passwd", "outs.0.md5: String should match pattern"),
        ("section", {}, "section: description: Field required"),
        ("section.ingest.source", "csv", "section: ingest.source: Input should be a valid dictionary"),
        ("section.normalize.transforms", ["x"], "section: normalize.transforms: Input should be a valid"),
        ("stages", {"rm": None}, "no stages: rm"),
        ("format_version", 2, "format_version: Input should be 1"),
        ("of_a_later_headrace", 1, "of_a_later_headrace: Extra inputs are not permitted"),
    ],
)
def test_what_no_headrace_has_written_is_refused_by_its_place(record, place, value, said):
    assert parsed(record).pipeline == "line"
    inner = record
    *parents, last = place.split(".")
    for one in parents:
        inner = inner[int(one) if one.isdecimal() else one]
    inner[last] = value
    with pytest.raises(DataError, match="of line:1 is damaged, or of another version of Headrace: ") as error:
        parsed(record)
    assert said in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"format_version": 1}', "\ud800"])
def test_what_is_no_record_is_refused(text):
    with pytest.raises(DataError, match="damaged, or of another version"):
        parse_provenance(text.encode(errors="surrogatepass"), of="line:1")


def added(name: str, text: str, mode: str = "100644") -> str:
    head = f"diff --git a/{name} b/{name}\nnew file mode {mode}\n--- /dev/null\n+++ b/{name}\n@@ -0,0 +1 @@\n+{text}\n"
    return head if mode == "100644" else f"{head}\\ No newline at end of file\n"


def apply(project, record: dict[str, Any], tmp_path: Path, changes: str, **options: bool) -> Path:
    """A clone of the project with the changes of a record."""
    workspace = tmp_path / "workspace"
    subprocess.run(["git", "clone", "--quiet", str(project.root), str(workspace)], check=True)
    provenance = parsed({**record, "changes": changes})
    subject = Subject(project.root, NamedVersion("line", Version(1, "a", {})), provenance)
    _apply_changes(workspace, subject, provenance, **{"with_changed_code": False, **options})
    return workspace


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (added("models/line.py", "import os"), "models/line.py"),
        (added("models/line.py", "import os").split("\n", 2)[2], "models/line.py"),  # without git's own lines
        (added("models/line.py", "import os").replace("git a/models/line.py", "git a/params.yaml"), "models/line.py"),
        (added("data/line", "/etc", mode="120000"), "data/line"),  # a link, through which a stage would write elsewhere
        (added("params.yaml", "x") + added("dvc.yaml", "x"), "dvc.yaml"),
    ],
    ids=["code", "plain", "another name in its head", "link", "stages"],
)
def test_what_could_run_is_named_and_applied_for_who_asks_for_it_alone(project, record, tmp_path, changes, named):
    for name in ("params.yaml", "dvc.yaml"):
        if f"b/{name}" in changes:
            project.git("rm", "--quiet", name)
    project.git("commit", "--quiet", "--allow-empty", "--message", "Without")
    with pytest.raises(DataError, match=f"line:1 was trained with changes to {named} that this project has not"):
        apply(project, record, tmp_path, changes)


@pytest.mark.parametrize("name", ["../outside.py", ".git/hooks/post-checkout", "/tmp/outside.py"])
def test_nothing_is_written_outside_of_the_workspaces_files(project, record, tmp_path, name):
    with pytest.raises(ServiceError, match=r"invalid path|unrecognized input|not allowed"):
        apply(project, record, tmp_path, added(name, "import os"), with_changed_code=True)


def test_settings_and_code_that_the_project_has_are_applied(project, record, tmp_path):
    project.change(epochs=3)
    (project.root / "models").mkdir()
    (project.root / "models" / "line.py").write_text("import keras\n")
    changes = project.git("diff", "--unified=0") + added("models/line.py", "import keras")
    workspace = apply(project, record, tmp_path, changes)
    assert (workspace / "params.yaml").read_text() == (project.root / "params.yaml").read_text()
    assert (workspace / "models" / "line.py").read_text() == "import keras\n"


def test_a_tag_that_is_no_number_is_no_metric():
    tags = {
        "metric.loss": "0.5",
        "metric.note": "good",
        "interval.loss": "0.1 0.9",
        "interval.r2": "0.1",
        "metric.": "",
    }
    version = Version(1, "a", tags)
    assert (version.metrics, version.intervals) == ({"loss": 0.5}, {"loss": (0.1, 0.9)})
