"""Nodes of the cluster: Ray's head, nodes that train, S3, MLflow and a client, each a container with an address."""

import ipaddress
import json
import secrets
import subprocess
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.components.errors import ServiceError
from infra.cluster_test.docker import Docker
from infra.cluster_test.images import HEADRACE, S3
from infra.cluster_test.network import Namespace
from infra.cluster_test.s3_server import PORT as S3_PORT
from infra.stack.swift import ACCESS_KEY, BUCKETS

TRAINING_NODES = ("node-1", "node-2", "node-3")
DRAIN_SECONDS = 60
GRACE_SECONDS = 90  # of `docker stop`: more than the drain
START_SECONDS = 400.0  # of a server on a busy machine; Ray itself waits 300 s for a slow node
_NETWORK = "headrace"
_SUBNETS = ("10.213.77.0/24", "172.29.213.0/24", "192.168.213.0/24")
_ADDRESSES = {"head": 10, "s3": 11, "mlflow": 12, "client": 13, "node-1": 21, "node-2": 22, "node-3": 23}
_RAY_STATE = "/var/lib/headrace"
_OBJECT_STORE_BYTES = 100_000_000
_GIBIBYTES = {"head": 4, "mlflow": 2, "s3": 1, "client": 4}  # limits; each training node has 2
# Nothing of a private network goes through a proxy.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Node:
    """A container of the cluster."""

    docker: Docker
    name: str
    address: str

    @property
    def network(self) -> Namespace:
        """Its network, to be disturbed while it runs."""
        return Namespace(Path(f"/proc/{self._inspect('{{.State.Pid}}')}/ns/net"))

    @property
    def is_running(self) -> bool:
        """Whether its first process lives."""
        return self._inspect("{{.State.Running}}") == "true"

    def command(self, *arguments: str, variables: dict[str, str] | None = None, folder: str = "/tmp") -> list[str]:  # noqa: S108
        """The command line that runs something in it, with the secrets of its role."""
        given = [option for name, value in (variables or {}).items() for option in ("--env", f"{name}={value}")]
        return self.docker.command("exec", "--workdir", folder, *given, self.name, "/entrypoint", *arguments)

    def processes(self) -> str:
        """The command lines of its processes."""
        return self.docker("top", self.name, "-eo", "pid,args")

    def find(self, *arguments: str) -> list[str]:
        """What `find` prints in it."""
        return self.docker("exec", self.name, "find", *arguments).splitlines()

    def put(self, source: Path, folder: str) -> None:
        """Copy what a folder of this machine holds into a folder of it."""
        pack = ["tar", "--directory", str(source), "--create", "."]
        unpack = f"mkdir -p '{folder}' && tar --directory '{folder}' --extract --no-same-owner"
        _pipe(pack, self.docker.command("exec", "--interactive", self.name, "bash", "-c", unpack))

    def get(self, folder: str, target: Path) -> None:
        """Copy what a folder of it holds into a new folder of this machine."""
        target.mkdir(parents=True)
        pack = self.docker.command("exec", self.name, "tar", "--directory", folder, "--create", ".")
        _pipe(pack, ["tar", "--directory", str(target), "--extract", "--no-same-owner"])

    def start_to_stop(self) -> subprocess.Popen[bytes]:
        """Start `docker stop`, which sends SIGTERM, and SIGKILL after the grace; it ends when the node has ended."""
        command = self.docker.command("stop", "--time", str(GRACE_SECONDS), self.name)
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        """SIGKILL of all that runs in it."""
        self.docker("kill", self.name)

    def pause(self) -> None:
        """Freeze all that runs in it; its network stays up."""
        self.docker("pause", self.name)

    def unpause(self) -> None:
        """Let it continue."""
        self.docker("unpause", self.name)

    def start(self) -> None:
        """Start it again after its end, with the same address and the same disk."""
        self.docker("start", self.name)

    def remove(self) -> None:
        """Remove it, and its disk."""
        self.docker("rm", "--force", "--volumes", self.name)

    def _inspect(self, template: str) -> str:
        return self.docker("inspect", "--format", template, self.name)


