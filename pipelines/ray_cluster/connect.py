"""Ray: the cluster at RAY_ADDRESS, or one that starts inside this process and ends with it."""

import os
import shlex
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from headrace.components.errors import ParamsError, ServiceError
from headrace.pipelines.host.host_problems import NO_ROOM, host_problem, is_full, require_addresses, require_files
from headrace.pipelines.host.logs import LOG_VARIABLES
from headrace.pipelines.host.processes import guarded_children
from headrace.pipelines.ray_cluster.loopback import private_ray

# A training moves no data through the object store of an embedded cluster: the smallest one starts fastest.
OBJECT_STORE_BYTES = 128 * 1024 * 1024


@contextmanager
def ray_session(
    *,
    num_workers: int,
    cores_per_worker: int = 1,
    use_gpu: bool = False,
    object_store_bytes: int = OBJECT_STORE_BYTES,
) -> Iterator[None]:
    """Connect to Ray for the length of the block; raise ServiceError where RAY_ADDRESS can't be reached."""
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # nobody takes this machine away by Ray
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry, and one process less
    else:
        # A spot instance may go 30 s after its notice, and Ray asks for notices every five seconds unless this says.
        os.environ.setdefault("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "1")
    with ExitStack() as block:
        settings: dict[str, Any] = {"address": address}
        if not address:
            require_files()
            require_addresses()
            settings = _embedded(num_workers * cores_per_worker, object_store_bytes, use_gpu=use_gpu)
            settings |= block.enter_context(private_ray())
            block.enter_context(guarded_children())
        elif "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ:  # a job has its own, which its driver may not repeat
            variables = {name: value for name in LOG_VARIABLES if (value := os.environ.get(name))}
            settings |= {"runtime_env": {"env_vars": variables}} if variables else {}
        on_sigterm = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(log_to_driver=False, logging_level="ERROR", **settings)
        except Exception as error:
            # A bare Exception is a node that had not started after the 30 s that Ray allows.
            if type(error) is not Exception and not isinstance(error, OSError | RayError | RuntimeError | ValueError):
                raise
            where = f"the Ray cluster at RAY_ADDRESS={address}" if address else "Ray on this machine"
            reason = " ".join(str(error).split())
            if reason.startswith("Version mismatch"):
                raise ParamsError(
                    f"{where} has other versions than this machine. {reason} Expected the same Ray and Python on all "
                    "nodes: install what requirements.lock says"
                ) from error
            lacking = host_problem(error) or _full_disk()
            raise ServiceError(
                f"can't start or reach {where}: {lacking or f'{reason}; try `headrace doctor`'}"
            ) from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # again, because Ray has put its own in place
        block.callback(ray.shutdown)
        yield


def _full_disk() -> str | None:
    """A message if a disk that Ray writes to is full: Ray then waits for its own files, and never reports why."""
    full = [folder for folder in (tempfile.gettempdir(), "/dev/shm") if is_full(Path(folder))]  # noqa: S108
    return f"{NO_ROOM}: {', '.join(full)}; free some, or set TMPDIR to another folder" if full else None


def is_remote() -> bool:
    """Whether RAY_ADDRESS names a cluster, which outlives this process."""
    return bool(os.environ.get("RAY_ADDRESS"))


def _embedded(num_cpus: int, object_store_bytes: int, *, use_gpu: bool) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "address": "local",
        "include_dashboard": False,
        # Logical CPUs: as many as workers want, so that two workers also run on a machine with one core.
        "num_cpus": max(num_cpus, os.cpu_count() or 1),
        "object_store_memory": object_store_bytes,
        # Ray Train starts its workers in an environment of their own: workers made ahead are never used.
        "_system_config": {"prestart_worker_first_driver": False},
    }
    if not use_gpu:
        settings["num_gpus"] = 0  # finding GPUs takes a moment
    if sys.executable != shlex.quote(sys.executable):
        # Ray passes the interpreter to a shell unquoted, which breaks in a folder whose path has a space.
        settings["runtime_env"] = {"py_executable": shlex.quote(sys.executable)}
    return settings
