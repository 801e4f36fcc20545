"""Private names of Ray Train: its controller, its failure policy, and what its workers know of their group."""

from typing import Any

import ray
from ray.train._internal.base_worker_group import BaseWorkerGroup
from ray.train.backend import Backend, BackendConfig
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.constants import get_env_vars_to_propagate
from ray.train.v2._internal.execution.context import get_train_context
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.train.v2.api.exceptions import ControllerError, PreemptionError, TrainingFailedError, WorkerGroupError

from headrace.components.compatibility.tested_versions import require_tested

__all__ = [
    "Backend",
    "BackendConfig",
    "BaseWorkerGroup",
    "ControllerError",
    "DataParallelTrainer",
    "DatasetsCallback",
    "DefaultFailurePolicy",
    "FailureDecision",
    "FixedOnOneMachine",
    "PlacementGroupCleanerCallback",
    "PreemptionError",
    "TrainController",
    "TrainingFailedError",
    "WorkerGroupError",
    "get_env_vars_to_propagate",
    "node_drains",
]

TESTED_VERSIONS = ("2.60",)

require_tested("ray", ray.__version__, tested=TESTED_VERSIONS)


class FixedOnOneMachine(FixedScalingPolicy):  # type: ignore[misc]  # ray carries no types
    """A group of fixed size where no autoscaler adds nodes: it starts no process to report to what the group needs."""

    def after_controller_start(self, train_run_context: Any) -> None:
        """Report nothing."""

    def _maybe_send_resource_request(self) -> None:
        pass


def node_drains(context: Any | None = None) -> bool:
    """Whether this worker was notified that a node of its group is about to go.

    Not `ray.train.get_preemption_info()`, which is a barrier for all workers: each has its own copy of the notice.
    """
    known = get_train_context() if context is None else context
    return known.preemption_context.preemption_info is not None
