"""The train stage on real Ray clusters: what it writes, and how it reports its end."""

import csv
import json
import os
import signal
import time

import grpc
import psutil
import pytest

from headrace.components.serving_model.keras_file import weights_digest

pytestmark = pytest.mark.slow


def test_a_training_leaves_model_checkpoint_history_and_a_finished_run(project):
    code, output = project.train(HEADRACE_WORKER_SECONDS="0.1", HEADRACE_LOG="json")
    assert code == 0, output
    paths = project.paths
    run = json.loads(paths.run.read_text())
    assert run["epochs"] == 2
    assert run["num_workers"] == 2
    with paths.history.open() as file:
        history = list(csv.DictReader(file))
    assert [row["epoch"] for row in history] == ["1", "2"]
    assert float(history[1]["loss"]) < float(history[0]["loss"])

    import keras
    import numpy as np

    outputs = keras.models.load_model(paths.model)({"image": np.full((3, 8, 8, 1), 16.0, np.float32)})
    np.testing.assert_allclose(np.sum(outputs, axis=1), 1.0, rtol=1e-5)

    from headrace.components.training import checkpoints

    last = checkpoints.load(paths.checkpoint)
    assert last.state.epoch == 2
    kept = [checkpoints.load(folder).state for folder in sorted(paths.checkpoints.iterdir())]
    assert [(state.epoch, state.step) for state in kept] == [(1, last.state.step // 2), (2, last.state.step)]
    assert_tensorboard_shows_all(paths.tensorboard, epochs=2)

    client, found = project.runs()
    assert [one.info.run_id for one in found] == [run["mlflow_run_id"]]
    assert found[0].info.status == "FINISHED"
    logged = client.get_metric_history(run["mlflow_run_id"], "validation_loss")
    assert [metric.step for metric in logged] == [1, 2]
    np.testing.assert_allclose([metric.value for metric in logged], [float(row["validation_loss"]) for row in history])
    assert not (project.root / ".headrace" / "ray" / run["run_name"]).exists()
    system = found[0].data.metrics
    assert system["system/workers"] == 2 and system["system/restarts"] == 0
    for name in ("step_seconds", "waiting_share", "feeding_share", "examples_per_second", "cpu_percent"):
        assert system[f"system/worker_1/{name}"] >= 0
    trained = [json.loads(line) for line in output.splitlines() if '"message": "trained"' in line]
    names = {"pipeline": "digits", "run": run["run_name"], "job": "embedded", "mlflow_run": run["mlflow_run_id"]}
    assert [{name: one[name] for name in names} for one in trained] == [names]


def assert_tensorboard_shows_all(folder, *, epochs: int) -> None:
    """Scalars of both splits, each epoch's histograms of the weights, the graph by layer, and the first images."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train, validation = (EventAccumulator(str(folder / split)).Reload() for split in ("train", "validation"))
    assert [event.step for event in validation.Tensors("epoch_loss")] == list(range(1, epochs + 1))
    kernels = [tag for tag in train.Tags()["tensors"] if tag.endswith("kernel")]
    assert len(kernels) == 2
    assert [event.step for event in train.Tensors(kernels[0])] == list(range(1, epochs + 1))
    scopes = {scope for node in train.Graph().node for scope in node.name.split("/")[:-1]}
    assert any(scope.startswith("dense") for scope in scopes), scopes
    width, height, *pictures = train.Tensors("image")[0].tensor_proto.string_val
    assert (width, height, len(pictures)) == (b"8", b"8", 16)
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)


def test_a_loss_that_is_not_finite_fails_the_stage_and_the_run_in_one_line(project, until_answered):
    project.change_train(
        optimizer={"kind": "sgd", "learning_rate": 10.0, "momentum": 0.99},
        epochs=30,
        model={"layers": [{"kind": "dense", "units": 512}, {"kind": "dense", "units": 512}]},
    )
    with until_answered():
        code, output = project.train()
    assert code == 2, output
    assert "is not finite" in output
    assert "Traceback" not in output
    assert not project.paths.model.exists()
    assert [run.info.status for run in project.runs()[1]] == ["FAILED"]


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGHUP,
        *(pytest.param(one, marks=pytest.mark.long) for one in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)),
    ],
)
def test_a_signal_ends_a_training_with_no_process_and_a_killed_run(project, session_processes, until_answered, number):
    project.change_train(epochs=10_000)
    process = project.start()
    try:
        for line in process.stdout:
            if "epoch 2/" in line:
                break
        stopped = time.monotonic()
        with until_answered():
            os.kill(process.pid, number)
            process.communicate(timeout=30)
        took_seconds = time.monotonic() - stopped
    finally:
        process.kill()
    assert took_seconds < 10
    assert process.returncode == 128 + number
    deadline = time.monotonic() + 10
    while session_processes(process.pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert session_processes(process.pid) == []
    [run] = project.runs()[1]
    assert run.info.status == "KILLED"
    assert run.data.tags["headrace.reason"] == f"ended by {number.name}"


def test_while_it_trains_nobody_listens_for_tensorflow(project, session_processes):
    """A TensorFlow server reads and writes files for any process that reaches it."""
    project.change_train(epochs=10_000)
    process, _ = project.start_until("epoch 2/")
    try:
        found = [psutil.Process(one) for one in session_processes(process.pid)]
        listening = {one.laddr for each in found for one in each.net_connections("tcp") if one.status == "LISTEN"}
        assert [one for one in listening if serves_tensorflow(one.port)] == []
        assert session_processes(process.pid, "TrainController")
        assert session_processes(process.pid, "AutoscalingCoordinator") == []  # no one adds nodes to this machine
        workers = [psutil.Process(one) for one in session_processes(process.pid, "RayTrainWorker")]
        ours, theirs = (
            {(one.laddr, one.raddr) for one in worker.net_connections("tcp") if one.status == "ESTABLISHED"}
            for worker in workers
        )
        ring = {(local, remote) for local, remote in ours if (remote, local) in theirs}
        assert len(ring) >= 4, "gradients and heartbeats, to both sides"
        assert {local.ip for local, _ in ring} == {"127.0.0.1"}
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)


def serves_tensorflow(port: int) -> bool:
    """Whether a TensorFlow server answers, as one does before a session is opened."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            channel.unary_unary("/tensorflow.MasterService/ListDevices")(b"", timeout=5)
        except grpc.RpcError as error:
            # UNIMPLEMENTED: another service of gRPC; the others: no gRPC, or one that asks for a token.
            other = (
                grpc.StatusCode.UNIMPLEMENTED,
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.UNAUTHENTICATED,
                grpc.StatusCode.DEADLINE_EXCEEDED,
            )
            return error.code() not in other
    return True


def test_the_probe_above_finds_a_tensorflow_server(free_ports):
    import tensorflow as tf

    [port] = free_ports(1)
    tf.distribute.Server({"worker": [f"127.0.0.1:{port}"]}, job_name="worker", task_index=0)
    assert serves_tensorflow(port)


def test_an_error_of_a_workers_own_ends_the_training_without_a_retry_with_its_traceback(project, until_answered):
    [table] = project.paths.splits.glob("train/*.parquet")
    table.write_bytes(table.read_bytes()[:1000])
    with until_answered():
        code, output = project.train()
    assert code == 1, output
    assert output.count("ComputeError: parquet") == 1, output  # one worker's traceback, once: no blind second attempt
    assert [run.info.status for run in project.runs()[1]] == ["FAILED"]


def test_an_identical_training_is_recognised_and_kept(project):
    code, output = project.train()
    assert code == 0, output
    before = project.paths.run.read_bytes()
    project.change_train(max_failures=7)  # changes no weight
    code, output = project.train()
    assert code == 0, output
    assert "trained before" in output
    assert json.loads(before)["trained_at"] in output
    assert project.paths.run.read_bytes() == before
    assert len(project.runs()[1]) == 1
    code, output = project.train("--force")
    assert code == 0, output
    again, first = json.loads(project.paths.run.read_bytes()), json.loads(before)
    assert again["run_name"] == first["run_name"]
    assert again["groups"] == first["groups"] == [{"num_workers": 2, "threads_per_worker": 1}]
    assert [run.info.status for run in project.runs()[1]] == ["FINISHED"] * 2


def metrics_by_epoch(history) -> list[dict[str, str]]:
    with history.open() as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.long
def test_a_bitwise_training_is_the_same_on_any_number_of_workers_and_threads(project):
    layers = [{"kind": "dense", "units": 32}, {"kind": "batch_normalization"}, {"kind": "dropout", "rate": 0.2}]
    optimizer = {"kind": "adam", "learning_rate": 0.01}
    changes = {"reproducible": "bitwise", "epochs": 12, "model": {"layers": layers}, "optimizer": optimizer}
    project.change_train(num_workers=1, **changes)
    code, output = project.train()
    assert code == 0, output
    model, history = project.paths.model.read_bytes(), metrics_by_epoch(project.paths.history)
    for workers, threads in ((2, 5), (4, 1)):
        project.change_train(num_workers=workers, threads_per_worker=threads, **changes)
        code, output = project.train()
        assert code == 0, output
        assert "trained before" in output  # another number of workers is the same training
        code, output = project.train("--force")
        assert code == 0, output
        assert project.paths.model.read_bytes() == model
        assert metrics_by_epoch(project.paths.history) == history
        assert json.loads(project.paths.run.read_text())["groups"] == [{"num_workers": 4, "threads_per_worker": 1}]


@pytest.mark.long
def test_a_model_that_was_changed_is_trained_again_to_the_same_bytes(project):
    code, output = project.train()
    assert code == 0, output
    before, run = project.paths.model.read_bytes(), json.loads(project.paths.run.read_text())
    assert run["weights_digest"] == weights_digest(project.paths.model)
    project.paths.model.write_bytes(before[:-1] + b"x")
    code, output = project.train()
    assert code == 0, output
    assert "does not fit together" in output
    assert project.paths.model.read_bytes() == before
    assert json.loads(project.paths.run.read_text())["weights_digest"] == run["weights_digest"]
    tags = [one.data.tags for one in project.runs()[1]]
    assert [one["headrace.weights_digest"] for one in tags] == [run["weights_digest"]] * 2


@pytest.mark.long
def test_everything_that_training_can_do_works_together(project):
    project.change_train(
        epochs=40,
        best_by="validation_accuracy",
        early_stopping={"patience_epochs": 2},
        class_weights="balanced",
        label_smoothing=0.05,
        window_examples=400,
        precision="mixed_bfloat16",
        steps_per_execution=4,
        optimizer={
            "kind": "lion",
            "learning_rate": {"kind": "cosine", "peak": 0.003, "warmup_epochs": 1},
            "weight_decay": 0.01,
            "clip_norm": 1.0,
            "gradient_accumulation_steps": 2,
        },
        checkpoints={"every_steps": 5, "keep_last": 3, "keep_every_hours": 1},
    )
    code, output = project.train()
    assert code == 0, output
    run = json.loads(project.paths.run.read_text())
    assert run["best_epoch"] + 2 == run["epochs"] < 40
    with project.paths.history.open() as file:
        accuracies = [float(row["validation_accuracy"]) for row in csv.DictReader(file)]
    assert max(accuracies) == accuracies[run["best_epoch"] - 1] > 0.8

    project.change_train(start_from=str(0), epochs=1)  # no such revision
    code, output = project.train()
    assert code == 2
    assert "Traceback" not in output


def test_gpus_that_are_not_there_are_refused_before_any_work(project):
    project.change_train(use_gpu=True)
    code, output = project.train()
    assert code == 2, output
    assert "2 workers need as many GPUs, and Ray finds 0 on this machine" in output


def test_each_worker_gets_a_gpu_of_its_own_and_says_so_where_tensorflow_sees_none(project, tmp_path):
    """Logical GPUs, because that is as far as a machine without one can go: placement, and what a worker receives."""
    site = tmp_path / "site"
    site.mkdir()
    # Ray believes in two GPUs on this machine, as it does where its own search finds them.
    (site / "sitecustomize.py").write_text(
        "import ray._private.accelerators.nvidia_gpu as gpu\n"
        "gpu.NvidiaGPUAcceleratorManager.get_current_node_num_accelerators = staticmethod(lambda: 2)\n",
        encoding="utf-8",
    )
    project.change_train(use_gpu=True)
    code, output = project.train(PYTHONPATH=str(site))
    assert code == 2, output
    assert "Ray gave this worker a GPU (CUDA_VISIBLE_DEVICES=" in output
    assert "TensorFlow sees none" in output
