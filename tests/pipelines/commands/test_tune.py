"""`headrace tune` on real Ray clusters, and what it refuses before it starts one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from headrace.components.errors import DataError, ParamsError, TrainingError
from headrace.pipelines.commands.search.search_plan import keep_outcome, kept_metrics, known_outcomes, plan_search
from headrace.pipelines.commands.search.trial_search import TrialError, _best, parse_search
from headrace.pipelines.params import load_pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.ray_tune.trials import Outcome
from headrace.pipelines.stages.ingest import ingest
from headrace.pipelines.stages.normalize import normalize
from headrace.pipelines.stages.split import split
from headrace.pipelines.tracking.sweep import sweep

NAMED = {"validation_loss": 1.0, "validation_accuracy": 0.5, "loss": 1.0, "accuracy": 0.5}
OPTIONS = {"metric": None, "trials": 4, "seed": 1, "early_stop": True, "at_once": 2, "workers": 1}


@pytest.fixture(scope="module")
def ready_project(repository, tmp_path_factory) -> Path:
    """A project in a folder whose path has a space, with the digits ingested, normalized and split."""
    root = tmp_path_factory.mktemp("tune") / "a project"
    root.mkdir()
    digits = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))["digits"]
    layers = [{"kind": "dense", "units": 16, "activation": "relu"}, {"kind": "dropout", "rate": 0.3}]
    digits["train"] |= {"epochs": 2, "model": {"layers": layers}}
    text = yaml.safe_dump({"pipelines": ["digits"], "digits": digits})
    (root / "params.yaml").write_text(text.replace("    epochs: 2", "    epochs: 2  # enough"), encoding="utf-8")
    pipeline, paths = load_pipeline(root / "params.yaml", "digits"), PipelinePaths(root, "digits")
    for stage in (ingest, normalize, split):
        stage(pipeline, paths)
    return root


@pytest.fixture
def project(ready_project, tmp_path) -> Path:
    return Path(shutil.copytree(ready_project, tmp_path / "a copy"))


def planned(root: Path, *searched: str, **options):
    pipeline, paths = load_pipeline(root / "params.yaml", "digits"), PipelinePaths(root, "digits")
    search = parse_search(pipeline, searched, **{**OPTIONS, **options})
    return plan_search(pipeline, paths, search)


def finished(*losses: float) -> Outcome:
    history = tuple({"epoch": float(place), **NAMED, "validation_loss": loss} for place, loss in enumerate(losses, 1))
    return Outcome(status="finished", history=history)


@pytest.mark.parametrize(
    ("searched", "options", "message"),
    [
        ([], {}, "nothing to search"),
        (["train.seed=grid:1,2"], {"workers": 2}, "--workers 2: a trial trains on one worker"),
        (["train.seed=grid:1,2"], {"metric": "test_loss"}, "--metric test_loss: no metric of that name"),
        (["train.seed=grid:1,2"], {"metric": "validation_los"}, "did you mean 'validation_loss'"),
        (["train.optimizer.kind=choice:sgd,adam", "train.optimizer.beta_1=grid:0.5"], {}, "beta_1"),
    ],
)
def test_what_cannot_be_done_is_refused(ready_project, searched, options, message):
    with pytest.raises(ParamsError, match=message):
        planned(ready_project, *searched, **options)


def test_without_splits_the_command_that_makes_them_is_named(project):
    shutil.rmtree(PipelinePaths(project, "digits").splits)
    with pytest.raises(DataError, match="headrace split digits"):
        planned(project, "train.seed=grid:1,2")


def test_a_mistake_ends_with_2_in_one_line(ready_project):
    process = headrace(ready_project, "--search", "train.epoch=integer:1:3")
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 2
    assert output.splitlines() == [
        "error: --search train.epoch=integer:1:3: digits.train.epoch: unknown name; did you mean 'epochs'?"
    ]


def test_a_search_of_train_shares_the_splits_and_another_makes_its_own(ready_project):
    assert not any(one.trial.makes_data for one in planned(ready_project, "train.seed=grid:1,2"))
    assert all(one.trial.makes_data for one in planned(ready_project, "train.seed=grid:1", "split.seed=grid:1,2"))


def test_only_trials_with_the_same_data_and_settings_are_known(project):
    searched = ("train.optimizer.learning_rate=log:0.001:0.1",)
    plan = planned(project, *searched)
    keep_outcome(plan[0], finished(1.0))
    keep_outcome(plan[1], Outcome(status="failed"))
    assert set(known_outcomes(plan)) == {1}
    assert set(known_outcomes(planned(project, *searched, trials=9))) == {1}
    assert known_outcomes(planned(project, *searched, seed=2)) == {}
    params = project / "params.yaml"
    before = params.read_text()
    params.write_text(before.replace("num_workers: 2", "num_workers: 3"))
    assert set(known_outcomes(planned(project, *searched))) == {1}
    params.write_text(before.replace("rate: 0.3", "rate: 0.4"))
    assert known_outcomes(planned(project, *searched)) == {}


def test_the_metric_that_counts_is_that_of_the_weights_that_are_kept(ready_project):
    one = planned(ready_project, "train.seed=grid:1")[0]
    assert kept_metrics(one.trial, finished(3.0, 1.0, 1.0, 2.0))["epoch"] == 2


def test_where_the_last_epoch_is_the_best_its_metrics_count_and_a_metric_must_be_named(project):
    params = project / "params.yaml"
    content = yaml.safe_load(params.read_text())
    content["digits"]["train"]["best_by"] = "last"
    params.write_text(yaml.safe_dump(content))
    with pytest.raises(ParamsError, match=r"train\.best_by is last, so say by which metric .*: --metric loss"):
        parse_search(load_pipeline(params, "digits"), ["train.seed=grid:1"], **OPTIONS)
    one = planned(project, "train.seed=grid:1", metric="validation_loss")[0]
    assert kept_metrics(one.trial, finished(3.0, 1.0, 2.0))["epoch"] == 3


def test_the_best_of_the_finished_trials_wins(ready_project):
    plan = planned(ready_project, "train.seed=grid:1,2,3,4")
    stopped = Outcome(status="stopped early", history=finished(0.1).history)
    outcomes = {1: finished(2.0), 2: finished(1.0), 3: finished(1.0), 4: stopped}
    assert _best(plan, outcomes, metric="validation_loss").number == 2
    assert _best(plan, outcomes, metric="validation_accuracy").number == 1
    failed = dict.fromkeys(outcomes, Outcome(status="failed", reason="not finite"))
    with pytest.raises(TrainingError, match="none of 4 trials came to its end: not finite"):
        _best(plan, failed, metric="validation_loss")
    with pytest.raises(TrialError, match="KeyError"):
        _best(plan, {**failed, 3: Outcome(status="failed", traceback="KeyError")}, metric="validation_loss")


def headrace(root: Path, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "headrace", "tune", "digits", *arguments],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "HOME": str(root), "MLFLOW_TRACKING_URI": ""},
        start_new_session=True,
    )


def output_of(root: Path, *arguments: str) -> list[str]:
    process = headrace(root, *arguments)
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 0, output
    return output.splitlines()


def runs(root: Path) -> dict[str, list]:
    """MLflow's runs by the end of their names; that of the search is named "search"."""
    from headrace.pipelines.tracking.server import connect

    client = connect(root)
    found: dict[str, list] = {}
    for run in client.search_runs([client.get_experiment_by_name("headrace/digits").experiment_id]):
        name = run.info.run_name.removeprefix(run.data.tags["headrace.search"])
        found.setdefault(name.removeprefix("-") or "search", []).append(run)
    return found


