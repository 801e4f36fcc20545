import json
import shutil
import socket
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from headrace.components.errors import DataError, ParamsError
from headrace.pipelines.artifacts.artifact import file_digest
from headrace.pipelines.commands.models import show_models
from headrace.pipelines.commands.promote import promote_version
from headrace.pipelines.commands.rollback import restore_previous_champion
from headrace.pipelines.params import load_pipeline
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.tracking.alias_journal import journal_file, moves
from headrace.pipelines.tracking.mlflow_runs import open_run
from headrace.pipelines.tracking.registry import alias_version, create_version, model_file, versions
from headrace.pipelines.tracking.server import connect


@pytest.fixture
def paths(project_root):
    return PipelinePaths(project_root, "digits")


@pytest.fixture
def digits(repository):
    return load_pipeline(repository / "params.yaml", "digits")


@pytest.fixture
def three_versions(paths):
    run_id = open_run(paths.root, experiment="x", run_name="r", tags={}, params={})
    client = connect(paths.root)
    for number in range(3):
        logged = client.create_logged_model(client.get_run(run_id).info.experiment_id, name="digits")
        file = Path(unquote(urlsplit(logged.artifact_location).path)) / "data" / "model.keras"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"%d" % number)
        tags = {"model_sha256": file_digest(file)}
        create_version(paths.root, "digits", run_id=run_id, model_id=logged.model_id, tags=tags)


def champion(paths):
    found = alias_version(paths.root, "digits", "champion")
    return found and found.number


def test_the_newest_version_or_a_given_one_is_promoted(digits, paths, three_versions, capsys):
    promote_version(digits, paths)
    assert champion(paths) == 3
    promote_version(digits, paths, number=1)
    assert champion(paths) == 1
    promote_version(digits, paths, number=1)
    assert capsys.readouterr().out.splitlines() == [
        "digits: version 3 is now the champion",
        "digits: version 1 is now the champion; before, it was version 3",
        "digits: version 1 is the champion already",
    ]


def test_rollback_goes_back_and_twice_comes_back(digits, paths, three_versions):
    promote_version(digits, paths, number=1)
    promote_version(digits, paths, number=2)
    restore_previous_champion(digits, paths)
    assert champion(paths) == 1
    restore_previous_champion(digits, paths)
    assert champion(paths) == 2


def test_what_is_not_there_is_not_promoted(digits, paths, three_versions):
    with pytest.raises(ParamsError, match=r"no version 7 .*; there are: 1, 2, 3"):
        promote_version(digits, paths, number=7)
    with pytest.raises(ParamsError, match="no other champion"):
        restore_previous_champion(digits, paths)
    assert champion(paths) is None


def test_a_version_whose_file_was_changed_is_not_made_champion(digits, paths, three_versions):
    promote_version(digits, paths, number=2)
    promote_version(digits, paths, number=1)
    for number in (2, 3):
        promote_version(digits, paths, number=number)
        model_file(paths.root, "digits", "champion").write_bytes(b"another")
        promote_version(digits, paths, number=1)
    with pytest.raises(
        DataError, match=r"version 2 of model 'digits': expected sha256 [0-9a-f]{64}, found [0-9a-f]{64}"
    ):
        promote_version(digits, paths, number=2)
    with pytest.raises(DataError, match=r"version 3 .* was changed after it was registered"):
        restore_previous_champion(digits, paths)
    assert champion(paths) == 1


def test_without_a_registered_model_each_says_how_to_get_one(digits, paths):
    with pytest.raises(ParamsError, match="headrace run digits"):
        promote_version(digits, paths)
    with pytest.raises(ParamsError, match="no other champion"):
        restore_previous_champion(digits, paths)
    with pytest.raises(ParamsError, match="headrace promote digits"):
        model_file(paths.root, "digits", "champion")


def test_the_journal_says_who_moved_an_alias_when_and_why(digits, paths, three_versions, capsys, monkeypatch):
    monkeypatch.setenv("LOGNAME", "ann")
    promote_version(digits, paths, number=1)
    promote_version(digits, paths)
    restore_previous_champion(digits, paths)
    lines = [json.loads(line) for line in journal_file(paths.root).read_text().split("\n") if line]
    assert [(line["from_version"], line["to_version"]) for line in lines] == [(None, 1), (1, 3), (3, 1)]
    assert {line["who"] for line in lines} == {f"ann@{socket.gethostname()}"}
    assert [line["why"] for line in lines] == ["by hand: headrace promote"] * 2 + ["by hand: headrace rollback"]


def test_moves_are_known_from_the_registry_where_the_journal_is_lost_or_cut_short(digits, paths, three_versions):
    promote_version(digits, paths, number=1)
    promote_version(digits, paths)
    tags = [version.tags for version in versions(paths.root, "digits")]
    both = moves(paths.root, "digits", tags)
    assert [move.to_version for move in both] == [1, 3]
    journal = journal_file(paths.root)
    journal.write_bytes(journal.read_bytes()[:-20])
    assert moves(paths.root, "digits", tags) == both
    assert [move.to_version for move in moves(paths.root, "digits", [])] == [1]
    promote_version(digits, paths, number=2)  # a line that was cut short does not spoil the next
    assert [move.to_version for move in moves(paths.root, "digits", [])] == [1, 2]


def test_models_are_shown_with_how_their_aliases_moved(digits, paths, three_versions, capsys, repository):
    shutil.copy(repository / "params.yaml", paths.root)
    promote_version(digits, paths, number=2)
    connect(paths.root).set_registered_model_alias("digits", "champion", "3")
    capsys.readouterr()
    show_models(ProjectPaths(paths.root), None)
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["digits", "3", "champion"] in shown
    assert any(line[1:4] == ["champion", "none", "2"] and line[-2:] == ["headrace", "promote"] for line in shown)
    assert any(line[:4] == ["champion", "2", "3", "unknown"] for line in shown)
