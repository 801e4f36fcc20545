import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from headrace.components.errors import StoreError
from headrace.pipelines.tracking import server
from headrace.pipelines.tracking.store import _URI_COLUMNS, note_file


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def text_of(database: Path) -> str:
    with closing(sqlite3.connect(database)) as connection:
        return "\n".join(connection.iterdump())


@pytest.fixture
def project(registered, tmp_path, monkeypatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Path(shutil.copytree(registered, tmp_path / "project"))


def test_a_store_that_was_there_before_is_not_replaced_by_an_empty_one(project):
    database = project / "mlflow.db"
    database.unlink()
    for use in (server.connect, server.check):
        with pytest.raises(
            StoreError, match=r"is gone; it had small version 1\. .*headrace restore FILE.*move"
        ) as error:
            use(project)
        assert error.value.exit_code == 2
    assert not database.exists()
    note_file(database).unlink()  # what the message says
    assert server.connect(project).search_registered_models() == []


@pytest.mark.parametrize("damage", ["empty", "half", "flipped"])
def test_a_damaged_store_is_named_with_the_way_out(project, damage):
    database = project / "mlflow.db"
    content = bytearray(database.read_bytes())
    match damage:
        case "empty":
            content.clear()
        case "half":
            del content[len(content) // 2 :]
        case "flipped":
            content[:16] = b"\0" * 16
    database.write_bytes(content)
    with pytest.raises(StoreError, match=r"damaged: .*headrace restore FILE"):
        server.check(project)
    assert database.read_bytes() == content


def test_another_store_or_an_older_copy_is_refused_until_the_note_is_removed(project, tmp_path, register):
    shutil.copy(project / "mlflow.db", older := tmp_path / "older.db")
    shutil.copy(project / "mlflow.db", another := tmp_path / "another.db")
    with closing(sqlite3.connect(another)) as connection:
        connection.execute("UPDATE headrace_store SET store_id = 'another'")
        connection.commit()
    register(project, "second")
    for other, problem in ((older, "is older than it was"), (another, "is another one than this project had")):
        shutil.copy(other, project / "mlflow.db")
        with pytest.raises(StoreError, match=rf"{problem}.*it had small version 2.*remove mlflow.db.registry.json"):
            server.connect(project)
    note_file(project / "mlflow.db").unlink()
    server.connect(project)


def test_a_damaged_note_is_not_taken_for_a_project_without_a_store(project):
    note_file(project / "mlflow.db").write_text("{")
    with pytest.raises(StoreError, match=r"registry\.json is damaged"):
        server.connect(project)


def test_a_copied_project_uses_its_own_artifacts_and_leaves_the_original_as_it_was(project, tmp_path, register):
    before = digests(project)
    copy = Path(shutil.copytree(project, tmp_path / "a copy"))
    run_id = register(copy, "of the copy")
    assert digests(project) == before
    assert (copy / "mlartifacts" / "headrace" / "small" / run_id / "artifacts" / "evaluation" / "report.html").is_file()
    assert str(project) not in text_of(copy / "mlflow.db")


def test_a_moved_project_finds_its_models(project, tmp_path):
    moved = project.rename(tmp_path / "moved")
    source = server.connect(moved).get_model_version("small", "1").source
    assert source.startswith((moved / "mlartifacts").as_uri())
    assert str(project.name) + "/" not in source


def test_every_place_of_an_absolute_path_in_the_store_is_known(project):
    """A newer MLflow may write URIs into other columns."""
    server.connect(project)
    with closing(sqlite3.connect(project / "mlflow.db")) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {
            (table, column)
            for table in tables
            for (_, column, *_) in connection.execute(f"PRAGMA table_info({table})").fetchall()
            if connection.execute(f"SELECT 1 FROM {table} WHERE instr({column}, ?)", (str(project),)).fetchone()
        }
    assert found == {*_URI_COLUMNS, ("headrace_store", "artifacts_uri")}


def test_a_store_of_an_older_headrace_is_taken_over(project, registered):
    """It has no id, and only its first experiment says where it was made."""
    with closing(sqlite3.connect(project / "mlflow.db")) as connection:
        connection.execute("DROP TABLE headrace_store")
        first = f"{(registered / 'mlartifacts').as_uri()}/0"
        connection.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = 0", (first,))
        connection.commit()
    note_file(project / "mlflow.db").unlink()
    assert server.connect(project).get_model_version("small", "1").source.startswith(project.as_uri())
    assert note_file(project / "mlflow.db").exists()


def test_a_path_that_sqlite_can_not_open_is_named_before_any_work(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = tmp_path.joinpath(*["d" * 200] * 3)
    root.mkdir(parents=True)
    with pytest.raises(StoreError, match=r"has \d{3} bytes, and SQLite opens at most 504"):
        server.check(root)


def test_the_journal_of_a_store_that_was_moved_away_is_not_applied_to_the_next_one(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db-journal").write_bytes(b"of another store")
    server.connect(tmp_path)
    assert not (tmp_path / "mlflow.db-journal").exists()
