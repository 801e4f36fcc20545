"""What may happen to a training, and that its weights, metrics and MLflow run end as if it had not."""

import json
import os
import resource
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow

WORKER = "RayTrainWorker"
FOUND_SECONDS = 60  # within which a worker that hangs is missed: 20 after its last heartbeat, and Ray ends the others
BUSY_SECONDS = 60  # more on a machine that has other work
ORPHANS_SECONDS = 10  # the guard ends all that the driver had started

whatever_the_model = pytest.mark.parametrize("six_epochs", ["layers"], indirect=True)


def end(process) -> str:
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 0, output
    return output


def read_until_it_continues(project, process) -> str:
    """The output until a new group of workers has trained an epoch."""
    return project.read_until(process, "a group of workers starts", "epoch ")


@pytest.mark.parametrize("place", [0, pytest.param(1, marks=pytest.mark.long)])
def test_a_worker_is_killed_whichever_it_is(undisturbed, disturbed, session_processes, until_answered, place):
    process, _ = disturbed.start_until("epoch 2/6")
    with until_answered():
        os.kill(session_processes(process.pid, WORKER)[place], signal.SIGKILL)
        read_until_it_continues(disturbed, process)
    end(process)
    disturbed.assert_as_undisturbed(undisturbed)


@pytest.mark.long
@pytest.mark.parametrize("place", [0, 1])
def test_a_worker_that_hangs_is_found_within_a_minute(undisturbed, disturbed, session_processes, until_answered, place):
    process, _ = disturbed.start_until("epoch 2/6")
    stopped_seconds = time.monotonic()
    with until_answered():
        os.kill(session_processes(process.pid, WORKER)[place], signal.SIGSTOP)
        disturbed.read_until(process, "a group of workers was lost")
        assert time.monotonic() - stopped_seconds < FOUND_SECONDS + BUSY_SECONDS
        read_until_it_continues(disturbed, process)
    end(process)
    disturbed.assert_as_undisturbed(undisturbed)


@pytest.mark.long
def test_a_worker_is_preempted_and_the_failure_budget_stays(undisturbed, disturbed, session_processes, until_answered):
    disturbed.change_train(max_failures=0)
    process, _ = disturbed.start_until("epoch 2/6")
    with until_answered():
        os.kill(session_processes(process.pid, WORKER)[1], signal.SIGTERM)
        disturbed.read_until(process, "workers were preempted and stopped after")
        read_until_it_continues(disturbed, process)
    end(process)
    disturbed.assert_as_undisturbed(undisturbed)


def test_the_driver_is_killed_and_checkpoint_and_rays_notes_are_truncated(
    undisturbed, disturbed, session_processes, until_answered
):
    process, _ = disturbed.start_until("epoch 3/6")
    assert len(session_processes(process.pid, "ray")) > 3
    process.kill()
    killed_seconds = time.monotonic()
    process.communicate(timeout=60)
    while session_processes(process.pid) and time.monotonic() < killed_seconds + ORPHANS_SECONDS:
        time.sleep(0.2)
    assert session_processes(process.pid) == []  # raylet, GCS, agents and workers
    assert [run.info.status for run in disturbed.runs()[1]] == ["RUNNING"]  # nobody was left to say otherwise
    newest = max((disturbed.job / "checkpoints").glob("step-*"))
    (newest / "weights.npz").write_bytes((newest / "weights.npz").read_bytes()[:-100])
    for notes in (disturbed.job / "ray").rglob("*.json"):
        notes.write_bytes(notes.read_bytes()[:20])
    with until_answered():
        code, output = disturbed.train()
    assert code == 0, output
    assert "an earlier attempt at the same training continues" in output
    assert f"damaged checkpoint in {newest}: weights.npz" in " ".join(output.split())
    disturbed.assert_as_undisturbed(undisturbed)


@pytest.mark.long
def test_storage_is_full_for_a_while(undisturbed, disturbed, session_processes, until_answered):
    process, output = disturbed.start_until("epoch 1/6")
    workers = [psutil.Process(worker) for worker in session_processes(process.pid, WORKER)]
    for worker in workers:  # as on a full disk: no file of theirs may grow beyond this; there is room for a few lines
        worker.rlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))
    output += disturbed.read_until(process, "the results wait for room")
    with until_answered():
        for worker in workers:
            worker.rlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        output += end(process)
    assert "no checkpoint of step" in output
    disturbed.assert_as_undisturbed(undisturbed)


