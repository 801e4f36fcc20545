import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

TRAIN = "mkdir -p models/digits && cp data/digits/examples/part models/digits/model.keras"

SLOW_TRAIN = "echo 'epoch 1/9' && sleep 1000"
DEAF_TRAIN = "trap '' INT TERM; echo 'epoch 1/9'; sleep 1000 & sleep 1001"  # only SIGKILL ends it


def living_below(folder: Path) -> list[str]:
    """Command lines of processes that work in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(folder):
                found.append(" ".join(process.cmdline()))
        except (psutil.Error, OSError):
            continue
    return found


def wait_for(process, text: str) -> None:
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"ended without {text!r}")


OWN = """\
import keras

def build_model(inputs, label):
    outputs = keras.layers.Dense({units})(keras.layers.Flatten()(inputs["image"]))
    return keras.Model(inputs, outputs)
"""


@pytest.mark.slow
def test_a_model_of_a_file_is_built_before_any_work(project):
    """Its inputs follow from the schema: nothing was ingested, nor fitted."""
    params = yaml.safe_load((project.root / "params.yaml").read_text())
    params["digits"]["train"]["model"] = {"file": "models/net.py"}
    (project.root / "params.yaml").write_text(yaml.safe_dump(params))
    (project.root / "data" / "digits" / "examples" / "part").unlink()  # ingest is due
    file = project.root / "models" / "net.py"
    file.write_text(OWN.format(units=3))
    output = project.output_of("run", "digits", code=2)
    assert "expected outputs of shape (batch, 10)" in output
    assert "found (batch, 3)" in output
    assert "ingest" not in output
    file.write_text(OWN.format(units="label.outputs"))
    output = project.output_of("run", "digits")
    assert output.index("built, saved and loaded before any work") < output.index("ingest   | running")


def test_a_change_runs_what_depends_on_it_and_ends_with_the_result(project):
    project.write_stages(
        train=SLOW_TRAIN.replace("sleep 1000", "cp data/digits/examples/part models/digits/model.keras")
    )
    output = project.output_of("run", "digits")
    assert "ingest   | unchanged" in output
    assert "train    | running\ntrain    | epoch 1/9\ntrain    | done in" in output
    assert "test accuracy  0.9712" in output
    assert "mlflow ui --backend-store-uri sqlite:///mlflow.db" in output
    assert "models/digits/model.keras" in output


def test_of_a_restored_model_the_run_in_this_mlflow_is_shown(project):
    (project.root / "models" / "digits" / "run.json").write_text('{"mlflow_run_id": "there", "mlflow_experiment": "e"}')
    (project.root / "reports" / "digits" / "registration.json").write_text('{"mlflow_run_id": "here"}')
    assert "MLflow run     here in experiment e" in project.output_of("run", "digits")


def test_with_nothing_changed_no_stage_runs(finished_project):
    output = finished_project.output_of("run", "digits")
    assert output.count(" unchanged") == 3
    assert "running" not in output
    assert "epoch" not in output


def test_dvc_is_not_started_where_nothing_has_changed_and_is_where_an_output_has(project):
    project.output_of("run", "digits")  # of a copy nothing was noted
    (project.root / ".dvc" / "tmp" / "rwlock.lock").unlink()  # DVC makes it
    assert "| unchanged" not in project.output_of("run", "digits")
    assert not (project.root / ".dvc" / "tmp" / "rwlock.lock").exists()
    model = project.root / "models" / "digits" / "model.keras"
    model.write_text("2\n")
    assert "train    | restored" in project.output_of("run", "digits")
    assert model.read_text() == "1\n"


def test_output_to_a_pipe_is_plain_text(finished_project):
    assert "\x1b" not in finished_project.output_of("run", "digits")
    assert "\x1b" not in finished_project.output_of("list")


def test_a_stage_that_says_what_to_fix_ends_with_2(project):
    project.write_stages(train="echo 'error: no column Age' >&2; exit 2")
    output = project.output_of("run", "digits", code=2)
    assert "train    | error: no column Age" in output
    assert "stage train failed with exit code 2" in output
    assert "registered" not in output.splitlines()[-1]


@pytest.mark.parametrize(
    ("train", "reason"),
    [
        ("echo 'error: MLflow is away' >&2; exit 75", "stage train failed with exit code 75: MLflow is away"),
        ("echo 'what():  std::bad_alloc' >&2; kill -ABRT $$", "killed by SIGABRT: out of memory; free some"),
        ("kill -KILL $$", "killed by SIGKILL: out of memory, or somebody killed it"),
    ],
)
def test_what_may_go_well_when_retried_ends_with_75(project, train, reason):
    project.write_stages(train=train)
    *_, last = project.output_of("run", "digits", code=75).splitlines()
    assert last.startswith("error: stage train failed with exit code ")
    assert reason in last


def test_dvc_without_a_disk_ends_with_75_and_says_so(project, read_only, until_answered):
    with read_only(project.root / ".dvc"), until_answered():
        *_, last = project.output_of("run", "digits", code=75).splitlines()
    assert last.startswith("error: Read-only file system: ")


def test_a_stage_with_a_bug_ends_with_1(project):
    project.write_stages(train="exit 7")
    assert "stage train failed with exit code 7" in project.output_of("run", "digits", code=1)


def test_dvc_failing_before_any_stage_ends_with_1(project):
    (project.root / ".dvc" / "config").write_text("[core\n")
    assert "dvc       | ERROR" in re.sub(r"dvc +\|", "dvc       |", project.output_of("run", "digits", code=1))


def test_a_pipeline_that_is_not_there_is_one_line_and_2(project):
    output = project.output_of("run", "digit", code=2)
    assert output.startswith("error: no pipeline 'digit'")
    assert "did you mean 'digits'?" in output


@pytest.mark.parametrize(
    ("train", "number", "exit_code"),
    [
        (SLOW_TRAIN, signal.SIGINT, 130),
        (DEAF_TRAIN, signal.SIGINT, 130),
        (SLOW_TRAIN, signal.SIGTERM, 143),
        (SLOW_TRAIN, signal.SIGHUP, 129),
        (SLOW_TRAIN, signal.SIGQUIT, 131),
    ],
)
def test_a_stop_leaves_no_process_and_no_lock(project, until_answered, train, number, exit_code):
    project.write_stages(train=train)
    process = project.headrace("run", "digits")
    wait_for(process, "epoch 1/9")
    started = time.monotonic()
    with until_answered():
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode == exit_code
    assert time.monotonic() - started < 10  # what is promised, not a benchmark
    assert living_below(project.root) == []
    project.write_stages()
    project.output_of("run", "digits")


def test_on_a_terminal_a_table_lives_and_no_line_is_lost(project):
    project.write_stages(train="echo 'epoch 1/2 loss 0.5'; echo boom >&2; exit 3")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(project.root)
        os.execve(sys.executable, [sys.executable, "-m", "headrace", "run", "digits"], {**os.environ, "TERM": "xterm"})
    shown = b""
    try:
        while piece := os.read(terminal, 65536):
            shown += piece
    except OSError:  # the terminal is closed by the end of the program
        pass
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    text = shown.decode()
    assert os.waitstatus_to_exitcode(status) == 1
    assert "\x1b[" in text
    for expected in ("epoch 1/2 loss 0.5", "unchanged", "failed", "boom", "stage train failed with exit code 3"):
        assert expected in text


def test_a_second_run_waits_for_the_first_and_then_finds_all_up_to_date(project, until_answered):
    project.write_stages(train=f"echo 'epoch 1/9' && sleep 3 && {TRAIN}")
    first = project.headrace("run", "digits")
    wait_for(first, "epoch 1/9")
    with until_answered():
        second = project.headrace("run", "digits")
        shown, _ = second.communicate(timeout=60)
    first.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0), shown
    assert f"another process works on the same files; waiting until it has ended pid={first.pid}" in plain(shown)
    assert shown.count("| unchanged") == 3


@pytest.mark.parametrize("train", [SLOW_TRAIN, DEAF_TRAIN])
def test_sigkill_leaves_no_process_after_ten_seconds_and_the_next_run_waits_for_their_end(
    project, until_answered, train
):
    project.write_stages(train=train)
    first = project.headrace("run", "digits")
    wait_for(first, "epoch 1/9")
    started = list(living_below(project.root))
    assert len(started) > 1
    killed_seconds = time.monotonic()
    with until_answered():
        first.kill()
        project.write_stages()
        project.output_of("run", "digits")  # at once
    assert time.monotonic() - killed_seconds < 60  # ten until all have ended, and a whole run, beside other tests
    assert living_below(project.root) == []
    first.communicate(timeout=30)


def test_dvc_by_hand_at_the_same_time_is_one_line_and_75(project, until_answered):
    project.write_stages(train=SLOW_TRAIN)
    by_hand = subprocess.Popen(
        [Path(sys.executable).with_name("dvc"), "repro", "register@digits"],
        cwd=project.root,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(by_hand, "epoch 1/9")
        with until_answered():
            output = project.output_of("run", "digits", code=75)
    finally:
        os.killpg(by_hand.pid, signal.SIGKILL)
        by_hand.communicate(timeout=30)
    assert f"error: another dvc (process {by_hand.pid}) works on this pipeline; run again" in output
    assert "rwlock" not in output


def test_two_pipelines_run_at_the_same_time(project):
    params = yaml.safe_load((project.root / "params.yaml").read_text())
    (project.root / "params.yaml").write_text(
        yaml.safe_dump({**params, "pipelines": ["digits", "more"], "more": params["digits"]})
    )
    content = {
        "stages": {
            "register": {
                "matrix": {"pipeline": ["digits", "more"]},
                # each ends only once the other has begun
                "cmd": "touch ${item.pipeline}.started"
                " && while [ ! -e digits.started -o ! -e more.started ]; do sleep 0.1; done"
                " && echo 1 > ${item.pipeline}.out",
                "outs": ["${item.pipeline}.out"],
            }
        }
    }
    (project.root / "dvc.yaml").write_text(yaml.safe_dump(content))
    runs = [project.headrace("run", name) for name in ("digits", "more")]
    for run in runs:
        output, _ = run.communicate(timeout=60)
        assert run.returncode == 0, output
    assert set(yaml.safe_load((project.root / "dvc.lock").read_text())["stages"]) >= {
        "register@digits",
        "register@more",
    }


CONFLICT = "schema: '2.0'\n<<<<<<< HEAD\nstages: {}\n=======\nstages:\n  a: 1\n>>>>>>> other\n"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty: `git checkout dvc.lock`"),
        (CONFLICT.encode(), "is in a git conflict: `git checkout --ours dvc.lock`"),
        (b"\xff\xfe\x00", "is damaged: `git checkout dvc.lock`"),
        (b"schema: '2.0'\nstages:\n  a: {cmd: [", "is damaged: `git checkout dvc.lock`"),
        (b"schema: '2.0'\nstages: {}\n# =======\n", None),
    ],
)
def test_a_lock_file_of_dvc_that_can_not_be_read_says_what_to_do(project, content, problem):
    (project.root / "dvc.lock").write_bytes(content)
    for command in (["run", "digits"], ["list"]):
        output = project.output_of(*command, code=2 if problem else 0)
        assert problem is None or (problem in output and len(output.splitlines()) == 1)


def test_a_damaged_registry_is_found_although_every_stage_is_up_to_date(project):
    (project.root / "mlflow.db").write_bytes(b"")
    assert "error: MLflow's store" in project.output_of("run", "digits", code=2)


def test_a_registration_in_a_registry_that_this_one_is_not_is_made_again(project):
    registration = project.root / "reports" / "digits" / "registration.json"
    registration.write_text('{"version": 1, "model": "digits"}')
    output = project.output_of("run", "digits")
    assert "the registry does not have the version that registration.json names" in plain(output)
    assert not registration.exists()


@pytest.mark.parametrize("content", [b'{"version": 1', b"[1]"])
def test_a_damaged_registration_is_made_again(project, content):
    registration = project.root / "reports" / "digits" / "registration.json"
    registration.write_bytes(content)
    output = project.output_of("run", "digits")
    assert "registration.json is damaged; the model is registered again" in plain(output)
    assert not registration.exists()


@pytest.mark.parametrize("content", ["", "pipelines: [digits]\n"])
def test_params_yaml_without_a_pipeline_is_a_mistake_of_one_line(project, content):
    (project.root / "params.yaml").write_text(content)
    for command in (["list"], ["run", "digits"]):
        [line] = [one for one in project.output_of(*command, code=2).splitlines() if one.startswith("error: ")]
        assert "params.yaml" in line


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_following_a_run_loads_nothing_that_takes_over_signals():
    """Polars puts a handler of SIGINT in place that lets a blocked read continue: a Ctrl-C would be lost."""
    code = "import sys, headrace.pipelines.commands.run, headrace.pipelines.__main__; sys.exit('polars' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
