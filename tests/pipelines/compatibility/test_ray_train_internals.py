"""What a worker reads of Ray Train's notice that a node of its group goes, and a group that nobody adds nodes for."""

import asyncio
import pickle
from types import SimpleNamespace

import ray
from ray.train import ScalingConfig
from ray.train.v2._internal.execution.preemption import PreemptionContext
from ray.train.v2.api.preemption import PreemptionInfo

from headrace.pipelines.compatibility.ray_train_internals import FixedOnOneMachine, node_drains


def test_a_worker_sees_the_notice_that_ray_has_left_with_it():
    context = SimpleNamespace(preemption_context=PreemptionContext())
    assert node_drains(context) is False
    notice = PreemptionInfo(deadline_ms=None, preempted_node_to_ranks={"a node": [0]})
    context.preemption_context.preemption_info = notice  # as RayTrainWorker.mark_preempt does
    assert node_drains(context) is True


def test_a_group_on_one_machine_is_sized_as_asked_and_ended_without_a_process_for_that():
    policy = pickle.loads(pickle.dumps(FixedOnOneMachine(ScalingConfig(num_workers=3))))
    policy.after_controller_start(None)  # where Ray's own starts a process
    assert policy.make_decision_for_non_running_worker_group().num_workers == 3
    policy.make_decision_for_running_worker_group(None, None)
    asyncio.run(policy.before_controller_shutdown())
    policy.before_controller_abort()
    assert not ray.is_initialized()