@pytest.mark.slow
def test_the_best_trial_is_shown_as_a_diff_and_written_when_requested(project, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    params = project / "params.yaml"
    before = params.read_text()
    searched = ("--search", "train.optimizer.learning_rate=grid:0.03,0.000001", "--search", "train.epochs=grid:3")
    lines = [line for line in output_of(project, *searched, "--at-once", "1") if "[info " not in line]
    assert lines[0].endswith(": 2 trials")
    assert lines[1].startswith("trial 1/2  finished, best epoch 3, validation_loss ")
    assert lines[2].startswith("trial 2/2  stopped early, best epoch 1, validation_loss ")
    assert lines[3].startswith("best: trial 1, validation_loss ")
    changes = [line for line in lines if line.startswith(("-  ", "+  "))]
    assert changes == [
        "-    epochs: 2  # enough",
        "+    epochs: 3  # enough",
        "-      learning_rate: 0.004",
        "+      learning_rate: 0.03",
    ]
    assert lines[-1] == "params.yaml is as it was; --apply writes this"
    assert params.read_text() == before
    found = runs(project)
    assert {name: one.info.status for name, [one] in found.items()} == {
        "search": "FINISHED",
        "00001": "FINISHED",
        "00002": "KILLED",
    }
    search = found["search"][0]
    assert {one.data.tags.get("mlflow.parentRunId") for [one] in found.values()} == {None, search.info.run_id}
    assert search.data.metrics["trials"] == 2
    assert search.data.metrics["validation_loss"] == pytest.approx(found["00001"][0].data.metrics["validation_loss"])
    assert search.data.tags["headrace.best.train.optimizer.learning_rate"] == "0.03"

    lines = output_of(project, *searched, "--at-once", "1", "--apply")  # all is known: no cluster is started
    assert lines[0].endswith(": 2 trials; 2 done before")
    assert lines[-1] == "written to params.yaml"
    assert params.read_text() == before.replace("epochs: 2", "epochs: 3").replace("rate: 0.004", "rate: 0.03")


@pytest.mark.slow
@pytest.mark.long
def test_a_search_that_is_killed_leaves_no_process_and_loses_no_trial(project, monkeypatch, session_processes):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    arguments = ("--search", "split.seed=grid:1,2", "--at-once", "1", "--no-early-stop")
    process = headrace(project, *arguments)
    for line in process.stdout:
        if line.startswith("trial 1/2"):
            break
    process.kill()
    killed_seconds = time.monotonic()
    process.communicate(timeout=30)
    while session_processes(process.pid) and time.monotonic() < killed_seconds + 10:
        time.sleep(0.2)
    assert session_processes(process.pid) == []
    assert runs(project)["search"][0].info.status == "RUNNING"  # nobody was left to say otherwise
    swept = sweep(project, status_of=lambda address, job: None)
    assert {verdict.status for verdict in swept} == {"KILLED"}

    lines = output_of(project, *arguments)
    assert lines[0].endswith(": 2 trials; 1 done before")
    assert {name: [one.info.status for one in group] for name, group in runs(project).items()} == {
        name: ["FINISHED"] for name in ("search", "00001", "00002")
    }


@pytest.mark.slow
@pytest.mark.long
def test_an_interrupted_search_leaves_no_process_and_goes_on_with_what_is_not_done(
    project, monkeypatch, session_processes
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    arguments = ("--search", "split.seed=grid:1,2", "--at-once", "1", "--no-early-stop")
    process = headrace(project, *arguments)
    try:
        for line in process.stdout:
            if line.startswith("trial 1/2"):
                break
        os.killpg(process.pid, signal.SIGINT)  # what a terminal does
        asked_seconds = time.monotonic()
        output = process.communicate(timeout=30)[0]
        while session_processes(process.pid) and time.monotonic() < asked_seconds + 10:
            time.sleep(0.2)
    finally:
        process.kill()
    assert session_processes(process.pid) == []
    assert process.returncode == 130
    assert output.splitlines()[-1].startswith("interrupted with 1 trial done")
    assert "Traceback" not in output
    assert runs(project)["search"][0].info.status == "KILLED"

    lines = output_of(project, *arguments)
    assert lines[0].endswith(": 2 trials; 1 done before")
    assert lines[1].startswith("trial 2/2  finished")
    found = runs(project)
    assert {name: [one.info.status for one in group] for name, group in found.items()} == {
        name: ["FINISHED"] for name in ("search", "00001", "00002")
    }
    [tune_folder] = (project / ".headrace" / "tune").iterdir()
    assert sorted({file.name for file in tune_folder.rglob("*") if file.is_file()}) == [
        "outcome.json",
        "runs.json",
        "trial.json",
    ]
    outcomes = [json.loads(file.read_text())["outcome"] for file in tune_folder.rglob("outcome.json")]
    assert len({outcome["history"][0]["validation_loss"] for outcome in outcomes}) == 2  # different splits
