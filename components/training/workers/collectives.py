"""TensorFlow's own exchange, for workers with GPUs: MultiWorkerMirroredStrategy, whose gradients go by NCCL.

On each worker it starts a server that listens on all interfaces and obeys every client. A filter of the kernel drops
all packets from outside the machines of the group: see `server_filter.py`.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from headrace.components.compatibility import keras_internals, tensorflow_internals
from headrace.components.errors import TrainingError
from headrace.components.training.workers.attribute_override import Override
from headrace.components.training.workers.coordination import limit_waiting
from headrace.components.training.workers.owned_optimizers import owned_optimizers
from headrace.components.training.workers.rendezvous import Rendezvous
from headrace.components.training.workers.ring import Ring
from headrace.components.training.workers.server_filter import closed_to_others


class Collectives:
    """Sums by TensorFlow's collectives, within `strategy.run`; between steps along the ring."""

    def __init__(self, ring: Ring, strategy: tf.distribute.Strategy) -> None:
        self.rank, self.num_workers, self.strategy, self._ring = ring.rank, ring.num_workers, strategy, ring

    def sum(self, vector: tf.Tensor, *, exact: bool = False) -> tf.Tensor:  # noqa: ARG002
        """The sums over all workers, never rounded."""
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, vector)

    def gather_rows(self, tensors: Sequence[tf.Tensor]) -> tuple[list[tf.Tensor], tf.Tensor]:
        """The rows of all workers of each tensor, and where this worker's begin; TensorFlow pads them on their way.

        Raises TrainingError in a loop of several steps, where TensorFlow's collectives take one shape for all of them.
        """
        if tensorflow_internals.within_while_loop():
            raise TrainingError(
                "a gradient of an embedding, or gather_batch, exchanges rows, whose number may change from step to "
                "step; on several GPUs, compile the model with steps_per_execution=1 (train.steps_per_execution)"
            )
        replica = tf.distribute.get_replica_context()
        own_counts = tf.stack([tf.shape(tensor, tf.int64)[0] for tensor in tensors])
        counts = replica.all_gather(own_counts[tf.newaxis], axis=0)
        gathered = [replica.all_gather(tensor, axis=0) for tensor in tensors]
        return gathered, tf.reduce_sum(counts[: self.rank], axis=0)

    def gather(self, rows: NDArray[Any]) -> NDArray[Any]:
        """The rows of all workers, in the order of ranks."""
        return self._ring.gather(rows)


def collectives(ring: Ring, rendezvous: Rendezvous, *, timeout_seconds: float) -> Collectives:
    """Make the strategy, once every worker's server runs.

    Each takes the port at which the worker has met the others: it is in the allowed range, and free again. Raises
    DeadlineExceededError for a worker whose server does not start within the limit, TrainingError where the server
    can't be kept from others.
    """
    ring.gather(np.zeros(0))  # the listeners of all workers are closed
    workers = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in rendezvous.addresses]
    own_port = rendezvous.addresses[ring.rank][1]
    with closed_to_others(own_port, hosts=[host for host, _ in rendezvous.addresses]):
        limit_waiting(workers, rank=ring.rank, start_timeout_seconds=timeout_seconds)
        cluster = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({"worker": workers}), task_type="worker", task_id=ring.rank, rpc_layer="grpc"
        )
        strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster)
    return Collectives(ring, strategy)


def strategy_overrides(model: keras.Model) -> list[Override]:
    """What Keras needs under a strategy of several replicas, on each of which it already gets what it would share."""
    strategy = model.distribute_strategy
    if strategy.num_replicas_in_sync == 1:
        return []
    return [
        # What `worker_dataset` gives is this worker's part: Keras would have it dealt out once more.
        (strategy, "experimental_distribute_dataset", lambda dataset, options=None: dataset),  # noqa: ARG005
        # Updates run within each worker's one replica: TensorFlow can't merge replicas within a condition.
        (strategy.extended, tensorflow_internals.USE_MERGE_CALL, lambda: False),
        *(override for optimizer in owned_optimizers(model) for override in _of_optimizer(optimizer, strategy)),
    ]


def _of_optimizer(optimizer: keras.optimizers.Optimizer, strategy: tf.distribute.Strategy) -> list[Override]:
    innermost = getattr(optimizer, "inner_optimizer", optimizer)  # mixed precision wraps the optimizer
    steps = keras_internals.step_count(innermost)
    [count] = strategy.experimental_local_results(steps.value)
    return [
        (innermost, keras_internals.ALL_REDUCE_SUM_GRADIENTS, list),
        # The count of steps takes the first replica's value, which TensorFlow can't ask for within a condition.
        (steps, keras_internals.DIRECT_ASSIGN, lambda value: count.assign(tf.cast(value, count.dtype))),
    ]