@dataclass
class Cluster:
    """All nodes, in a network that has no way out."""

    docker: Docker
    folder: Path
    """Of the secrets, which only this user may enter."""
    token: str = field(default_factory=lambda: secrets.token_hex(32))
    storage_secret: str = field(default_factory=lambda: secrets.token_hex(32))
    nodes: dict[str, Node] = field(default_factory=dict)
    disturbed: set[str] = field(default_factory=set)
    """Names of nodes that Ray may still take for alive."""

    def __post_init__(self) -> None:
        self._replaced: set[str] = set()  # Ray's ids
        self._subnet = ipaddress.IPv4Network(_free_subnet())
        self._write_secrets()
        self.docker("network", "create", "--internal", "--subnet", str(self._subnet), _NETWORK)

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which a client's training runs on the cluster; its secrets are in the client."""
        return {
            "RAY_ADDRESS": "http://head:8265",
            "MLFLOW_TRACKING_URI": "http://mlflow:5000",
            "HEADRACE_STORAGE": self.storage("headrace"),
        }

    @property
    def mlflow(self) -> str:
        """MLflow's address as this machine reaches it."""
        return f"http://{self._address('mlflow')}:5000"

    def storage(self, prefix: str) -> str:
        """A storage below this prefix of the bucket, as the nodes reach it."""
        return f"s3://{BUCKETS[0]}/{prefix}?endpoint_url=http://s3:{S3_PORT}"

    def start(self) -> None:
        """Start all servers and nodes that train, and wait until all are ready."""
        self._start_s3()
        self._start_mlflow()
        self._start_head()
        for name in TRAINING_NODES:
            self.start_training_node(name)
        self.wait_for_training_nodes()

    def start_client(self) -> Node:
        """Start a node that waits for commands; the others need not be there."""
        return self._run("client", HEADRACE, "sleep", "infinity", cores="0-1", secret=("RAY", "AWS"))

    def start_training_node(self, name: str) -> Node:
        """Start a node with one core, which Ray knows some seconds later."""
        core = str((TRAINING_NODES.index(name) + 1) % 2)  # one thread for a worker, wherever it runs
        options = ["--address=head:6379", f"--node-name={name}", "--num-cpus=1"]
        options += [f"--object-store-memory={_OBJECT_STORE_BYTES}"]
        return self._run(name, HEADRACE, "ray-worker", *options, cores=core, secret=("RAY", "AWS"), **_RAY)

    def replace_training_node(self, name: str) -> Node:
        """Another machine in the place of one that may be gone."""
        self._replaced.update(identity for node, identity in self._alive() if node == name)
        self.nodes[name].remove()
        return self.start_training_node(name)

    def wait_for_training_nodes(self) -> None:
        """Wait until Ray counts all of them as alive, and has missed those that were replaced."""

        def are_all_there() -> bool:
            alive = self._alive()
            names = sorted(name for name, _ in alive)
            return names == sorted(TRAINING_NODES) and self._replaced.isdisjoint(identity for _, identity in alive)

        _wait("all training nodes", are_all_there)

    def alive(self) -> dict[str, str]:
        """Names of the training nodes that Ray counts as alive, with Ray's own id of each."""
        return dict(self._alive())

    def _alive(self) -> list[tuple[str, str]]:
        """The same, where Ray may still count one that was replaced beside its successor."""
        answer = json.loads(self._ask("/nodes?view=summary") or "{}")
        found = [one["raylet"] for one in (answer.get("data") or {}).get("summary", [])]
        alive = [one for one in found if one.get("state") == "ALIVE" and one.get("nodeName") in TRAINING_NODES]
        return [(one["nodeName"], one["nodeId"]) for one in alive]

    def drain(self, node: Node) -> None:
        """Give Ray the notice that a node goes in two minutes."""
        options = ["--node-id", self.alive()[node.name], "--deadline-remaining-seconds", "120"]
        options += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "a test"]
        command = self.nodes["head"].command("ray", "drain-node", "--address", "head:6379", *options)
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if ended.returncode != 0:
            raise ServiceError(f"ray drain-node ended with {ended.returncode}: {ended.stderr}")

    def take_node_to_disturb(self) -> Node:
        """A node on which a worker trains, which `repair` replaces."""
        node = self.training()[0]
        self.disturbed.add(node.name)
        return node

    def repair(self) -> None:
        """Replace nodes that are gone or were disturbed: a drained one ends its raylet, and its container stays."""
        alive = self.alive()
        for name in TRAINING_NODES:
            if name in self.disturbed or name not in alive or not self.nodes[name].is_running:
                self.replace_training_node(name)
        self.disturbed.clear()
        self.wait_for_training_nodes()

    def training(self) -> list[Node]:
        """The nodes on which workers of a training run."""
        running = [self.nodes[name] for name in TRAINING_NODES if self.nodes[name].is_running]
        return [node for node in running if "RayTrainWorker" in node.processes()]

    def wait_for_head(self) -> None:
        """Wait until the job server answers."""
        _wait("Ray's job server", lambda: self._ask("/api/jobs/") is not None)

    def wait_for_mlflow(self) -> None:
        """Wait until MLflow answers."""
        _wait("MLflow", lambda: _fetch(f"{self.mlflow}/health", {}) is not None)

    def _start_s3(self) -> None:
        self._run(
            "s3", S3, "python", "-m", "infra.cluster_test.s3_server", "serve", secret=("AWS",), is_read_only=False
        )
        address = f"http://{self._address('s3')}:{S3_PORT}/healthcheck"
        _wait("S3", lambda: _fetch(address, {}) is not None)
        ready = 'import json; state = json.load(open("/opt/s3/state.json")); print(state)'
        _wait("S3's buckets", lambda: "'buckets': {'state': 'done'" in self._output("s3", "python", "-c", ready))

    def _start_mlflow(self) -> None:
        store = f"sqlite:///{_RAY_STATE}/mlflow.db"
        variables = {
            "MLFLOW_BACKEND_STORE_URI": store,
            "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{BUCKETS[1]}",
            "AWS_ENDPOINT_URL": f"http://s3:{S3_PORT}",
            "MLFLOW_SERVER_ALLOWED_HOSTS": f"mlflow:5000,{self._address('mlflow')}:5000",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # half a dozen processes that nothing here needs
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        }
        command = ["bash", "-c", "/entrypoint migrate-mlflow && exec /entrypoint mlflow --workers=1"]
        self._run("mlflow", HEADRACE, *command, secret=("AWS",), volumes=(_RAY_STATE,), variables=variables)
        self.wait_for_mlflow()

    def _start_head(self) -> None:
        variables = {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": _RAY_STATE}
        command = ["ray-head", f"--object-store-memory={_OBJECT_STORE_BYTES}"]
        given = {**_RAY, "variables": {**_RAY["variables"], **variables}, "volumes": (_RAY_STATE,)}
        self._run("head", HEADRACE, *command, secret=("RAY", "AWS"), **given)
        self.wait_for_head()

    def _run(
        self,
        name: str,
        image: str,
        *command: str,
        cores: str = "0-1",
        secret: tuple[str, ...] = (),
        variables: dict[str, str] | None = None,
        volumes: tuple[str, ...] = (),
        is_read_only: bool = True,
    ) -> Node:
        """Start a container as infra/compose does: no rights beyond a user's, a read-only root, secrets as files."""
        address = self._address(name)
        options = ["--detach", "--init", "--name", name, "--hostname", name, "--network", _NETWORK, "--ip", address]
        options += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "50000:0"]
        options += ["--cpuset-cpus", cores, "--memory", f"{_GIBIBYTES.get(name, 2)}g", "--shm-size", "256m"]
        options += ["--read-only"] if is_read_only else []
        for folder in ("/tmp", "/home/headrace", *volumes):  # noqa: S108
            options += ["--volume", folder]
        for kind in secret:
            for file in sorted(self.folder.glob(f"{kind}_*")):
                options += ["--volume", f"{file}:/run/secrets/{file.name}:ro"]
        for variable, value in (variables or {}).items():
            options += ["--env", f"{variable}={value}"]
        self.docker("run", *options, image, *command)
        self.nodes[name] = Node(self.docker, name, address)
        return self.nodes[name]

    def _address(self, name: str) -> str:
        return str(self._subnet[_ADDRESSES[name]])

    def _output(self, name: str, *command: str) -> str:
        ended = subprocess.run(
            self.nodes[name].command(*command), capture_output=True, text=True, timeout=60, check=False
        )
        return ended.stdout

    def _ask(self, path: str) -> str | None:
        """What the head's dashboard answers; None where it does not."""
        return _fetch(f"http://{self._address('head')}:8265{path}", {"Authorization": f"Bearer {self.token}"})

    def _write_secrets(self) -> None:
        """Files that every user may read, in a folder that only this one may enter: containers run as another."""
        self.folder.mkdir(mode=0o700)
        values = {
            "RAY_AUTH_TOKEN": self.token,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": self.storage_secret,
        }
        for name, value in values.items():
            (self.folder / name).write_text(value, encoding="ascii")
            (self.folder / name).chmod(0o644)


