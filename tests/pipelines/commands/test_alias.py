import pytest

from components.errors import ParamsError, ServiceError
from pipelines.commands.alias import promote, rollback
from pipelines.params import load_pipeline
from pipelines.paths import PipelinePaths
from pipelines.tracking.registry import alias_version, create_version, model_file
from pipelines.tracking.runs import open_run
from pipelines.tracking.server import connect


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
    for _ in range(3):
        logged = client.create_logged_model(client.get_run(run_id).info.experiment_id, name="digits")
        create_version(paths.root, "digits", run_id=run_id, model_id=logged.model_id, tags={})


def champion(paths):
    found = alias_version(paths.root, "digits", "champion")
    return found and found.number


def test_the_newest_version_or_a_given_one_is_promoted(digits, paths, three_versions, capsys):
    promote(digits, paths)
    assert champion(paths) == 3
    promote(digits, paths, version=1)
    assert champion(paths) == 1
    promote(digits, paths, version=1)
    assert capsys.readouterr().out.splitlines() == [
        "digits: version 3 is now the champion",
        "digits: version 1 is now the champion; before, it was version 3",
        "digits: version 1 is the champion already",
    ]


def test_rollback_goes_back_and_twice_comes_back(digits, paths, three_versions):
    promote(digits, paths, version=1)
    promote(digits, paths, version=2)
    rollback(digits, paths)
    assert champion(paths) == 1
    rollback(digits, paths)
    assert champion(paths) == 2


def test_what_is_not_there_is_not_promoted(digits, paths, three_versions):
    with pytest.raises(ParamsError, match=r"no version 7 .*; there are: 1, 2, 3"):
        promote(digits, paths, version=7)
    with pytest.raises(ParamsError, match="no other champion"):
        rollback(digits, paths)
    assert champion(paths) is None


def test_without_a_registered_model_each_says_how_to_get_one(digits, paths):
    with pytest.raises(ParamsError, match="headrace run digits"):
        promote(digits, paths)
    with pytest.raises(ParamsError, match="no other champion"):
        rollback(digits, paths)
    with pytest.raises(ServiceError, match="headrace promote digits"):
        model_file(paths.root, "digits", "champion")
