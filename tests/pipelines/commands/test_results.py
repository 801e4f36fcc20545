"""docs/results.md: made of what was measured, and of nothing else."""

import shutil
import subprocess

import pytest

from headrace.components.errors import ParamsError
from headrace.components.numerics import NUMERICS
from headrace.components.own_code.importable_code import OwnCode
from headrace.pipelines.commands.measurement import measured_runs
from headrace.pipelines.commands.measurement.measured_runs import measure, settings_digest, variations
from headrace.pipelines.commands.measurement.results_page import MEASURED_STAGES, Measured, Run, page, render
from headrace.pipelines.params import Pipeline, list_pipelines, load_pipeline
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.project.code_digests import own_code
from headrace.pipelines.project.edit_params import with_values


@pytest.fixture(scope="module")
def pipelines(repository) -> dict[str, Pipeline]:
    file = repository / "params.yaml"
    return {name: load_pipeline(file, name) for name in list_pipelines(file)}


def measured(pipeline: str, *runs: tuple[dict, dict]) -> Measured:
    made = tuple(Run(values=values, seconds=20, figures=figures) for values, figures in runs)
    versions = {"keras": "3.15.1"}
    return Measured(
        pipeline=pipeline,
        settings_sha256="0",
        git_commit="0123456789",
        versions=versions,
        cores=2,
        workers=2,
        runs=made,
    )


def row(text: str, pipeline: str) -> str:
    [found] = [line for line in text.splitlines() if line.startswith(f"| `{pipeline}` ")]
    return found


def test_the_page_is_what_was_measured(repository, pipelines):
    project = ProjectPaths(repository)
    assert project.results_page.read_text(encoding="utf-8") == page(project, pipelines), "run headrace results"


def test_no_result_is_of_other_settings(repository, pipelines):
    old = []
    for file in sorted((repository / "docs" / "results").glob("*.json")):
        one = Measured.model_validate_json(file.read_text(encoding="utf-8"))
        pipeline = pipelines[one.pipeline]
        if one.settings_sha256 != settings_digest(pipeline, own_code(repository, pipeline)):
            old.append(one.pipeline)
    assert old == [], "params.yaml has changed since: run `headrace results` for these"


def test_a_row_has_mean_and_range_and_says_when_nothing_was_held_out(pipelines):
    name = "study_hours"
    runs = [({"train.seed": seed}, {"at_8_hours": value}) for seed, value in ((1, 82.0), (2, 82.06), (3, 81.97))]
    shown = row(render(pipelines, {name: measured(name, *runs)}, pictures=()), name)
    assert "82.01 (81.97 to 82.06)<br>on the training rows: nothing was held out" in shown
    assert "| yes |" in shown
    assert "| seeds 1, 2, 3 |" in shown


def test_a_mean_out_of_reach_is_reported(pipelines):
    runs = [({"train.seed": seed}, {"at_8_hours": 83.0}) for seed in (1, 2)]
    shown = row(render(pipelines, {"study_hours": measured("study_hours", *runs)}, pictures=()), "study_hours")
    assert "| **no** |" in shown


def test_what_was_never_measured_is_reported(pipelines):
    assert "not measured yet" in row(render(pipelines, {}, pictures=()), "linear")


def test_compared_values_have_a_table_and_the_row_is_of_those_in_params_yaml(pipelines):
    place = "normalize.transforms.x.1.degree"
    names = ("root_mean_squared_error", "training_root_mean_squared_error", "validation_root_mean_squared_error")
    runs = [({"train.seed": 1, place: degree}, dict.fromkeys(names, degree / 100)) for degree in (1, 4, 15)]
    text = render(pipelines, {"polynomial": measured("polynomial", *runs)}, pictures=("polynomial",))
    assert "0.04 (0.04 to 0.04)" in row(text, "polynomial")
    assert "| 15 | 0.15 (0.15 to 0.15) |" in text
    assert "(results/polynomial.png)" in text
    other = with_values(pipelines["polynomial"], {place: 5})
    with pytest.raises(ParamsError, match="is not there"):
        render({"polynomial": other}, {"polynomial": measured("polynomial", *runs)}, pictures=())


def test_runs_are_of_seeds_or_folds_with_each_value_that_is_compared(pipelines):
    assert list(variations(pipelines["linear"])) == [{"train.seed": seed} for seed in (1, 2, 3)]
    assert list(variations(pipelines["titanic"])) == [{"split.fold": fold} for fold in range(5)]
    compared = list(variations(pipelines["polynomial"]))
    assert len(compared) == 9
    assert compared[-1] == {"train.seed": 3, "normalize.transforms.x.1.degree": 15}