_RAY: dict[str, Any] = {
    "variables": {
        "RAY_AUTH_MODE": "token",
        "HEADRACE_PORTS": "20100-20199",
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(DRAIN_SECONDS),
        "RAY_gcs_rpc_server_reconnect_timeout_s": "600",  # as on Kubernetes: nodes wait for a head that restarts
    }
}


def _pipe(source: list[str], sink: list[str]) -> None:
    """Run two commands, the first one's output into the second; raises ServiceError if one fails."""
    with subprocess.Popen(source, stdout=subprocess.PIPE) as pack:
        ended = subprocess.run(sink, stdin=pack.stdout, check=False, timeout=120)
    if pack.returncode or ended.returncode:
        raise ServiceError(f"{' '.join(source)} ended with {pack.returncode}, {' '.join(sink)} with {ended.returncode}")


def _free_subnet() -> str:
    """The first of the subnets that no route of this machine leads into."""
    listed = subprocess.run(
        ["ip", "-json", "route", "show", "table", "all"], capture_output=True, text=True, check=True
    )
    words = [one.get("dst", "") for one in json.loads(listed.stdout)]
    routes = [ipaddress.ip_network(word, strict=False) for word in words if word[:1].isdigit() and ":" not in word]
    for subnet in _SUBNETS:
        if not any(route.prefixlen and route.overlaps(ipaddress.ip_network(subnet)) for route in routes):
            return subnet
    raise ServiceError(f"this machine has routes into all of {', '.join(_SUBNETS)}")


def _fetch(url: str, headers: dict[str, str]) -> str | None:
    try:
        with _opener.open(urllib.request.Request(url, headers=headers), timeout=5) as answer:  # noqa: S310  # always http
            return str(answer.read().decode())
    except OSError:
        return None


def _wait(what: str, is_there: Callable[[], bool]) -> None:
    deadline_seconds = time.monotonic() + START_SECONDS
    while not is_there():
        if time.monotonic() > deadline_seconds:
            raise ServiceError(f"{what} did not answer within {START_SECONDS:.0f} s")
        time.sleep(1)
