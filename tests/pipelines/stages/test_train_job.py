"""Training as a job on a Ray cluster whose nodes share no folder with the project: only code, a storage and MLflow."""

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from headrace.components.examples import shards
from headrace.pipelines.params import load_pipeline
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.project.code_digests import write_digests
from headrace.pipelines.ray_jobs.jobs import Cluster, RayJobs
from headrace.pipelines.stages.split import split

pytestmark = pytest.mark.slow
TOKEN = "0" * 64
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, prepared):
    """Sixteen epochs of many steps: a job's log comes seconds later, and the training has to be under way by then."""
    project = longer(prepared.copy(tmp_path_factory.mktemp("undisturbed") / "a project"))
    code, output = project.train()
    assert code == 0, output
    return project


@pytest.fixture
def disturbed(tmp_path, prepared):
    return longer(prepared.copy(tmp_path / "a project"))


def longer(project):
    project.change_train(epochs=16, global_batch_size=8, checkpoints={"every_steps": 20})
    return project


@pytest.fixture
def away(job_server, tmp_path, monkeypatch):
    """The environment by which a training goes to the cluster, and by which this process calls MLflow."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    return {
        "RAY_ADDRESS": job_server.address,
        "RAY_AUTH_TOKEN": TOKEN,
        "HEADRACE_OWNER": tmp_path.name,  # the cluster is that of other tests, too, which train the same
        "HEADRACE_STORAGE": str(tmp_path / "storage"),
        "MLFLOW_TRACKING_URI": os.environ["MLFLOW_TRACKING_URI"],
    }


def jobs_of(away) -> list:
    """The jobs of this test, oldest first."""

    async def query() -> list:
        async with RayJobs(Cluster(away["RAY_ADDRESS"], TOKEN)) as jobs:
            return list(await jobs.list())

    owned = [
        job for job in asyncio.run(query()) if job.metadata.get("headrace.owner", "").startswith(away["HEADRACE_OWNER"])
    ]
    return sorted(owned, key=lambda job: job.start_seconds)


def stop(away, submission_id: str):
    async def query():
        async with RayJobs(Cluster(away["RAY_ADDRESS"], TOKEN)) as jobs:
            return await jobs.stop(submission_id, grace_seconds=30)

    return asyncio.run(query())


def run_name(output: str) -> str:
    return re.search(r"digits-[0-9a-f]{12}", output)[0]


@pytest.mark.long
def test_several_who_want_the_same_training_get_one_job_even_after_one_was_killed(
    undisturbed, disturbed, away, tmp_path
):
    other = disturbed.copy(tmp_path / "another project")
    first, _ = disturbed.start_until("submitted", **away)
    second = other.start(**away | {"HEADRACE_OWNER": f"{away['HEADRACE_OWNER']}-other"})
    first.kill()  # the job continues
    first.communicate(timeout=30)
    code, again = disturbed.train(**away)
    assert code == 0, again
    assert "joined the job that trains this" in again
    joined = second.communicate(timeout=120)[0]
    assert second.returncode == 0, joined
    assert f"owner={away['HEADRACE_OWNER']}" in joined
    disturbed.assert_as_undisturbed(undisturbed)
    assert [job.status for job in jobs_of(away)] == ["SUCCEEDED"]


@pytest.mark.long
def test_a_job_that_was_stopped_or_killed_is_followed_by_one_that_goes_on(undisturbed, disturbed, away, job_server):
    process, output = disturbed.start_until("epoch 1/16", **away)
    name = run_name(output)
    stopped = stop(away, re.search(rf"{name}-\S+", output)[0])
    assert stopped.status == "STOPPED"
    output += process.communicate(timeout=60)[0]
    assert process.returncode == 75, output
    _, [run] = disturbed.runs()
    assert run.info.status == "KILLED"

    process, output = disturbed.start_until("an earlier attempt at the same training continues", **away)
    [driver] = job_server.drivers()
    driver.kill()
    output += process.communicate(timeout=60)[0]
    assert process.returncode == 75, output
    _, [run] = disturbed.runs()
    assert run.info.status == "FAILED"

    code, output = disturbed.train(**away)
    assert code == 0, output
    disturbed.assert_as_undisturbed(undisturbed)
    assert [job.status for job in jobs_of(away)] == ["STOPPED", "FAILED", "SUCCEEDED"]


@pytest.mark.long
def test_a_job_trains_what_one_here_trains_and_leaves_it_here(undisturbed, disturbed, away):
    code, output = disturbed.train(**away)
    assert code == 0, output
    disturbed.assert_as_undisturbed(undisturbed)
    run = json.loads(disturbed.paths.run.read_text())
    assert run["ray_job_id"].startswith(run["run_name"])
    assert output.count("epoch 16/16") == 1


@pytest.mark.long
def test_nodes_that_read_their_shares_of_the_shards_train_what_one_that_has_all_trains(
    prepared, tmp_path, away, monkeypatch
):
    project = prepared.copy(tmp_path / "a project")
    monkeypatch.setattr(shards, "SHARD_BYTES", 1 << 15)
    split(load_pipeline(project.root / "params.yaml", "digits"), project.paths)
    assert len(shards.files(project.paths.splits / "train")) > 8
    project.change_train(
        epochs=3, global_batch_size=32, window_examples=256, data_cache_bytes=0, class_weights="balanced"
    )
    alone = project.copy(tmp_path / "alone")
    code, output = alone.train()
    assert code == 0, output
    code, output = project.train(**away)
    assert code == 0, output
    project.assert_as_undisturbed(alone)
    scratch = Path(tempfile.gettempdir()) / f"headrace-{os.geteuid()}" / run_name(output)
    assert not list(scratch.glob("inputs/splits/*/*.parquet"))
    assert not list(scratch.glob("shards-*/*"))


@pytest.mark.long
def test_ctrl_c_asks_whether_to_stop_the_job_or_to_leave_it(disturbed, away):
    code, output = interrupted(disturbed, away, answer="\n")
    assert code == 130, output
    assert "the training continues; the same command joins it again" in output
    assert [job.status for job in jobs_of(away)] == ["RUNNING"]

    code, output = interrupted(disturbed, away, answer="s\n")
    assert code == 130, output
    assert "joined the job that trains this" in output
    assert [job.status for job in jobs_of(away)] == ["STOPPED"]


def interrupted(project, away, *, answer: str) -> tuple[int, str]:
    """A training that a user at a terminal interrupts, and what it says until its end."""
    keyboard, terminal = pty.openpty()
    try:
        process, output = project.start_until("a group of workers starts", stdin=terminal, **away)
        process.send_signal(signal.SIGINT)
        os.write(keyboard, answer.encode())
        output += process.communicate(timeout=60)[0]
        return process.returncode, output
    finally:
        os.close(keyboard)
        os.close(terminal)


def test_a_job_that_a_user_submits_fetches_its_data_from_the_dvc_remote(job_server, prepared, tmp_path, away):
    """As docs/cluster.md shows it: the project's folder without what git ignores, and DVC's remote."""
    project = prepared.copy(tmp_path / "a project")
    for name in ("dvc.yaml", "headrace.lock"):
        (project.root / name).write_text((REPOSITORY / name).read_text())
    (project.root / ".gitignore").write_text("/data/\n/models/\n/.headrace/\n")
    write_digests(ProjectPaths(project.root))
    programs, home = Path(sys.executable).parent, {**os.environ, "HOME": str(tmp_path)}
    dvc = [str(programs / "dvc")]
    for command in (
        ["git", "init", "--quiet"],
        [*dvc, "init", "--quiet"],
        [*dvc, "remote", "add", "--quiet", "--default", "shared", str(tmp_path / "remote")],
        [*dvc, "commit", "--quiet", "--force", "split@digits", "normalize@digits"],
        [*dvc, "push", "--quiet", "split@digits", "normalize@digits"],
    ):
        subprocess.run(command, cwd=project.root, check=True, env=home)
    given = {"MLFLOW_TRACKING_URI": away["MLFLOW_TRACKING_URI"]}
    submit = ["job", "submit", "--working-dir", ".", "--runtime-env-json", json.dumps({"env_vars": given})]
    done = subprocess.run(
        [str(programs / "ray"), *submit, "--", "headrace", "train", "digits"],
        cwd=project.root,
        env={**home, **away, "RAY_AUTH_MODE": "token"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    code, output = project.train(**away | {"HEADRACE_STORAGE": str(tmp_path / "remote" / "headrace")})
    assert code == 0, output
    assert "submitted" not in output  # the results of that job
    run = json.loads(project.paths.run.read_text())
    assert f"fetched                        by='{run['run_name']} of hand' from_commit=unknown" in output
    assert f"trained_at={run['trained_at']}" in output
    assert project.paths.model.is_file()
