"""The lean backend for Ray Train: SIGTERM, and where the workers of a group meet.

Ray's own backend imports TensorFlow into the driver and the controller, and sets TF_USE_LEGACY_KERAS=1, which makes
Keras 3 models fail (ray#47464).
"""

import secrets
import socket
from dataclasses import dataclass

import ray

from headrace.components.training.workers.rendezvous import Address, Rendezvous
from headrace.pipelines.compatibility.ray_train_internals import Backend, BackendConfig, BaseWorkerGroup
from headrace.pipelines.ray_cluster.ports import bind_in_range
from headrace.pipelines.ray_train.preemption import listen

SECRET_BYTES = 32
LOOPBACK = "127.0.0.1"

_listeners: list[socket.socket] = []  # of this worker's process: one at most
_places: list[Rendezvous] = []
_groups: list["GroupNodes"] = []


@dataclass(frozen=True)
class GroupNodes:
    """Which worker of a group this is, the group's name, and Ray's id of the node of each of its workers."""

    rank: int
    name: str
    node_ids: tuple[str, ...]


@dataclass
class TensorflowBackendConfig(BackendConfig):
    """Asks Ray Train for the lean backend, whose workers listen at `ports`, or where each node's own setting says."""

    ports: range | None = None

    @property
    def backend_cls(self) -> type[Backend]:
        """The class that Ray Train starts in its controller."""
        return _TensorflowBackend


class _TensorflowBackend(Backend):
    def on_start(self, worker_group: BaseWorkerGroup, backend_config: TensorflowBackendConfig) -> None:
        """Make every worker hear SIGTERM, and give it the addresses of all and the secret of the group.

        The secret is made for this group alone. It goes by Ray's own channel, which requires the cluster's token.
        """
        hosts, node_ids = zip(*worker_group.execute(_prepare), strict=True)
        name = secrets.token_hex(8)
        ray.get(
            [
                worker_group.execute_single_async(rank, _know_group, index=rank, name=name, node_ids=node_ids)
                for rank in range(len(hosts))
            ]
        )
        if len(hosts) == 1:
            return
        if len(set(hosts)) == 1:
            hosts = (LOOPBACK,) * len(hosts)
        addresses: list[Address] = ray.get(
            [
                worker_group.execute_single_async(rank, _listen, host=host, ports=backend_config.ports)
                for rank, host in enumerate(hosts)
            ]
        )
        secret = secrets.token_bytes(SECRET_BYTES)
        ray.get(
            [
                worker_group.execute_single_async(rank, _meet, addresses=addresses, index=rank, secret=secret)
                for rank in range(len(hosts))
            ]
        )


def rendezvous() -> Rendezvous | None:
    """The place of this worker in its group; None where it is alone."""
    return _places[0] if _places else None


def group_nodes() -> GroupNodes:
    """The nodes of this worker's group."""
    return _groups[0]


def _prepare() -> tuple[str, str]:
    """Listen for SIGTERM; the address of this node, and Ray's id of it."""
    listen()
    return str(ray.util.get_node_ip_address()), str(ray.get_runtime_context().get_node_id())


def _know_group(index: int, name: str, node_ids: tuple[str, ...]) -> None:
    _groups[:] = [GroupNodes(index, name, node_ids)]


def _listen(host: str, ports: range | None) -> Address:
    """Listen at a port of `host` from now on, so that no other process can take it."""
    _listeners[:] = [bind_in_range(host, ports)]
    return host, int(_listeners[0].getsockname()[1])


def _meet(addresses: list[Address], index: int, secret: bytes) -> None:
    _places[:] = [Rendezvous(index, addresses, secret, _listeners[0])]
