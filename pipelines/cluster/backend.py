"""The lean TensorFlow backend for Ray Train: it sets TF_CONFIG, and nothing else.

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


@dataclass
class TensorflowBackendConfig(BackendConfig):
    """Asks Ray Train for the lean TensorFlow backend."""

    @property
    def backend_cls(self) -> type[Backend]:
        """The class that Ray Train starts in its controller."""
        return _TensorflowBackend


class _TensorflowBackend(Backend):
    def on_start(self, worker_group: BaseWorkerGroup, backend_config: BackendConfig) -> None:  # noqa: ARG002
        """Tell every worker the addresses of all."""
        addresses = worker_group.execute(_free_address)
        ray.get(
            [
                worker_group.execute_single_async(rank, _set_tf_config, addresses=addresses, index=rank)
                for rank in range(len(worker_group))
            ]
        )


def _free_address() -> str:
    """Address and free port of the node this runs on."""
    host = ray.util.get_node_ip_address()
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.bind((host, 0))
        port = listener.getsockname()[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _set_tf_config(addresses: list[str], index: int) -> None:
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})
