"""Ray: a head without CPUs for work, and two worker nodes, each a raylet of its own; a token opens all of them."""

import hashlib
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from headrace.components.errors import ServiceError
from infra.stack.services import Service, fetch_json
from infra.stack.state import Stack

HEAD = "head"
WORKERS = ("worker-1", "worker-2")
_OBJECT_STORE_BYTES = 128 * 1024 * 1024


def services(stack: Stack, step: tuple[str, ...], client: dict[str, str]) -> list[Service]:
    """The step that creates Ray's folder, the head and the workers; their jobs get `client` as environment."""
    variables = {
        **client,
        "RAY_raylet_start_wait_time_s": "300",  # a busy machine
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        # The head keeps what it knows of jobs and nodes in files, so that it may die and come back.
        "RAY_gcs_storage": "rocksdb",
        "RAY_gcs_storage_path": str(stack.data / "ray"),
    }
    del variables["RAY_ADDRESS"]  # Ray gives its workers their own

    def node(name: str, *options: str) -> Service:
        return Service(
            name=f"ray-{name}",
            command=(*_start(stack), f"--node-name={name}", f"--temp-dir={temporary_folder(stack) / name}", *options),
            environment=variables,
            folder=stack.root,
            needs=("ray-setup",) if name == HEAD else (f"ray-{HEAD}",),
            is_ready=_node_check(stack, name),
            address=stack.url("ray-dashboard") if name == HEAD else "",
            tier=2,
            stop_seconds=40.0,  # Ray gives tasks 30 s
        )

    head = (
        "--head",
        f"--port={stack.ports['ray']}",
        f"--ray-client-server-port={stack.ports['ray-client']}",
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={stack.ports['ray-dashboard']}",
        "--num-cpus=0",
        "--num-gpus=0",
    )
    worker = (f"--address=127.0.0.1:{stack.ports['ray']}", "--num-cpus=2", "--num-gpus=1")
    setup = Service(name="ray-setup", command=(*step, "ray-setup"), once=True)
    return [setup, node(HEAD, *head), *(node(name, *worker) for name in WORKERS)]


def _start(stack: Stack) -> tuple[str, ...]:
    return (
        *(_python(stack), "-m", "infra.stack.ray_node", "start", "--block"),
        "--node-ip-address=127.0.0.1",
        f"--object-store-memory={_OBJECT_STORE_BYTES}",
        "--disable-usage-stats",
        # All ports that nobody has to know are any free ones.
        *("--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"),
    )


def _python(stack: Stack) -> str:
    """Path of this Python; by a link where it has a space, because Ray passes it to a shell unquoted."""
    if sys.executable == shlex.quote(sys.executable):
        return sys.executable
    return str(temporary_folder(stack) / "venv" / Path(sys.executable).relative_to(sys.prefix))


def make_temporary_folder(stack: Stack) -> None:
    """Make the folder of Ray's sockets and logs for us alone; raises ServiceError if it is somebody else's."""
    folder = temporary_folder(stack)
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise ServiceError(
            f"{folder} is another user's; remove it, or choose another folder for the stack with --folder"
        )
    folder.chmod(0o700)
    # The logs are found with the others', and the Python under a name that Ray can bear.
    for link, target in {stack.logs / "ray": folder, folder / "venv": Path(sys.prefix)}.items():
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def temporary_folder(stack: Stack) -> Path:
    """The folder of Ray's sockets: outside of the stack's folder, because their paths are limited to 107 bytes."""
    digest = hashlib.sha256(os.fsencode(stack.folder)).hexdigest()[:8]
    return Path("/tmp") / f"ray-{digest}"  # noqa: S108  # short even where TMPDIR is not


def _node_check(stack: Stack, name: str) -> Callable[[float], bool]:
    """Ready is a node of this name that began after its command: the one before may count as alive for a while."""

    def is_alive(since: float) -> bool:
        answer = fetch_json(
            f"{stack.url('ray-dashboard')}/nodes?view=summary",
            {"Authorization": f"Bearer {stack.secrets['ray_token']}"},
        )
        nodes = [one["raylet"] for one in ((answer or {}).get("data") or {}).get("summary", [])]
        return any(
            (node.get("nodeName"), node.get("state")) == (name, "ALIVE") and int(node["startTimeMs"]) / 1000 >= since
            for node in nodes
        )

    return is_alive
