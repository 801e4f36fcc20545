"""What a worker reads of Ray Train's notice that a node of its group goes."""

from types import SimpleNamespace

from ray.train.v2._internal.execution.preemption import PreemptionContext
from ray.train.v2.api.preemption import PreemptionInfo

from headrace.pipelines.compatibility.ray_train_internals import node_drains


def test_a_worker_sees_the_notice_that_ray_has_left_with_it():
    context = SimpleNamespace(preemption_context=PreemptionContext())
    assert node_drains(context) is False
    notice = PreemptionInfo(deadline_ms=None, preempted_node_to_ranks={"a node": [0]})
    context.preemption_context.preemption_info = notice  # as RayTrainWorker.mark_preempt does
    assert node_drains(context) is True
