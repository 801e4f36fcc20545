"""A checkpoint is whole and verified, or it does not count."""

import json

import numpy as np
import pytest

from headrace.components.files.digests import file_digest
from headrace.components.training import checkpoints
from headrace.components.training.checkpoints import Checkpoint
from headrace.components.training.state import TrainingState


def make(folder, epoch: int):
    state = TrainingState(
        epoch=epoch, step=epoch * 3, seed=7, best_epoch=epoch, best_value=0.5, history=({"epoch": 1.0, "loss": 0.5},)
    )
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3) * epoch, np.array(epoch, dtype=np.int64)]
    best = [array + 1 for array in arrays]
    whole = Checkpoint(state=state, weights=arrays, best_weights=best, optimizer=arrays[::-1])
    return checkpoints.save(checkpoints.step_folder(folder, 3 * epoch), whole)


def test_what_was_saved_comes_back_bit_for_bit(tmp_path):
    loaded = checkpoints.load(make(tmp_path, 4))
    assert loaded.state.epoch == 4
    assert loaded.state.history == ({"epoch": 1.0, "loss": 0.5},)
    np.testing.assert_array_equal(loaded.weights[0], np.arange(6, dtype=np.float32).reshape(2, 3) * 4)
    assert loaded.optimizer[0].dtype == np.int64
    assert loaded.optimizer[0].shape == ()


def test_best_weights_that_are_the_present_ones_are_written_once(tmp_path):
    weights, moments = [np.full(250_000, 0.5, np.float32)], [np.zeros(500_000, np.float32)]
    state = TrainingState(epoch=1, step=3, seed=7, best_epoch=1)
    folder = checkpoints.save(tmp_path / "step-000000000003", Checkpoint(state, weights, weights, moments))
    assert sum(file.stat().st_size for file in folder.iterdir()) < 3.01 * weights[0].nbytes
    loaded = checkpoints.load(folder)
    np.testing.assert_array_equal(loaded.best_weights[0], weights[0])
    assert loaded.best_weights is loaded.weights  # nor held twice
    assert json.loads((folder / checkpoints.MANIFEST).read_text(encoding="utf-8")).keys() >= {"best_weights.npz"}


def test_the_best_weights_of_an_epoch_come_from_the_newest_checkpoint_that_has_them_whole(tmp_path):
    folders = []
    for epoch in (1, 2, 3, 4):
        state = TrainingState(epoch=epoch, step=3 * epoch, seed=7, best_epoch=min(epoch, 2))
        weights = [np.full(3, epoch, np.float32)]
        best = weights if epoch <= 2 else checkpoints.best_weights(tmp_path, 2)
        folder = checkpoints.step_folder(tmp_path, 3 * epoch)
        folders.append(checkpoints.save(folder, Checkpoint(state, weights, best, weights)))
    for damaged in (None, folders[3] / "best_weights.npz", folders[2] / "best_weights.npz"):
        if damaged is not None:
            damaged.write_bytes(damaged.read_bytes()[:-1])
        np.testing.assert_array_equal(checkpoints.best_weights(tmp_path, 2), [[2, 2, 2]])
    (folders[1] / "weights.npz").unlink()
    with pytest.raises(FileNotFoundError, match="has the weights of epoch 2, the best, whole"):
        checkpoints.best_weights(tmp_path, 2)


def test_the_manifest_has_the_digest_of_each_file(tmp_path):
    folder = make(tmp_path, 2)
    digests = json.loads((folder / checkpoints.MANIFEST).read_text(encoding="utf-8"))
    assert {file.name for file in folder.iterdir()} == {checkpoints.MANIFEST, *digests}
    assert {name: file_digest(folder / name) for name in digests} == digests


def test_a_checkpoint_from_before_random_states_were_kept_is_whole_without_them(tmp_path):
    folder = make(tmp_path, 4)
    digests = json.loads((folder / checkpoints.MANIFEST).read_text(encoding="utf-8"))
    for name in checkpoints.LATER_ARRAYS:
        (folder / f"{name}.npz").unlink()
        del digests[f"{name}.npz"]
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    del state["is_ended"]
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
    digests["state.json"] = file_digest(folder / "state.json")
    (folder / checkpoints.MANIFEST).write_text(json.dumps(digests), encoding="utf-8")
    found, passed_over = checkpoints.newest(tmp_path)
    assert (found.random, found.other_optimizers, found.state.is_ended, passed_over) == ((), (), False, [])


