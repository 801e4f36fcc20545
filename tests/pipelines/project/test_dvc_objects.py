"""Objects of real DVC stores: where they are, what they hold, and what is nowhere."""

import shutil
from pathlib import Path

import pytest
import yaml

from headrace.components.errors import DataError
from headrace.pipelines.project.command_lines import dvc, git
from headrace.pipelines.project.dvc_objects import DvcObjects
from headrace.pipelines.project.dvc_records import dependencies, locked_stages, outputs

PARTS, MODEL = "parts-${item.pipeline}", "model-${item.pipeline}"
STAGES = {
    "split": {"cmd": f"mkdir {PARTS} && echo 1 > {PARTS}/a && echo 2 > {PARTS}/b", "deps": ["rows"], "outs": [PARTS]},
    "train": {"cmd": f"cat {PARTS}/* > {MODEL}", "deps": [PARTS], "outs": [MODEL]},
}


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("template") / "project"
    root.mkdir()
    (root / "params.yaml").write_text("pipelines: [small, other]\n")
    stages = {name: {"matrix": {"pipeline": ["small", "other"]}, **stage} for name, stage in STAGES.items()}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (root / "rows").write_text("1\n2\n")
    git(root, "init", "--quiet")
    dvc(root, "init", "--quiet")
    dvc(root, "remote", "add", "--quiet", "--default", "local", str(root / "remote"))
    dvc(root, "repro", "--quiet")
    return root


@pytest.fixture
def project(template, tmp_path) -> Path:
    root = shutil.copytree(template, tmp_path / "a project")
    dvc(root, "remote", "modify", "--quiet", "local", "url", str(root / "remote"))
    return root


def presence(root: Path, path: str) -> str:
    with DvcObjects.of(root) as objects:
        return str(objects.presence(outputs(locked_stages(root, "small"))[path]))


def test_entries_are_those_of_the_pipeline(project):
    found = locked_stages(project, "small")
    assert set(found) == {"split@small", "train@small"}
    assert set(outputs(found)) == {"parts-small", "model-small"}
    assert set(dependencies(found)) == {"rows", "parts-small"}
    assert set(locked_stages(project, "small", before="train")) == {"split@small"}
    assert locked_stages(project, "small", before="split") == {}


def test_without_dvc_lock_there_are_none(tmp_path):
    assert locked_stages(tmp_path, "small") == {}


def test_an_output_is_in_the_cache_then_in_the_remote_then_nowhere(project):
    assert presence(project, "parts-small") == "in the cache"
    dvc(project, "push", "--quiet")
    shutil.rmtree(project / ".dvc" / "cache" / "files")
    assert presence(project, "parts-small") == "in the remote local"
    shutil.rmtree(project / "remote")
    assert presence(project, "parts-small") == "nowhere"


def test_a_folder_of_which_a_file_is_gone_is_not_whole(project):
    with DvcObjects.of(project) as objects:
        md5 = objects.members(outputs(locked_stages(project, "small"))["parts-small"])["a"]
    (project / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]).unlink()
    assert presence(project, "parts-small") == "2 of 3 objects in the cache, 1 of 3 objects nowhere"


def test_an_object_is_fetched_and_checked(project, tmp_path):
    md5 = outputs(locked_stages(project, "small"))["model-small"]
    with DvcObjects.of(project) as objects:
        assert objects.fetch(md5, tmp_path / "model")
        assert (tmp_path / "model").read_text() == "1\n2\n"
        assert not objects.fetch("0" * 32, tmp_path / "nothing")
        stored = project / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
        stored.chmod(0o644)
        stored.write_text("changed\n")
        with pytest.raises(DataError, match=f"object {md5} of DVC is damaged"):
            objects.fetch(md5, tmp_path / "again")
