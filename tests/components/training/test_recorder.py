"""Trainings of one worker within this process: what is resumed, kept, stopped and refused."""

import errno
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.components.errors import TrainingError
from headrace.components.training import checkpoints
from headrace.components.training.checkpoints import Begun, Checkpoint
from headrace.components.training.observer import Observer, Stopped
from headrace.components.training.pipeline_trainee import train_pipeline

EXAMPLES, STEPS = 65, 5  # of an epoch: batches of 13


def train(folder: Path, *, observer: Observer | None = None, scale: float = 1.0, **changes: Any) -> Checkpoint:
    """The last state of a training on few examples, whose batches and masks differ from step to step."""
    from headrace.components.schema.labels import CategoryLabel
    from headrace.components.training.feeding.split_arrays import Columns
    from headrace.components.training.loop import Worker
    from headrace.components.training.settings import Training

    settings = {
        "model": {"layers": [{"kind": "dense", "units": 4}, {"kind": "dropout", "rate": 0.5}]},
        "optimizer": {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9},
        "global_batch_size": 16,
        "epochs": 2,
        **changes,
    }
    generator = np.random.default_rng(0)
    features = (scale * generator.normal(size=(EXAMPLES, 3))).astype(np.float32)
    columns = Columns(features, generator.integers(0, 2, EXAMPLES).astype(np.int32))
    return train_pipeline(
        columns,
        columns,
        label=CategoryLabel(name="kind", classes=("a", "b")),
        training=Training.model_validate(settings),
        worker=Worker(0, 1),
        folder=folder,
        observer=observer or Observer(),
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Checkpoint:
    return train(tmp_path_factory.mktemp("undisturbed"))


def assert_equal(found: Checkpoint, expected: Checkpoint) -> None:
    def metrics(checkpoint: Checkpoint) -> list[list[float]]:
        return [[one[name] for name in sorted(one.keys() - {"seconds"})] for one in checkpoint.state.history]

    np.testing.assert_allclose(metrics(found), metrics(expected), rtol=1e-6)
    for name in ("weights", "optimizer", "best_weights"):
        for one, other in zip(getattr(found, name), getattr(expected, name), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7, err_msg=name)


def test_a_training_continued_between_two_epochs_ends_as_the_undisturbed_one(tmp_path, undisturbed):
    """And reports the epoch before again: the process that received it may be gone."""
    reported = []
    train(tmp_path, epochs=1)
    continued = train(tmp_path, observer=Observer(on_epoch=lambda epoch, metrics, workers: reported.append(epoch)))
    assert_equal(continued, undisturbed)
    assert reported == [1, 2]


def test_each_interval_reports_the_workers_steps_and_a_resumed_training_its_step(tmp_path):
    figures: list[dict[str, float]] = []
    steps: list[int] = []
    watched = Observer(on_worker=lambda found: figures.append(dict(found)), on_resume=steps.append, worker_seconds=0.0)
    train(tmp_path, observer=watched, epochs=1)
    assert [one["step"] for one in figures] == [1, 2, 3, 4, 5]
    for one in figures[1:]:  # the first step is traced
        assert 0 < one["compute_seconds"] <= one["step_seconds"]
        assert 0 <= one["feeding_share"] <= 1 and 0 <= one["waiting_share"] < 1
        assert one["examples_per_second"] == pytest.approx(13 / one["step_seconds"])
        assert one["memory_mebibytes"] > 10
    assert steps == []
    train(tmp_path, observer=watched)
    assert steps == [STEPS]


def test_a_training_stopped_within_an_epoch_ends_as_the_undisturbed_one(tmp_path, undisturbed):
    """Its metrics of that epoch are of all its steps, those before the stop among them."""
    observer = Observer()
    observer.stop.set()
    with pytest.raises(Stopped, match=r"^after step [12]$"):
        train(tmp_path, observer=observer)
    assert_equal(train(tmp_path), undisturbed)


def test_a_checkpoint_is_written_every_so_many_steps_and_after_each_epoch(tmp_path):
    written = []
    observer = Observer(on_checkpoint=lambda folder: written.append(int(folder.name.partition("-")[2])))
    last = train(tmp_path, observer=observer, epochs=2, checkpoints={"every_steps": 2})
    assert written == [2, 4, 5, 7, 9, 10]
    assert (last.state.step, last.state.epoch) == (10, 2)


def test_the_best_weights_are_those_of_the_best_epoch(tmp_path):
    """At so high a learning rate the last epoch is not the best."""
    optimizer = {"kind": "sgd", "learning_rate": 10.0}
    last = train(tmp_path, optimizer=optimizer, epochs=4, checkpoints={"keep_last": 4})
    losses = [epoch["validation_loss"] for epoch in last.state.history]
    best = int(np.argmin(losses)) + 1
    assert last.state.best_epoch == best < 4
    kept = checkpoints.load(checkpoints.step_folder(tmp_path, best * STEPS))
    for one, other in zip(last.best_weights, kept.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_steps_go_on_beside_a_checkpoint_that_does_not_count_before_it_is_whole(tmp_path, monkeypatch):
    """A training that is killed then continues from the one before."""
    may_finish, finish = threading.Event(), Begun.finish

    def finish_late(begun: Begun, *given: Any) -> Path:
        assert may_finish.wait(timeout=60)
        return finish(begun, *given)

    monkeypatch.setattr(Begun, "finish", finish_late)
    found: list[tuple[int, list[str]]] = []

    def on_step(figures: Any) -> None:
        found.append((int(figures["step"]), [one.name for one in tmp_path.glob("step-*")]))
        if figures["step"] == STEPS + 2:
            assert len(list(tmp_path.glob(".step-*"))) == 1
            assert checkpoints.newest(tmp_path) == (None, [])
            may_finish.set()

    train(tmp_path, observer=Observer(on_worker=on_step, worker_seconds=0.0))
    assert [step for step, there in found if not there][: STEPS + 2] == list(range(1, STEPS + 3))
    whole = [int(one.name.partition("-")[2]) for one in sorted(tmp_path.glob("step-*"))]
    assert whole == [STEPS, 2 * STEPS]  # both, as the training has ended
    assert list(tmp_path.glob(".step-*")) == []


@pytest.mark.parametrize("place", ["__init__", "finish"])
def test_without_room_for_a_checkpoint_training_goes_on_and_keeps_the_best_weights(tmp_path, monkeypatch, place):
    """Those of the best epoch, which no checkpoint has, are in the later ones, and in the last state."""
    optimizer = {"kind": "sgd", "learning_rate": 10.0}
    expected = train(tmp_path / "roomy", optimizer=optimizer, epochs=4).in_memory()
    best, plain, notes = expected.state.best_epoch, getattr(Begun, place), []
    assert best < 4
    steps = iter(range(1, 5))

    def full(begun: Begun, *given: Any) -> Any:
        if next(steps) == best:
            raise OSError(errno.ENOSPC, "No space left on device")
        return plain(begun, *given)

    monkeypatch.setattr(Begun, place, full)
    found = train(tmp_path / "full", optimizer=optimizer, epochs=4, observer=Observer(on_note=notes.append))
    assert [f"no checkpoint of step {best * STEPS}: [Errno 28]" in one for one in notes] == [True]
    assert_equal(found, expected)
    newest, _ = checkpoints.newest(tmp_path / "full")
    assert_equal(newest, expected)
    assert list((tmp_path / "full").glob(".step-*")) == []


def test_an_error_while_a_checkpoint_is_finished_ends_the_training(tmp_path):
    def fail(folder: Path) -> None:
        raise TrainingError("the storage is another's")

    with pytest.raises(TrainingError, match="the storage is another's"):
        train(tmp_path, observer=Observer(on_checkpoint=fail), epochs=3)


def test_a_training_that_no_longer_improves_ends(tmp_path):
    stopping = {"patience_epochs": 1, "minimum_improvement": 1e6}
    assert train(tmp_path, epochs=5, early_stopping=stopping).state.epoch == 2


def test_a_loss_that_is_not_finite_ends_the_training_and_leaves_no_checkpoint_of_it(tmp_path):
    with pytest.raises(TrainingError, match="the loss of epoch 1 is not finite"):
        train(tmp_path, scale=1e38)
    assert list(tmp_path.iterdir()) == []


def test_averages_are_validated_and_kept_and_training_goes_on_from_the_trained_weights(tmp_path):
    optimizer = {"kind": "sgd", "learning_rate": 0.1, "ema_momentum": 0.9}
    whole = train(tmp_path / "whole", optimizer=optimizer)
    train(tmp_path / "stopped", optimizer=optimizer, epochs=1)
    assert_equal(train(tmp_path / "stopped", optimizer=optimizer), whole)
    kept = checkpoints.load(checkpoints.step_folder(tmp_path / "whole", whole.state.best_epoch * STEPS))
    for one, other in zip(whole.best_weights, kept.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    plain = train(tmp_path / "plain", optimizer={"kind": "sgd", "learning_rate": 0.1})
    for averaged, trained in zip(whole.state.history, plain.state.history, strict=True):
        assert averaged["loss"] == pytest.approx(trained["loss"], rel=1e-5)
        assert abs(averaged["validation_loss"] - trained["validation_loss"]) > 1e-4
