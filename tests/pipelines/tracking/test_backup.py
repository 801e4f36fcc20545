import json
import shutil
import sqlite3
import tarfile
import threading
from contextlib import closing
from pathlib import Path

import pytest

from headrace.components.errors import DataError, ParamsError, StoreError
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.tracking import server
from headrace.pipelines.tracking.alias_journal import moves
from headrace.pipelines.tracking.backup import backup, restore
from headrace.pipelines.tracking.mlflow_runs import log_epoch, open_run
from headrace.pipelines.tracking.registry import alias_version, set_champion


@pytest.fixture
def project(registered, tmp_path, monkeypatch) -> Path:
    """A project with one registered version, its champion."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = Path(shutil.copytree(registered, tmp_path / "a project"))
    set_champion(root, "small", 1, why="it was the first")
    return root


def destroy(root: Path) -> None:
    for place in root.glob("mlflow.db*"):
        place.unlink()
    for folder in (root / "mlartifacts", root / ".headrace"):
        shutil.rmtree(folder)


def model_of(root: Path) -> str:
    """Read without MLflow, which keeps a connection to a file that was replaced."""
    server.connect(root)
    with closing(sqlite3.connect(root / "mlflow.db")) as connection:
        [(source,)] = connection.execute(
            "SELECT source FROM model_versions JOIN registered_model_aliases USING (name, version)"
        )
    assert source.startswith(root.as_uri())
    return Path(source.removeprefix("file://").replace("%20", " "), "data", "model.keras").read_text()


def test_what_was_destroyed_is_restored(project, tmp_path):
    made = backup(project, tmp_path / "a.backup")
    assert made.seen.versions == {"small": 1}
    destroy(project)
    restored, replaced = restore(project, tmp_path / "a.backup")
    assert replaced is None
    assert restored == made
    assert model_of(project) == "first"
    assert [move.why for move in moves(project, "small", [])] == ["it was the first"]


@pytest.mark.parametrize("damage", ["gone", "empty"])
def test_a_lost_store_is_restored_as_its_message_says(project, tmp_path, damage):
    backup(project, tmp_path / "a.backup")
    database = ProjectPaths(project).mlflow_database
    database.unlink() if damage == "gone" else database.write_bytes(b"")
    with pytest.raises(StoreError, match="headrace restore"):
        alias_version(project, "small", "champion")
    restore(project, tmp_path / "a.backup", force=True)
    assert model_of(project) == "first"


def test_nothing_is_replaced_unless_requested_and_then_it_is_kept(project, tmp_path, register):
    backup(project, tmp_path / "a.backup")
    register(project, "second")
    set_champion(project, "small", 2, why="it was better")
    with pytest.raises(ParamsError, match=r"mlflow\.db, mlartifacts already; --force"):
        restore(project, tmp_path / "a.backup")
    _, replaced = restore(project, tmp_path / "a.backup", force=True)
    assert model_of(project) == "first"
    assert (replaced / "mlflow.db").is_file()
    assert (replaced / "mlartifacts" / "headrace").is_dir()
    last = moves(project, "small", [])[-1]
    assert (last.from_version, last.to_version) == (2, 1)
    assert last.why.startswith("restored from a.backup")


@pytest.mark.parametrize("damage", ["flipped", "half", "a member more", "no backup", "no archive"])
def test_a_damaged_backup_changes_nothing(project, tmp_path, damage):
    file = tmp_path / "a.backup"
    backup(project, file)
    content = bytearray(file.read_bytes())
    match damage:
        case "flipped":
            content[content.index(b"first")] ^= 1
        case "half":
            del content[len(content) // 2 :]
        case "no archive":
            content = bytearray(b"no archive")
    file.write_bytes(content)
    if damage == "a member more":
        with tarfile.open(file, "a") as archive:
            archive.addfile(tarfile.TarInfo("mlartifacts/more"))
    if damage == "no backup":
        file.unlink()
    before = ProjectPaths(project).mlflow_database.read_bytes()
    with pytest.raises((DataError, ParamsError), match=r"a\.backup|a whole backup"):
        restore(project, file, force=True)
    assert ProjectPaths(project).mlflow_database.read_bytes() == before
    assert model_of(project) == "first"
    assert not list((project / ".headrace").glob(".restore-*"))


def test_a_member_that_leads_out_of_the_project_is_refused(project, tmp_path):
    with tarfile.open(tmp_path / "a.backup", "w") as archive:
        archive.addfile(tarfile.TarInfo("../outside"))
    with pytest.raises(DataError, match="not a whole backup"):
        restore(project, tmp_path / "a.backup", force=True)
    assert not (tmp_path / "outside").exists()


def test_a_backup_while_runs_are_written_is_whole(project, tmp_path):
    done = threading.Event()
    run_id = open_run(project, experiment="headrace/small", run_name="busy", tags={}, params={})

    def write() -> None:
        epoch = 0
        while not done.is_set():
            log_epoch(project, run_id, epoch=(epoch := epoch + 1), metrics={"loss": 0.5, "accuracy": 0.5})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            backup(project, tmp_path / f"{number}.backup")
    finally:
        done.set()
        writer.join(30)
    other = tmp_path / "other"
    other.mkdir()
    restore(other, tmp_path / "4.backup")
    server.check(other)
    assert model_of(other) == "first"


def test_a_file_that_is_there_is_not_overwritten(project, tmp_path):
    (tmp_path / "a.backup").write_text("something else")
    with pytest.raises(ParamsError, match="--force"):
        backup(project, tmp_path / "a.backup")
    backup(project, tmp_path / "a.backup", force=True)


def test_a_damaged_store_is_not_backed_up(project, tmp_path):
    ProjectPaths(project).mlflow_database.write_bytes(b"")
    with pytest.raises(StoreError, match="damaged"):
        backup(project, tmp_path / "a.backup")
    assert not (tmp_path / "a.backup").exists()


def test_of_a_server_it_is_said_what_to_back_up_instead(project, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ann:secret@mlflow.example.org")
    for command in (backup, restore):
        with pytest.raises(ParamsError, match=r"the server https://\*\*\*@mlflow\.example\.org: back up its database"):
            command(project, tmp_path / "a.backup")


def test_the_manifest_has_the_digest_of_every_file(project, tmp_path):
    backup(project, tmp_path / "a.backup")
    with tarfile.open(tmp_path / "a.backup") as archive:
        names = archive.getnames()
        manifest = json.load(archive.extractfile("manifest.json"))
    assert names[0] == "mlflow.db"
    assert names[-1] == "manifest.json"
    assert set(manifest["files"]) == set(names[:-1])
