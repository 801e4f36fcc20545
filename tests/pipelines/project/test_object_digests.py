"""Damage in DVC's cache and remote, which DVC itself does not check."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from headrace.components.errors import ServiceError
from headrace.pipelines.project.command_lines import dvc, git
from headrace.pipelines.project.object_digests import verify

STAGES = {
    "ingest": {
        "cmd": "mkdir -p data/${item.pipeline} && echo one ${item.pipeline} > data/${item.pipeline}/one"
        " && echo two ${item.pipeline} > data/${item.pipeline}/two",
        "outs": ["data/${item.pipeline}"],
    },
    "train": {
        "cmd": "cp data/${item.pipeline}/one model-${item.pipeline} && echo 1 > metric-${item.pipeline}",
        "deps": ["data/${item.pipeline}"],
        "outs": ["model-${item.pipeline}", {"metric-${item.pipeline}": {"cache": False}}],
    },
}


@pytest.fixture(scope="module")
def pushed(tmp_path_factory) -> Path:
    """Two pipelines of two stages, run and pushed to a remote that is a folder."""
    root = tmp_path_factory.mktemp("pushed") / "a project"
    root.mkdir()
    stages = {name: {"matrix": {"pipeline": ["digits", "mnist"]}, **stage} for name, stage in STAGES.items()}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    git(root, "init", "--quiet")
    dvc(root, "init", "--quiet")
    (root / ".dvc" / "config").write_text(
        "[core]\nremote = store\n['remote \"store\"']\nurl = ../remote\nverify = true\n"
    )
    dvc(root, "repro")
    dvc(root, "push")
    return root


@pytest.fixture
def project(pushed, tmp_path) -> Path:
    return Path(shutil.copytree(pushed, tmp_path / "a project"))


def flip(file: Path) -> None:
    """One bit, with size, times and mode as they were."""
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)
    file.chmod(before.st_mode)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def object_of(project: Path, store: str, content: str) -> Path:
    folder = {"cache": project / ".dvc" / "cache", "remote": project / "remote"}[store] / "files" / "md5"
    [found] = [file for file in folder.rglob("*") if file.is_file() and file.read_text() == content]
    return found


def test_whole_stores_are_well(project):
    report = verify(project)
    assert report.is_well
    assert report.damages == ()
    assert report.whole == {"cache": 6, "remote store": 6}  # each: a list, two files, one of which is the model


@pytest.mark.parametrize("store", ["cache", "remote"])
def test_a_flipped_bit_is_found_named_and_fixed(project, until_answered, store):
    damaged = object_of(project, store, "two digits\n")
    flip(damaged)
    report = verify(project)
    assert not report.is_well
    [damage] = report.damages
    assert (damage.kept.path, damage.kept.stage) == ("data/digits/two", "ingest@digits")
    assert str(damage).startswith("data/digits/two of ingest@digits (MD5 ")
    assert str(damage).endswith(f"is damaged in the {'cache' if store == 'cache' else 'remote store'}")
    assert verify(project, pipeline="mnist").is_well
    shutil.rmtree(project / "data")  # so that only the other store has a good copy
    with until_answered():
        assert verify(project, fix=True).is_well
    assert damaged.read_text() == "two digits\n"
    assert verify(project).damages == ()


@pytest.mark.parametrize("store", ["cache", "remote"])
def test_a_damaged_list_of_a_folders_files_is_found_and_fixed(project, store):
    folder = {"cache": project / ".dvc" / "cache", "remote": project / "remote"}[store]
    flip(sorted(folder.rglob("*.dir"))[0])
    [damage] = verify(project, fix=True).damages
    assert damage.is_fixed
    assert damage.kept.object_id.endswith(".dir")
    assert verify(project).damages == ()


def test_the_file_in_the_project_is_a_good_copy_too(project):
    for store in ("cache", "remote"):
        flip(object_of(project, store, "two digits\n"))
    assert [damage.is_fixed for damage in verify(project, fix=True).damages] == [True, True]
    assert verify(project).damages == ()


def test_without_a_good_copy_nothing_is_removed_and_the_stage_is_named(project):
    for store in ("cache", "remote"):
        flip(object_of(project, store, "two digits\n"))
    shutil.rmtree(project / "data")
    (project / "params.yaml").write_text("pipelines: []\n")
    command = [sys.executable, "-m", "headrace", "verify", "--fix"]
    ended = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stdout.count("data/digits/two of ingest@digits") == 2
    assert "dvc repro --force ingest@digits" in ended.stderr
    assert len(verify(project).damages) == 2


def test_what_is_nowhere_is_named(project):
    for store in ("cache", "remote"):
        object_of(project, store, "two digits\n").unlink()
    [damage] = verify(project).damages
    assert str(damage).endswith("is missing from the cache and remote")


def test_what_was_not_pushed_yet_is_well(project):
    shutil.rmtree(project / "remote")
    assert verify(project).whole == {"cache": 6, "remote store": 0}


def test_of_a_remote_that_is_away_nothing_is_said_to_be_well(project):
    (project / ".dvc" / "config").write_text(
        "[core]\nremote = store\n['remote \"store\"']\nurl = http://127.0.0.1:9/x\nverify = true\n"
    )
    (project / "params.yaml").write_text("pipelines: []\n")
    command = [sys.executable, "-m", "headrace", "verify"]
    ended = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, timeout=120)
    assert (
        "0 of 6 objects are whole in the remote store: nothing was pushed yet, or it can't be reached" in ended.stdout
    )


@pytest.mark.parametrize("damage", ["cut short", "swapped"])
def test_a_pull_of_a_damaged_object_fails_and_nothing_of_it_is_believed(project, until_answered, damage):
    file = object_of(project, "remote", "two digits\n")
    file.chmod(0o644)
    file.write_text("two" if damage == "cut short" else "two mnist\n")
    shutil.rmtree(project / ".dvc" / "cache")
    shutil.rmtree(project / "data")
    message = "Checkout failed for following targets: data/digits"
    with until_answered(), pytest.raises(ServiceError, match=message):
        dvc(project, "pull", "ingest@digits")
    assert not (project / "data" / "digits" / "two").exists()
