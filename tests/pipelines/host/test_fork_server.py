"""The fork server beside a command, and clients that hand Python code over to it: `echo` shows what was not taken."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from headrace.pipelines.host import fork_client

SECONDS = 30
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}  # one changes
SERVER = """
import random, sys
from pathlib import Path
from headrace.pipelines.host.fork_server import ForkServer, exec_beside_server

folder, *command = sys.argv[1:]
exec_beside_server(command)
server = ForkServer(Path(folder))
random.seed(1)
sys.path.insert(0, folder + " of code")
import of_the_project
imported = "before the fork"
exec(server.serve().arguments[1])
"""


class Beside:
    """A command, the server beside it, and requests of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = [sys.executable, "-c", SERVER, str(folder), "/bin/sleep", "1000"]
        self.module = folder.with_name(f"{folder.name} of code") / "of_the_project.py"
        self.module.parent.mkdir()
        self.module.touch()
        self.process = subprocess.Popen(command, env=ENVIRONMENT, start_new_session=True)
        wait_until((folder / fork_client.SOCKET).exists)
        [self.server] = psutil.Process(self.process.pid).children()

    def client(self, code: str, **settings) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-ISs", fork_client.__file__, str(self.folder), "/bin/echo", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **{"env": ENVIRONMENT, **settings},
        )

    def output_of(self, code: str, *, exit_code: int = 0, **settings) -> str:
        client = self.client(code, **settings)
        output, _ = client.communicate(timeout=SECONDS)
        assert client.returncode == exit_code, output
        return output

    def child_of(self, client: "subprocess.Popen[str]") -> psutil.Process:
        """The process that a client has been given, once it has said a line."""
        return psutil.Process(int(client.stdout.readline()))


def end_of(client: "subprocess.Popen[str]") -> int:
    client.communicate(timeout=SECONDS)
    return client.returncode


def wait_until(holds) -> None:
    deadline_seconds = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline_seconds
        time.sleep(0.02)


def has_ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def beside(tmp_path):
    folder = tmp_path / "a folder whose name is much longer than the path of a socket may be" / ("x" * 60)
    folder.mkdir(mode=0o700, parents=True)
    one = Beside(folder)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait(SECONDS)
        wait_until(lambda: has_ended(one.server))


def test_a_command_continues_where_the_server_is(beside):
    assert beside.output_of("print(imported)") == "before the fork\n"


@pytest.mark.parametrize("code", [0, 1, 2, 75, 255])
def test_it_ends_as_the_command_does(beside, code):
    beside.output_of(f"sys.exit({code})", exit_code=code)


def test_an_error_is_a_traceback_and_1(beside):
    assert "ValueError: wrong" in beside.output_of("raise ValueError('wrong')", exit_code=1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT, signal.SIGTERM])
def test_it_ends_by_the_signal_that_ended_the_command(beside, number):
    beside.output_of(f"import os; os.kill(os.getpid(), {int(number)})", exit_code=-number)


def test_streams_folder_and_variables_are_those_of_the_client(beside, tmp_path):
    code = "import os; print(sys.stdin.read(), os.getcwd(), os.environ['DVC_STAGE']); os.write(2, b'problem')"
    with (tmp_path / "input").open("w+") as given:
        given.write("given")
        given.seek(0)
        output = beside.output_of(code, cwd=tmp_path, stdin=given, env={**ENVIRONMENT, "DVC_STAGE": "train"})
    assert sorted(output.split()) == sorted(["given", str(tmp_path), "train", "problem"])


def test_no_two_commands_draw_the_same_numbers(beside):
    drawn = {beside.output_of("print(random.random())") for _ in range(3)}
    assert len({*drawn, f"{random.Random(1).random()}\n"}) == 4


def test_signals_and_threads_are_those_of_a_fresh_process(beside):
    code = (
        "import signal, threading; print(*(signal.getsignal(n) for n in (2, 15, 17)), signal.pthread_sigmask(0, []), "
        "threading.current_thread() is threading.main_thread())"
    )
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert beside.output_of(code).split(" at 0x")[0] == fresh.split(" at 0x")[0]
    assert beside.output_of(code).split(">")[-1] == fresh.split(">")[-1]


