"""Checkpoints of a training whose nodes share no folder, from one machine to the next."""

import tempfile

import numpy as np
import pytest

from headrace.components.training import checkpoints
from headrace.components.training.checkpoints import Checkpoint
from headrace.components.training.state import TrainingState
from headrace.pipelines.object_store.objects import open_storage
from headrace.pipelines.object_store.published import publish, withdraw
from headrace.pipelines.params import load_pipeline
from headrace.pipelines.ray_train.node import fetch_earlier_checkpoints, keep_in_storage, on_this_node
from headrace.pipelines.ray_train.training_job import TrainJob


@pytest.fixture
def job(tmp_path, repository):
    for name in ("splits/train/part", "statistics.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / "storage").mkdir()
    job = TrainJob(
        run_name="digits-1",
        folder=tmp_path / "driver",
        splits=tmp_path / "splits",
        statistics=tmp_path / "statistics.json",
        train=load_pipeline(repository / "params.yaml", "digits").train,
        storage=str(tmp_path / "storage"),
        inputs="inputs",
    )
    sources = {"splits": job.splits, "statistics.json": job.statistics}
    publish(sources, storage=open_storage(job.storage), key="inputs")
    return job


def on_machine(job, name, monkeypatch):
    """The job as a machine of its own sees it."""
    (job.folder.parent / name).mkdir(exist_ok=True)
    monkeypatch.setattr(tempfile, "tempdir", str(job.folder.parent / name))
    return on_this_node(job)


def train(job, steps):
    for step in steps:
        state = TrainingState(epoch=step, step=step, seed=1, best_epoch=step)
        saved = checkpoints.save(
            checkpoints.step_folder(job.checkpoints, step), Checkpoint(state, [np.ones(3)] * 2, [], [])
        )
        checkpoints.keep(job.checkpoints, last=3, best_step=1)
        keep_in_storage(job, saved)


def steps_of(folder):
    return [int(path.name.partition("-")[2]) for path in sorted(folder.glob("step-*"))]


def test_what_is_kept_moves_with_the_first_worker_and_the_others_fetch_the_newest_only(job, monkeypatch):
    one = on_machine(job, "one", monkeypatch)
    train(one, range(1, 6))
    assert steps_of(one.checkpoints) == [1, 3, 4, 5]

    two = on_machine(job, "two", monkeypatch)
    assert steps_of(two.checkpoints) == [5]
    fetch_earlier_checkpoints(two)
    assert steps_of(two.checkpoints) == [1, 3, 4, 5]
    train(two, [6])
    assert steps_of(two.checkpoints) == [1, 4, 5, 6]
    keys = open_storage(job.storage).keys(job.key("checkpoints"))
    assert {key.split("/")[-2] for key in keys} == {folder.name for folder in two.checkpoints.glob("step-*")}


def test_a_checkpoint_that_never_came_to_the_storage_is_not_continued_from(job, monkeypatch):
    """No other node has it, and all workers start from the same one."""
    one = on_machine(job, "one", monkeypatch)
    train(one, range(1, 4))
    withdraw(
        one.key("checkpoints", checkpoints.step_folder(one.checkpoints, 3).name), storage=open_storage(job.storage)
    )
    assert steps_of(on_machine(job, "one", monkeypatch).checkpoints) == [1, 2]


def test_a_damaged_checkpoint_of_the_storage_is_passed_over(job, tmp_path, monkeypatch):
    train(on_machine(job, "one", monkeypatch), range(1, 4))
    [newest] = (tmp_path / "storage").glob("**/step-000000000003/weights.npz")
    newest.write_bytes(b"damaged")
    two = on_machine(job, "two", monkeypatch)
    assert steps_of(two.checkpoints) == [2]
    fetch_earlier_checkpoints(two)
    assert steps_of(two.checkpoints) == [1, 2]
    train(two, [3])  # again: what is damaged is replaced
    assert steps_of(on_machine(job, "three", monkeypatch).checkpoints) == [3]


def test_training_goes_on_where_the_storage_is_away_and_the_next_checkpoint_is_there(job, tmp_path, monkeypatch):
    one = on_machine(job, "one", monkeypatch)
    train(one, [1])
    (tmp_path / "storage").rename(tmp_path / "away")
    (tmp_path / "storage").touch()
    train(one, [2])
    assert steps_of(one.checkpoints) == [1, 2]
    (tmp_path / "storage").unlink()
    (tmp_path / "away").rename(tmp_path / "storage")
    train(one, [3])
    assert steps_of(on_machine(job, "two", monkeypatch).checkpoints) == [3]
