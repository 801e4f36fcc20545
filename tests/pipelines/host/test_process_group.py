"""Groups of real processes: their environment, how they end, and that none is left."""

import json
import time
from pathlib import Path

import psutil
import pytest

from headrace.components.errors import ParamsError
from headrace.pipelines.host import process_group
from headrace.pipelines.host.process_group import launch_group

PROGRAM = """\
import json, os, pathlib, sys, time
config = json.loads(os.environ["TF_CONFIG"])
rank = config["task"]["index"]
folder = pathlib.Path(sys.argv[1])
attempt = len(list(folder.glob(f"{rank}-*")))
(folder / f"{rank}-{attempt}").write_text(
    json.dumps([os.getpid(), config, os.environ["HEADRACE_GROUP_SECRET"], os.environ["TF_NUM_INTRAOP_THREADS"]])
)
print("begins", flush=True)
if rank == 1 and attempt < int(sys.argv[2]):
    while not (folder / f"0-{attempt}").exists():  # which counts its attempts by these files
        time.sleep(0.01)
    sys.exit(7)
if rank == 0 and attempt < int(sys.argv[2]):
    time.sleep(600)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "program.py"
    file.write_text(PROGRAM, encoding="utf-8")
    (tmp_path / "out").mkdir()
    return file


def written(program: Path) -> dict[str, list]:
    return {file.name: json.loads(file.read_text()) for file in sorted((program.parent / "out").iterdir())}


def launch(program: Path, failures: int, *, max_failures: int = 3) -> int:
    arguments = [str(program.parent / "out"), str(failures)]
    return launch_group(program, arguments, processes=2, max_failures=max_failures)


def test_each_process_knows_its_rank_all_addresses_and_the_secret(program, capfd):
    assert launch(program, 0) == 0

    first, second = written(program).values()
    assert first[1]["cluster"] == second[1]["cluster"]
    assert [one[1]["task"]["index"] for one in (first, second)] == [0, 1]
    assert all(address.startswith("127.0.0.1:") for address in first[1]["cluster"]["worker"])
    assert first[2] == second[2]
    assert len(first[2]) == 64
    assert int(first[3]) >= 1
    assert sorted(capfd.readouterr().out.splitlines()) == ["[0] begins", "[1] begins"]


def test_after_a_failure_the_others_end_and_the_group_starts_again(program):
    assert launch(program, 2) == 0

    found = written(program)
    assert sorted(found) == ["0-0", "0-1", "0-2", "1-0", "1-1", "1-2"]
    assert len({found[name][2] for name in found}) == 3  # a secret for each group
    assert not any(psutil.pid_exists(one[0]) for one in found.values())


def test_a_group_that_fails_too_often_ends_with_the_exit_code_of_the_process(program):
    assert launch(program, 9, max_failures=1) == 7
    assert {name for name in written(program) if name.startswith("1-")} == {"1-0", "1-1"}  # the other may be too late


def test_a_process_that_does_not_listen_is_killed(program, monkeypatch):
    monkeypatch.setattr(process_group, "END_SECONDS", 1.0)
    text = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    program.write_text(text + PROGRAM, encoding="utf-8")
    began_seconds = time.monotonic()

    assert launch(program, 9, max_failures=0) == 7

    assert time.monotonic() - began_seconds < 60
    assert not any(psutil.pid_exists(one[0]) for one in written(program).values())


def test_a_program_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ParamsError, match="no program at"):
        launch_group(tmp_path / "none.py", [], processes=2, max_failures=0)
