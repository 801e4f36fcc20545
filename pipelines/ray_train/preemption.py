"""SIGTERM to a worker, or a drain of its node: the node goes soon. The group writes a checkpoint and stops."""

import ctypes
import os
import signal
import threading
import time
from types import FrameType

DRAIN_POLL_SECONDS = 0.5
STOP = threading.Event()  # of this worker's process

_set_c_handler = ctypes.pythonapi.PyOS_setsig
_set_c_handler.argtypes, _set_c_handler.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
_get_c_handler = ctypes.pythonapi.PyOS_getsig
_get_c_handler.argtypes, _get_c_handler.restype = (ctypes.c_int,), ctypes.c_void_p
_python_handler: list[int] = []


def listen() -> None:
    """Make SIGTERM set STOP; to be called on the main thread, before TensorFlow is used."""
    STOP.clear()
    signal.signal(signal.SIGTERM, _request_stop)
    _python_handler[:] = [_get_c_handler(signal.SIGTERM)]
    # Python calls a handler when its main thread comes by, which on a worker waits in Ray; a thread of our own is woken
    # immediately, by the byte that Python writes to this pipe when the signal comes.
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_wait, args=(reading,), name="preemption", daemon=True).start()


def listen_again() -> None:
    """Take SIGTERM back from TensorFlow, whose strategy swallows it; may be called on any thread."""
    if _python_handler:
        _set_c_handler(signal.SIGTERM, _python_handler[0])


def watch_for_drain() -> None:
    """Set STOP when Ray is about to take a node of the group away (`ray drain-node`, a cloud's notice)."""
    threading.Thread(target=_watch_for_drain, name="drain", daemon=True).start()


def _watch_for_drain() -> None:
    from headrace.pipelines.compatibility.ray_train_internals import node_drains

    while not STOP.is_set():
        if node_drains():
            STOP.set()
        time.sleep(DRAIN_POLL_SECONDS)


def _wait(reading: int) -> None:
    while signals := os.read(reading, 1):
        if signals[0] == signal.SIGTERM:
            STOP.set()


def _request_stop(_signal_number: int, _frame: FrameType | None) -> None:
    STOP.set()