def test_descriptors_of_the_server_and_of_other_clients_are_closed(beside):
    code = "import os; print(*(os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')[:-1]))"
    other = beside.client("import os, time; print(os.getpid(), flush=True); time.sleep(1000)")
    child = beside.child_of(other)
    assert "socket" not in beside.output_of(code)
    child.kill()
    assert end_of(other) == -signal.SIGKILL


def test_another_environment_is_not_taken(beside):
    assert beside.output_of("1 / 0", env={**ENVIRONMENT, "TF_ENABLE_ONEDNN_OPTS": "0"}) == "1 / 0\n"


def test_after_a_change_of_code_nothing_is_taken(beside):
    assert beside.output_of("print(imported)") == "before the fork\n"
    beside.module.write_text("changed = True")
    assert beside.output_of("1 / 0") == "1 / 0\n"
    beside.module.unlink()
    assert beside.output_of("1 / 0") == "1 / 0\n"


def test_without_a_server_the_command_runs_as_usual(beside):
    beside.server.kill()
    wait_until(lambda: has_ended(beside.server))
    assert beside.output_of("1 / 0") == "1 / 0\n"


WAITING = "import os, signal, time\nprint(os.getpid(), flush=True)\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_client_is_passed_on(beside, number):
    code = f"import signal; signal.signal({int(number)}, lambda *_: sys.exit(9))\n{WAITING}time.sleep(1000)"
    client = beside.client(code)
    beside.child_of(client)
    client.send_signal(number)
    assert end_of(client) == 9


def test_a_signal_to_the_group_reaches_the_command_once(beside):
    """As `headrace run` and a terminal send it."""
    code = "import os, time\ntry:\n print(os.getpid(), flush=True)\n time.sleep(1000)\nexcept KeyboardInterrupt:\n"
    code += " time.sleep(0.5)\n sys.exit(9)"
    client = beside.client(code)
    assert os.getpgid(beside.child_of(client).pid) == beside.process.pid
    os.killpg(beside.process.pid, signal.SIGINT)
    assert end_of(client) == 9


def test_a_client_that_is_killed_takes_its_command_along(beside):
    client = beside.client(f"{WAITING}time.sleep(1000)")
    child = beside.child_of(client)
    client.kill()
    end_of(client)
    wait_until(lambda: has_ended(child))
    assert beside.output_of("print(imported)") == "before the fork\n"


def test_a_server_that_is_killed_takes_its_commands_along(beside):
    client = beside.client(f"{WAITING}time.sleep(1000)")
    child = beside.child_of(client)
    beside.server.kill()
    assert end_of(client) == -signal.SIGKILL
    wait_until(lambda: has_ended(child))


def test_the_server_ends_with_what_it_is_beside_and_waits_for_its_commands(beside):
    client = beside.client(f"{WAITING}time.sleep(1); sys.exit(5)")
    beside.child_of(client)
    beside.process.kill()
    assert end_of(client) == 5
    wait_until(lambda: has_ended(beside.server))
    assert not beside.folder.exists()


def test_with_nothing_to_wait_for_it_ends_at_once(beside):
    beside.process.kill()
    wait_until(lambda: has_ended(beside.server))
    assert not beside.folder.exists()


def test_half_a_request_is_dropped_and_the_next_one_is_answered(beside, monkeypatch):
    monkeypatch.chdir(beside.folder)
    with socket.socket(socket.AF_UNIX) as half:
        half.connect(fork_client.SOCKET)
        half.sendall(b"\0")
    assert beside.output_of("print(imported)") == "before the fork\n"


def test_threads_at_the_time_of_a_fork_are_refused(tmp_path):
    thread = "import threading, time; threading.Thread(target=time.sleep, args=[1]).start()"
    program = SERVER.replace("random.seed(1)", thread).replace("import of_the_project", "")
    subprocess.run([sys.executable, "-c", program, tmp_path, "/bin/sleep", "2"], check=True, timeout=SECONDS)
    assert not (tmp_path / fork_client.SOCKET).exists()