@pytest.mark.long
def test_the_workers_are_lost_after_the_last_step_and_before_the_results_are_left(undisturbed, disturbed):
    """Those that come after have nothing to train, and once waited for each other."""
    disturbed.paths.model.mkdir(parents=True)  # in the way of the results
    code, output = disturbed.train()
    assert code == 1, output
    disturbed.paths.model.rmdir()
    shutil.rmtree(disturbed.job / "results")
    started_seconds = time.monotonic()
    code, output = disturbed.train()
    assert code == 0, output
    assert time.monotonic() - started_seconds < 100, "start_timeout_seconds is 180"
    disturbed.assert_as_undisturbed(undisturbed)


@pytest.mark.long
@whatever_the_model
def test_mlflow_is_away_for_the_whole_training_and_is_updated_later(undisturbed, disturbed, until_answered):
    code, output = disturbed.train(MLFLOW_TRACKING_URI="http://127.0.0.1:9")  # the discard port: nobody listens
    assert code == 0, output
    assert "MLflow is away; training continues" in output
    assert json.loads(disturbed.paths.run.read_text())["mlflow_run_id"] is None
    with until_answered():
        code, output = disturbed.train()  # it is trained already: only MLflow is updated
    assert code == 0, output
    disturbed.assert_as_undisturbed(undisturbed)


@pytest.mark.long
@pytest.mark.parametrize("times", [1, 2])
def test_a_worker_without_memory_is_followed_by_one_more_and_no_third(project, until_answered, tmp_path, times):
    folder, models = tmp_path / "groups without memory", project.root / "models"
    for place in range(times):
        (folder / str(place)).mkdir(parents=True)
    models.mkdir()
    text = Path(__file__).with_name("narrow_memory.py").read_text(encoding="utf-8")
    (models / "wide.py").write_text(text.replace('Path("FOLDER")', f"Path({str(folder)!r})"), encoding="utf-8")
    model = {"file": "models/wide.py", "callbacks": "build_callbacks"}
    project.change_train(epochs=1, model=model, global_batch_size=1200, max_failures=0)
    # oneDNN's matrix product does not see that it got no memory, and ends with SIGSEGV instead of an error.
    process, output = project.start_until("a group of workers starts", TF_ENABLE_ONEDNN_OPTS="0")
    with until_answered():
        output += project.read_until(process, "a group of workers starts")
        output += process.communicate(timeout=240)[0]
    _, [run] = project.runs()
    assert "out of memory; the training continues from its last checkpoint, once" in output
    assert "out of memory" in run.data.tags["headrace.retried_after"]
    if times == 1:
        assert (process.returncode, run.info.status) == (0, "FINISHED"), output
    else:
        *_, last = output.splitlines()
        assert (process.returncode, run.info.status) == (2, "FAILED"), output
        assert ", twice. Lower train.global_batch_size" in last
    assert not list(folder.iterdir())


@pytest.mark.long
@pytest.mark.timeout(900)  # four trainings
def test_a_training_with_other_settings_never_gives_the_old_result(project, until_answered):
    """A finished training's name must not stand for another: Ray Train would give its old result."""
    found = {}
    for rate in (0.001, 0.01, 0.001):
        project.change_train(optimizer={"kind": "adam", "learning_rate": rate})
        code, output = project.train()
        assert code == 0, output
        assert "a group of workers starts" in output
        run = json.loads(project.paths.run.read_text())["run_name"]
        found.setdefault(rate, []).append((run, project.paths.history.read_text().splitlines()[-1].split(",")[1]))
    (first, again), (other,) = found[0.001], found[0.01]
    assert first[0] != other[0]
    assert first[1] != other[1]
    assert first == again
    with until_answered():
        code, output = project.train()
    assert code == 0, output
    assert "trained before from the same data, settings and versions: kept" in output


@pytest.mark.long
@whatever_the_model
def test_of_a_driver_that_is_killed_nothing_lives_on(disturbed, session_processes, until_answered):
    process, _ = disturbed.start_until("epoch 2/6")
    assert session_processes(process.pid, WORKER)
    with until_answered():
        process.kill()
        killed_seconds = time.monotonic()
        while session_processes(process.pid) and time.monotonic() - killed_seconds < ORPHANS_SECONDS:
            time.sleep(0.1)
    assert session_processes(process.pid) == []
    process.communicate(timeout=30)


@pytest.mark.long
@whatever_the_model
def test_two_concurrent_trainings_of_one_pipeline_have_one_writer(undisturbed, disturbed, until_answered):
    first, _ = disturbed.start_until("a group of workers starts")
    with until_answered():
        second = disturbed.start()
        outputs = [process.communicate(timeout=240)[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outputs
    waited = f"another process works on the same files; waiting until it has ended pid={first.pid}"
    assert waited in " ".join(outputs[1].split())
    assert "trained before from the same data, settings and versions: kept" in outputs[1]
    disturbed.assert_as_undisturbed(undisturbed)
