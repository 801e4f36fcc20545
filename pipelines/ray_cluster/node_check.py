"""What `headrace doctor --cluster` asks of one node; an actor there answers."""

import importlib.metadata
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence

from pydantic import Field

from headrace.components.errors import ParamsError, ServiceError
from headrace.components.redaction import redacted
from headrace.components.schema.settings import Settings
from headrace.pipelines.object_store.objects import open_storage
from headrace.pipelines.ray_cluster.ports import bind_in_range

REVISION_VARIABLE = "HEADRACE_REVISION"  # the commit that an image was made from
CONNECT_SECONDS = 5.0
TENSORFLOW_SECONDS = 90.0  # an import on a cold disk
# Not in this process, from which Ray hides all GPUs; listing them takes none of their memory.
_COUNT_GPUS = "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"

Address = tuple[str, int]


class Wanted(Settings):
    """What each node is compared with."""

    versions: dict[str, str]
    """Versions of packages by name, as the project has them."""

    storage: str | None
    """Address of the storage; `null` to leave it out."""

    storage_key: str
    """An object there that every node should read; each writes another below its key."""

    mlflow: str | None
    """Address of MLflow's server; `null` to leave it out."""


class NodeReport(Settings):
    """One node as it found itself. What is wrong is a text: empty where nothing is, `null` where nobody asked."""

    node: str
    gpus: int
    """Number of GPUs that Ray counts there."""

    silent: str = ""
    """Why nothing else is known: it gave no answer."""

    revision: str = ""
    """The commit that its image was made from, where it runs in one."""

    differing: dict[str, tuple[str, str]] = Field(default_factory=dict)
    """Versions wanted and found, of packages that differ."""

    gpus_of_tensorflow: int | None = None
    """Number of GPUs that TensorFlow finds; `null` where Ray counts none."""

    free_bytes: int = 0
    """Free disk where a training keeps its inputs and checkpoints."""

    storage: str | None = None
    mlflow: str | None = None
    token: str = ""
    unreachable: dict[str, str] = Field(default_factory=dict)
    """Addresses of other nodes that it could not connect to, each with the reason."""

    others: int = 0
    """Number of other nodes that it tried."""

    clock_seconds: float = 0.0
    """By how much its clock is ahead of that of the asking process."""


class NodeCheck:
    """The actor that answers for its node."""

    def now_seconds(self) -> float:
        """The node's clock, in seconds since 1970."""
        return time.time()

    def listen(self) -> Address:
        """Listen as a worker of a training would, on the node's address in the cluster; where that is."""
        self._listener = bind_in_range(_address())
        threading.Thread(target=_greet, args=(self._listener,), daemon=True).start()
        host, port = self._listener.getsockname()[:2]
        return str(host), int(port)

    def unreachable(self, others: Sequence[Address]) -> dict[str, str]:
        """Those of the other nodes' addresses that this one can't connect to, each with the reason."""
        return {f"{host}:{port}": reason for host, port in others if (reason := _connect(host, port))}

    def report(self, wanted: Wanted, *, gpus: int) -> NodeReport:
        """Everything that the node finds out without the others; Ray counts `gpus` there."""
        return NodeReport(
            node=platform.node(),
            gpus=gpus,
            revision=os.environ.get(REVISION_VARIABLE, ""),
            differing=differing_versions(wanted.versions),
            gpus_of_tensorflow=_count_gpus() if gpus else None,
            free_bytes=shutil.disk_usage(tempfile.gettempdir()).free,
            storage=_storage_problem(wanted.storage, wanted.storage_key) if wanted.storage else None,
            mlflow=_mlflow_problem(wanted.mlflow) if wanted.mlflow else None,
            token="" if os.environ.get("RAY_AUTH_MODE", "").lower() == "token" else "RAY_AUTH_MODE is not token",
        )


def differing_versions(wanted: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Versions wanted and installed here, by the names of packages whose versions differ."""
    found = {}
    for name, version in wanted.items():
        try:
            here = platform.python_version() if name == "python" else importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            here = "not installed"
        if here != version and not (name == "python" and here.startswith(f"{version}.")):
            found[name] = (version, here)
    return found


def _address() -> str:
    import ray.util

    return str(ray.util.get_node_ip_address())


def _greet(listener: socket.socket) -> None:
    while True:
        try:
            listener.accept()[0].close()
        except OSError:  # the actor ends
            return


def _connect(host: str, port: int) -> str:
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        return str(error)
    return ""


def _count_gpus() -> int:
    """GPUs that TensorFlow finds on the node, 0 where it can't be imported."""
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    try:
        ended = subprocess.run(
            [sys.executable, "-c", _COUNT_GPUS],
            env={**environment, "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
            timeout=TENSORFLOW_SECONDS,
            check=True,
        )
        return int(ended.stdout)
    except (subprocess.SubprocessError, ValueError):
        return 0


def _storage_problem(address: str, key: str) -> str:
    """What hinders this node from reading the object of the asking process and from writing one of its own."""
    try:
        storage = open_storage(address)
        if storage.read(key) is None:
            return "it has not what another node has just written: it is another place here"
        storage.create(f"{key}-{platform.node()}-{os.getpid()}", b"")
    except (ParamsError, ServiceError, OSError) as error:
        return redacted(str(error))
    return ""


def _mlflow_problem(address: str) -> str:
    if not address.startswith(("http://", "https://")):
        return f"{address} is a file, which only one machine has"
    try:
        request = urllib.request.Request(f"{address.rstrip('/')}/health")  # noqa: S310 - http or https
        urllib.request.urlopen(request, timeout=CONNECT_SECONDS).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        return f"it answers {error.code}: its name may be missing in MLFLOW_SERVER_ALLOWED_HOSTS"
    except OSError as error:
        return redacted(str(getattr(error, "reason", error)))
    return ""
