"""The noted champions: what the registry says, without MLflow where nothing has changed there."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.components.errors import StoreError
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.tracking import registry
from headrace.pipelines.tracking.champion_notes import champions, note_champions
from headrace.pipelines.tracking.registry import CHAMPION
from headrace.pipelines.tracking.server import connect

READ = """
import sys
from pathlib import Path
from headrace.pipelines.tracking.champion_notes import champions
print(champions(Path(sys.argv[1])), "mlflow" in sys.modules)
"""


@pytest.fixture
def root(registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = tmp_path / "project"
    shutil.copytree(registered, root)
    return root


def test_a_second_reader_does_without_mlflow(root):
    connect(root).set_registered_model_alias("small", CHAMPION, "1")
    assert champions(root) == {"small": 1}
    said = subprocess.run([sys.executable, "-c", READ, root], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout == "{'small': 1} False\n"


def test_a_change_by_any_program_is_seen(root):
    assert note_champions(root) == {}
    connect(root).set_registered_model_alias("small", CHAMPION, "1")
    assert champions(root) == {"small": 1}
    connect(root).delete_registered_model_alias("small", CHAMPION)
    assert champions(root) == {}


def test_another_store_in_its_place_is_seen(root, tmp_path):
    connect(root).set_registered_model_alias("small", CHAMPION, "1")
    assert champions(root) == {"small": 1}
    database = root / "mlflow.db"
    (tmp_path / "damaged").write_bytes(b"no database")
    (tmp_path / "damaged").replace(database)
    with pytest.raises(StoreError, match="is damaged"):
        champions(root)


@pytest.mark.parametrize("content", ["", "[]", '{"store": [], "champions": 3}', '{"champions": {}}'])
def test_a_note_that_is_none_is_made_again(root, content):
    connect(root).set_registered_model_alias("small", CHAMPION, "1")
    file = ProjectPaths(root).champions
    file.parent.mkdir(exist_ok=True)
    file.write_text(content)
    assert champions(root) == {"small": 1}
    assert champions(root) == {"small": 1}
    assert '"small": 1' in file.read_text()


def test_a_store_that_changes_while_it_is_read_is_not_noted(root, monkeypatch):
    def changing(root: Path) -> dict[str, int]:
        connect(root).set_registered_model_alias("small", CHAMPION, "1")
        return {}

    monkeypatch.setattr(registry, "all_champions", changing)
    note_champions(root)
    assert not ProjectPaths(root).champions.exists()