@pytest.mark.parametrize("name", ["weights.npz", "best_weights.npz", "optimizer.npz", "metrics.npz", "state.json"])
def test_a_truncated_file_makes_the_one_before_it_the_newest(tmp_path, name):
    make(tmp_path, 1)
    file = make(tmp_path, 2) / name
    file.write_bytes(file.read_bytes()[:-1])
    found, passed_over = checkpoints.newest(tmp_path)
    assert found.state.epoch == 1
    assert len(passed_over) == 1
    assert name in passed_over[0]


@pytest.mark.parametrize("damage", ["missing", "not json", "empty list"])
def test_a_folder_without_a_good_manifest_is_no_checkpoint(tmp_path, damage):
    manifest = make(tmp_path, 1) / checkpoints.MANIFEST
    match damage:
        case "missing":
            manifest.unlink()
        case "not json":
            manifest.write_text("{", encoding="utf-8")
        case "empty list":
            manifest.write_text("[]", encoding="utf-8")
    assert checkpoints.newest(tmp_path)[0] is None


def test_a_pickle_is_never_loaded(tmp_path):
    folder = make(tmp_path, 1)
    np.savez(folder / "weights.npz", np.array([{"a": 1}], dtype=object))
    digests = json.loads((folder / checkpoints.MANIFEST).read_text(encoding="utf-8"))
    digests["weights.npz"] = file_digest(folder / "weights.npz")
    (folder / checkpoints.MANIFEST).write_text(json.dumps(digests), encoding="utf-8")
    with pytest.raises(ValueError, match="allow_pickle=False"):
        checkpoints.load(folder)


def test_the_last_ones_and_the_best_are_kept(tmp_path):
    for epoch in (1, 2, 10, 11):
        make(tmp_path, epoch)
    (tmp_path / ".step-000000000033.1234").mkdir()  # of a worker that was killed while it wrote
    checkpoints.keep(tmp_path, last=2, best_step=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"step-{step:012d}" for step in (3, 30, 33)]


def test_one_of_every_so_many_hours_of_training_is_kept_and_the_time_between_two_tries_does_not_count(tmp_path):
    arrays = [np.zeros(1, np.float32)]
    history: tuple[dict[str, float], ...] = ()
    for epoch in range(1, 13):  # half an hour each, saved within a moment
        history = (*history, {"epoch": float(epoch), "seconds": 1800.0})
        state = TrainingState(epoch=epoch, step=epoch, seed=7, best_epoch=1, history=history)
        checkpoints.save(checkpoints.step_folder(tmp_path, epoch), Checkpoint(state, arrays, arrays, arrays))
        checkpoints.keep(tmp_path, last=2, best_step=1, every_hours=2)
    # the best, the first after 2 and 4 hours of 6, and the last two
    assert [int(path.name.partition("-")[2]) for path in sorted(tmp_path.iterdir())] == [1, 4, 8, 11, 12]
    assert checkpoints.load(checkpoints.step_folder(tmp_path, 8)).state.seconds == 4 * 3600


def test_without_any_there_is_none(tmp_path):
    assert checkpoints.newest(tmp_path / "absent") == (None, [])


@pytest.mark.parametrize("name", ["weights.npz", "best_weights.npz", "optimizer.npz", "metrics.npz", "state.json"])
def test_a_manifest_that_lists_too_little_makes_the_one_before_it_the_newest(tmp_path, name):
    make(tmp_path, 1)
    manifest = make(tmp_path, 2) / checkpoints.MANIFEST
    digests = json.loads(manifest.read_text(encoding="utf-8"))
    del digests[name]
    manifest.write_text(json.dumps(digests), encoding="utf-8")
    found, passed_over = checkpoints.newest(tmp_path)
    assert found.state.epoch == 1
    assert [name in one for one in passed_over] == [True]