def test_pipelines_are_measured_in_folders_of_their_own_that_go(pipelines, tmp_path, monkeypatch):
    """MLflow holds the file of a store open for as long as the process lives: made again, it is read-only."""
    roots = []

    def run(pipeline, paths, values):
        assert paths.root.is_dir()
        roots.append(paths.root)
        return Run(values=dict(values), seconds=1, figures={})

    monkeypatch.setattr(measured_runs, "_run", run)
    for name in ("linear", "study_hours"):
        measure(pipelines[name], ProjectPaths(tmp_path), workers=None)
    assert len(set(roots)) == 2
    assert not ProjectPaths(tmp_path).measuring.exists()


def test_only_what_decides_the_metrics_makes_a_result_an_old_one(pipelines):
    linear, none = pipelines["linear"], OwnCode({})
    digest = settings_digest(linear, none)
    assert settings_digest(linear.model_copy(update={"description": "another"}), none) == digest
    assert settings_digest(with_values(linear, {"train.num_workers": 1}), none) == digest
    assert settings_digest(with_values(linear, {"train.epochs": 11}), none) != digest
    digests = {settings_digest(linear, OwnCode({"models/line.py": text})) for text in ("a = 1", "a = 2")}
    assert len({digest, *digests}) == 3


def test_own_code_is_measured_as_the_project_has_it(pipelines, repository, tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    shutil.copy(repository / "models" / "lenet.py", tmp_path / "models")
    found = []

    def run(pipeline, paths, values):
        found.append(own_code(paths.root, pipeline).digests)
        return Run(values=dict(values), seconds=1, figures={})

    monkeypatch.setattr(measured_runs, "_run", run)
    lenet = pipelines["lenet"]
    measured = measure(lenet, ProjectPaths(tmp_path), workers=None)
    code = own_code(repository, lenet)
    assert found == [code.digests] * len(list(variations(lenet)))
    assert measured.settings_sha256 == settings_digest(lenet, code)


def test_a_row_says_which_code_was_measured_and_where_it_is_older(pipelines):
    runs = [({"train.seed": seed}, {"accuracy": 0.99, "examples": 318.0}) for seed in (1, 2)]
    today = {stage: NUMERICS[stage] for stage in MEASURED_STAGES}
    one = measured("digits", *runs).model_copy(update={"numerics": today})
    for changes, expected in (
        ({}, "| 0123456 |"),
        ({"git_dirty": True}, "| 0123456+ |"),
        ({"numerics": {**today, "train": 0}}, "| 0123456, older numerics of train |"),
        ({"numerics": None}, "| 0123456, older numerics |"),
    ):
        shown = row(render(pipelines, {"digits": one.model_copy(update=changes)}, pictures=()), "digits")
        assert shown.endswith(expected), shown


def test_a_metric_near_its_bound_is_said_to_be_noise(pipelines):
    def verdict(*accuracies: float, examples: float = 10_000.0) -> str:
        runs = [({"train.seed": 1}, {"accuracy": value, "examples": examples}) for value in accuracies]
        return row(render(pipelines, {"mnist_cnn": measured("mnist_cnn", *runs)}, pictures=()), "mnist_cnn")

    assert "| yes, within noise |" in verdict(0.9935)  # the bound is 0.993, a standard error of one seed 0.0008
    assert "| no, within noise |" in verdict(0.9925)
    assert "| yes |" in verdict(0.9935, examples=1e6)
    assert "| **no** |" in verdict(0.99)
    assert "| yes, within noise |" in verdict(0.9999, 0.9901, examples=1e9)  # of seeds that differ


def test_every_row_names_a_commit_of_this_repository(repository):
    """Unless it is marked as measured with older numerics, whose commit may be gone."""
    if (repository / ".git" / "shallow").exists() or not (repository / ".git").exists():
        pytest.skip("needs the history of the repository")
    for file in sorted((repository / "docs" / "results").glob("*.json")):
        one = Measured.model_validate_json(file.read_text(encoding="utf-8"))
        found = subprocess.run(["git", "cat-file", "-e", f"{one.git_commit}^{{commit}}"], cwd=repository, check=False)
        assert one.numerics is None or found.returncode == 0, f"{file.name}: {one.git_commit} is not a commit"
