"""How a trial ended, found out from what Ray Tune reports; and what a trial is trained with."""

import pickle
from types import SimpleNamespace

import pytest

from headrace.components.errors import TrainingError
from headrace.pipelines.params import load_pipeline
from headrace.pipelines.ray_tune import trials
from headrace.pipelines.ray_tune.trials import Outcome, Trial, Watcher


@pytest.fixture
def trial(repository, tmp_path) -> Trial:
    pipeline = load_pipeline(repository / "params.yaml", "digits")
    folder = tmp_path / "trial-00007"
    return Trial(number=7, name="x-00007", folder=folder, project=tmp_path, makes_data=False, pipeline=pipeline)


@pytest.fixture
def followed():
    """A follower of trial 7, which has three epochs, that writes down what it passes on."""
    said = []
    watcher = Watcher(
        lambda number: said.append(("start", number)),
        lambda number, metrics: said.append((number, metrics["epoch"])),
        lambda number, outcome: said.append((number, outcome)),
    )
    follower = trials._Follower({7: 3}, watcher)
    tune_trial = SimpleNamespace(config={"description": "/p/trial-00007/trial.json"}, max_failures=3)
    return follower, tune_trial, said


def report(follower, tune_trial, *results) -> None:
    for result in results:
        follower.on_trial_result(0, [], tune_trial, result)


def epoch(number: int) -> dict:
    return {"epoch": number, "metrics": {"epoch": number, "loss": 1.0}}


# what is reported, how it then ended
ENDS = [
    ([epoch(1), epoch(2), epoch(3), {"end": {"status": "finished"}}], "finished"),
    ([epoch(1), epoch(2), epoch(3)], "finished"),  # Ray Tune ended it after the last epoch
    ([epoch(1), epoch(2), {"end": {"status": "finished"}}], "finished"),  # train.early_stopping
    ([epoch(1), epoch(2)], "stopped early"),
    ([epoch(1), {"end": {"status": "failed", "reason": "not finite"}}], "failed"),
    ([{"end": {"status": "failed", "reason": "not finite"}}], "failed"),
    ([epoch(1), epoch(2), epoch(1), epoch(2), epoch(3)], "finished"),  # its worker was lost, and began again
]


@pytest.mark.parametrize(("results", "status"), ENDS)
def test_the_end_of_a_trial_is_reported_as_it_was(followed, results, status):
    follower, tune_trial, said = followed
    report(follower, tune_trial, *results)
    follower.on_trial_complete(0, [], tune_trial)
    epochs = list(dict.fromkeys(result["epoch"] for result in results if "epoch" in result))
    *before, (number, outcome) = said
    assert before == [(7, number) for number in epochs]
    assert (number, outcome.status) == (7, status)
    assert [metrics["epoch"] for metrics in outcome.history] == epochs


def test_a_trial_whose_worker_is_lost_has_failed(followed):
    follower, tune_trial, said = followed
    follower.on_trial_start(0, [], tune_trial)
    report(follower, tune_trial, epoch(1))
    follower.on_trial_error(0, [], tune_trial)
    assert said[0] == ("start", 7)
    assert said[-1][1].status == "failed"
    assert "lost more than 3 times" in said[-1][1].reason


def test_ray_tune_may_write_the_follower_into_a_file(followed):
    assert pickle.loads(pickle.dumps(followed[0])).__dict__ == {}


@pytest.mark.parametrize(
    ("error", "reason", "is_bug"),
    [(TrainingError("not finite"), "not finite", False), (KeyError("x"), "KeyError: 'x'", True)],
)
def test_an_error_of_a_trials_own_is_reported(trial, monkeypatch, error, reason, is_bug):
    def fail(*_):
        raise error

    reports = []
    monkeypatch.setattr(trials, "_train", fail)
    monkeypatch.setattr(trials.tune, "report", reports.append)
    trial.folder.mkdir()
    trial.description.write_text(trial.model_dump_json(by_alias=True))
    (trial.folder / "checkpoints").mkdir()
    trials._run({"description": str(trial.description)}, make_data=fail)
    [found] = reports
    outcome = Outcome(**found["end"])
    assert (outcome.status, outcome.reason, outcome.traceback is not None) == ("failed", reason, is_bug)
    assert not (trial.folder / "checkpoints").exists()


def test_a_trial_trains_on_one_worker_and_on_its_own_data_where_it_makes_some(trial, tmp_path):
    assert trial.as_training().train.num_workers == 1
    assert trial.as_training().splits == tmp_path / "data" / "digits" / "splits"
    own = trial.model_copy(update={"makes_data": True})
    assert own.as_training().splits == trial.folder / "data" / "digits" / "splits"
    assert Trial.model_validate_json(own.model_dump_json(by_alias=True)) == own


@pytest.mark.parametrize(("metric", "mode"), [("validation_loss", "min"), ("validation_accuracy", "max")])
def test_the_worse_half_is_stopped_after_a_quarter_of_the_epochs(trial, metric, mode):
    scheduler = trials._scheduler([trial], metric)
    assert (scheduler.metric, scheduler._mode, scheduler._max_t) == (metric, mode, 12)
    assert [milestone for milestone, _ in scheduler._brackets[0]._rungs] == [12, 6, 3]


def test_a_gpu_that_is_not_there_is_missed_immediately(monkeypatch):
    monkeypatch.setattr(trials.ray, "cluster_resources", lambda: {"CPU": 2.0})
    trials._require_gpu(False)
    with pytest.raises(TrainingError, match=r"set train\.use_gpu: false"):
        trials._require_gpu(True)
