"""Private names of TensorFlow: of the multi-worker strategy that GPUs need, and what a trace consists of."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
from tensorflow.python.eager import context
from tensorflow.python.ops.control_flow_v2_func_graphs import WhileBodyFuncGraph

TESTED_VERSIONS = ("2.21",)


@dataclass(frozen=True)
class Operation:
    """An operation of a graph, just made; `attributes` are protocol buffers by name."""

    kind: str
    inputs: tuple[tf.Tensor, ...]
    attributes: dict[str, Any]
    outputs: tuple[tf.Tensor, ...]
    name: str
    graph: Any


Seen = Callable[[Operation], Sequence[tf.Tensor] | None]

CALLS = (
    "PartitionedCall", "StatefulPartitionedCall", "While", "StatelessWhile", "If", "StatelessIf", "Case",
    "StatelessCase",
)  # fmt: skip
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


@contextmanager
def operations_seen(see: Seen) -> Iterator[None]:
    """Call `see` for each operation that this thread traces within the block, and use the outputs that it returns.

    It receives the operation's type, inputs, outputs, name and graph. What it makes itself it does not see. To be
    called within a trace: outside of one, TensorFlow would have to change how all operations are executed.
    """

    def callback(kind: str, inputs: Any, attributes: Any, outputs: Any, op_name: Any = None, graph: Any = None) -> Any:
        attributes = dict(zip(attributes[::2], attributes[1::2], strict=True))
        return (
            None if graph is None else see(Operation(kind, tuple(inputs), attributes, tuple(outputs), op_name, graph))
        )

    thread = context.context()
    thread.add_op_callback(callback)
    try:
        yield
    finally:
        thread.remove_op_callback(callback)


def is_within_loop(graph: Any, step_graph: Any) -> bool:
    """Whether `graph` is traced within a loop that `step_graph`, in which a step is traced, has."""
    while graph is not None and graph is not step_graph:
        if isinstance(graph, WhileBodyFuncGraph):
            return True
        graph = getattr(graph, "outer_graph", None)
    return False


def called_operations(graph: Any) -> list[tuple[str, str]]:
    """Type and name of each operation of the traced functions that `graph` calls, at any depth."""
    calls = [operation.node_def for operation in graph.get_operations() if operation.type in CALLS]
    names, seen = [name for call in calls for name in _functions(call)], set[str]()
    found = []
    while names:
        if (name := names.pop()) not in seen:
            seen.add(name)
            for node in context.context().get_function_def(name).node_def:
                found.append((node.op, node.name))
                names += _functions(node)
    return found


def _functions(node: Any) -> list[str]:
    single = [value.func.name for value in node.attr.values() if value.HasField("func")]
    return single + [function.name for value in node.attr.values() for function in value.list.func]
