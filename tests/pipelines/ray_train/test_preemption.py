"""SIGTERM to a worker that TensorFlow would swallow."""

import subprocess
import sys

WORKER = """
import ctypes, os, signal, threading
from headrace.pipelines.ray_train import preemption

preemption.listen()
libc = ctypes.CDLL(None)
libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
libc.signal(signal.SIGTERM, 1)  # SIG_IGN, in place of TensorFlow's own handler: Python does not see it
os.kill(os.getpid(), signal.SIGTERM)
assert not preemption.STOP.wait(1), "this test would show nothing"
thread = threading.Thread(target=preemption.listen_again)
thread.start()
thread.join()
# The main thread is somewhere in C, as a Ray worker's is, and runs no Python until the signal is handled.
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
heard = []
waiting = threading.Thread(target=lambda: heard.append(preemption.STOP.wait(10)))
waiting.start()
while waiting.is_alive():
    libc.usleep(100_000)
print(heard)
"""


def test_sigterm_is_heard_again_immediately_on_whatever_thread(repository):
    ended = subprocess.run(
        [sys.executable, "-c", WORKER], cwd=repository, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout == "[True]\n", ended.stderr
