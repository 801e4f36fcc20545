"""What a process has started, after it was killed or received SIGTERM."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

# A grandchild in a session of its own, whose parent ends immediately: nothing but the mark leads to it.
CHILDREN = """
import subprocess, time
from headrace.pipelines.host.processes import guarded_children
with guarded_children():
    subprocess.run(["setsid", "--fork", "sh", "-c", "trap '' TERM; echo $$; while :; do sleep 1; done"], check=True)
    {then}
"""


# The same under a title such as Ray gives its processes.
TITLED = """
import subprocess, sys, time
from headrace.pipelines.host.processes import guarded_children
code = "import os, time, ray; ray._raylet.setproctitle('ray::Worker'); print(os.getpid(), flush=True); time.sleep(1000)"
with guarded_children():
    subprocess.run(["setsid", "--fork", sys.executable, "-c", code], check=True)
    {then}
"""


def start(then: str, code: str = CHILDREN) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, "-c", code.replace("{then}", then)], stdout=subprocess.PIPE, text=True, cwd="/"
    )
    sleeper = int(process.stdout.readline())
    return process, sleeper


def wait_until_gone(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("code", [CHILDREN, TITLED])
def test_after_sigkill_everything_that_was_started_ends_whatever_session_it_made(code):
    process, sleeper = start("time.sleep(1000)", code)
    process.kill()
    process.wait(10)
    assert wait_until_gone(sleeper, 10)
    process.stdout.close()


def test_after_a_normal_end_the_guard_ends_nothing():
    process, sleeper = start("pass")
    process.wait(20)
    assert not wait_until_gone(sleeper, 1)
    os.kill(sleeper, signal.SIGKILL)
    process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM])
def test_a_signal_becomes_one_error_and_an_exit_code(number):
    code = (
        "import os, signal, sys\nfrom headrace.pipelines.host.processes import Stopped, signals_as_errors\n"
        "try:\n"
        "    with signals_as_errors():\n"
        "        try:\n"
        f"            os.kill(os.getpid(), {int(number)})\n"
        "        except Stopped as stopped:\n"
        f"            os.kill(os.getpid(), {int(number)})  # does not cut the ending short\n"
        "            raise\n"
        "except Stopped as stopped:\n"
        "    print(stopped)\n    sys.exit(stopped.exit_code)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (128 + number, f"ended by {number.name}\n")


def test_what_nohup_ignores_stays_ignored():
    code = (
        "import os, signal\nfrom headrace.pipelines.host.processes import signals_as_errors\n"
        "with signals_as_errors():\n    os.kill(os.getpid(), signal.SIGHUP)\nprint('continues')\n"
    )
    command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == "continues\n"
