"""The lean TensorFlow backend for Ray Train: TF_CONFIG, a port that stays free, and SIGTERM.

Ray's own backend imports TensorFlow into the driver and the controller, and sets TF_USE_LEGACY_KERAS=1, which makes
Keras 3 models fail (ray#47464).
"""

import json
import os
import socket
from dataclasses import dataclass

import ray
from ray.train._internal.base_worker_group import BaseWorkerGroup
from ray.train.backend import Backend, BackendConfig

from pipelines.cluster.preemption import listen

_held: list[socket.socket] = []


@dataclass
class TensorflowBackendConfig(BackendConfig):
    """Asks Ray Train for the lean TensorFlow backend."""

    @property
    def backend_cls(self) -> type[Backend]:
        """The class that Ray Train starts in its controller."""
        return _TensorflowBackend


class _TensorflowBackend(Backend):
    def on_start(self, worker_group: BaseWorkerGroup, backend_config: BackendConfig) -> None:  # noqa: ARG002
        """Make every worker ready to be told of its end, and tell it the addresses of all."""
        addresses = worker_group.execute(_prepare)
        ray.get(
            [
                worker_group.execute_single_async(rank, _set_tf_config, addresses=addresses, index=rank)
                for rank in range(len(worker_group))
            ]
        )


def _prepare() -> str:
    """Listen for SIGTERM, and return an address of this node with a port that is kept for TensorFlow."""
    listen()
    host = ray.util.get_node_ip_address()
    port = keep_port(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def keep_port(host: str) -> int:
    """Return a free port that only sockets which share it can take, until this process ends.

    Were it closed again before TensorFlow binds it, another process could get it in between. A socket that does not
    listen gets no connections.
    """
    os.environ["TF_GRPC_REUSE_PORT"] = "true"
    holder = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind((host, 0))
    _held.append(holder)
    return int(holder.getsockname()[1])


def _set_tf_config(addresses: list[str], index: int) -> None:
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})
