"""Private names of TensorFlow, of the multi-worker strategy that workers with GPUs run under."""

from typing import Any

import tensorflow as tf
from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
from tensorflow.python.eager import context
from tensorflow.python.ops.control_flow_v2_func_graphs import WhileBodyFuncGraph

TESTED_VERSIONS = ("2.21",)

USE_MERGE_CALL = "_use_merge_call"  # of a strategy's `extended`: whether updates leave the replicas


def configure_coordination(
    *, num_workers: int, register_seconds: float, heartbeat_seconds: float, shutdown_seconds: float
) -> None:
    """Set limits on how long the workers' servers wait for each other, before a strategy starts them."""
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        cluster_register_timeout_in_ms=int(register_seconds * 1000),
        heartbeat_timeout_in_ms=int(heartbeat_seconds * 1000),
        shutdown_barrier_timeout_in_ms=int(shutdown_seconds * 1000),
        coordinated_jobs=[coordination_config_pb2.CoordinatedJob(name="worker", num_tasks=num_workers)],
    )


def batch_specification(iterator: Any) -> Any:
    """Shapes and types of the batches of the iterator that Keras trains from."""
    specification = iterator._distributed_dataset.element_spec
    return tf.nest.pack_sequence_as(specification, tf.nest.flatten(specification, expand_composites=True))


def within_while_loop() -> bool:
    """Whether what is traced now is the body of a `tf.while_loop`, or within one."""
    graph = tf.compat.v1.get_default_graph()
    while graph is not None and not isinstance(graph, WhileBodyFuncGraph):
        graph = getattr(graph, "outer_graph", None)
    return graph is not None
