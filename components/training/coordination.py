"""Limits on how long TensorFlow waits for other workers; of itself it waits for ever."""

from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
from tensorflow.python.eager import context

HEARTBEAT_TIMEOUT_SECONDS = 20
SHUTDOWN_TIMEOUT_SECONDS = 10


def limit_waiting(*, num_workers: int, start_timeout_seconds: float) -> None:
    """Make TensorFlow raise where a worker does not start in time, or does not answer any more.

    To be called before the strategy is made, which otherwise configures the coordination service without limits.
    """
    if num_workers == 1:
        return
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        cluster_register_timeout_in_ms=int(start_timeout_seconds * 1000),
        heartbeat_timeout_in_ms=HEARTBEAT_TIMEOUT_SECONDS * 1000,
        shutdown_barrier_timeout_in_ms=SHUTDOWN_TIMEOUT_SECONDS * 1000,
        coordinated_jobs=[coordination_config_pb2.CoordinatedJob(name="worker", num_tasks=num_workers)],
    )
