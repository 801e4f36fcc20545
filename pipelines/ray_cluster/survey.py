"""All nodes of the cluster at once: each checks itself and its way to the others."""

import time
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from headrace.components.errors import UserError
from headrace.pipelines.ray_cluster.node_check import NodeCheck, NodeReport, Wanted

START_SECONDS = 60.0  # of a worker process on a busy node
ANSWER_SECONDS = 150.0  # the import of TensorFlow, and a storage or a server that is away
CLOCK_SECONDS = 10.0


def survey(wanted: Wanted) -> list[NodeReport]:
    """A report of each node that is alive, by name; within a Ray session. One that gives no answer is silent."""
    nodes = {one["NodeID"]: one for one in ray.nodes() if one["Alive"]}
    gpus = {name: int(one["Resources"].get("GPU", 0)) for name, one in nodes.items()}
    actors = {name: _start(name) for name in nodes}
    places, silent = _answers({name: one.listen.remote() for name, one in actors.items()}, START_SECONDS)
    ahead_seconds = {name: _ahead_seconds(actors[name]) for name in places}
    ways = {
        name: actors[name].unreachable.remote([place for other, place in places.items() if other != name])
        for name in places
    }
    asked = {name: actors[name].report.remote(wanted, gpus=gpus[name]) for name in places}
    unreachable, lost = _answers(ways, ANSWER_SECONDS)
    found, late = _answers(asked, ANSWER_SECONDS)
    for actor in actors.values():
        ray.kill(actor)
    reports = [
        NodeReport(node=_called(name, nodes), gpus=gpus[name], silent=reason)
        for name, reason in {**silent, **late, **lost}.items()
    ]
    for name in found.keys() & unreachable.keys():
        known = {"node": _called(name, nodes), "clock_seconds": ahead_seconds[name]}
        ways_of_node = {"unreachable": unreachable[name], "others": len(places) - 1}
        reports.append(found[name].model_copy(update={**known, **ways_of_node}))
    return sorted(reports, key=lambda report: report.node)


def _called(name: str, nodes: Mapping[str, Any]) -> str:
    """The host of a node, with a part of its id where a host has several."""
    host = str(nodes[name]["NodeManagerHostname"])
    is_alone = sum(one["NodeManagerHostname"] == host for one in nodes.values()) == 1
    return host if is_alone else f"{host} ({name[:6]})"


def _start(node: str) -> Any:
    """The actor of a node, which needs none of its cores."""
    strategy = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
    return ray.remote(NodeCheck).options(num_cpus=0, scheduling_strategy=strategy).remote()


def _answers(asked: Mapping[str, Any], limit_seconds: float) -> tuple[dict[str, Any], dict[str, str]]:
    """Answers by node, and of those that gave none, why."""
    answers: dict[str, Any] = {}
    silent: dict[str, str] = {}
    deadline_seconds = time.monotonic() + limit_seconds
    for name, reference in asked.items():
        try:
            answers[name] = ray.get(reference, timeout=max(0.1, deadline_seconds - time.monotonic()))
        except GetTimeoutError:
            silent[name] = "no answer in time: is the node busy, or lost?"
        except (RayError, UserError) as error:
            silent[name] = " ".join(str(error).split())[-300:]
    return answers, silent


def _ahead_seconds(actor: Any) -> float:
    """By how much a node's clock is ahead of this one's; the time that a request takes is halved."""
    before_seconds = time.time()
    try:
        there_seconds = float(ray.get(actor.now_seconds.remote(), timeout=CLOCK_SECONDS))
    except (GetTimeoutError, RayError):  # it is lost, which its report will say
        return 0.0
    return there_seconds - (before_seconds + time.time()) / 2
