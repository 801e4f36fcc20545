"""TF_CONFIG: the group of processes that a launcher started, as TensorFlow's own launchers describe it.

Kubeflow's TFJob sets it, and `headrace launch`. Source:
https://www.tensorflow.org/guide/distributed_training#setting_up_the_tf_config_environment_variable
"""

import json
import os
from collections.abc import Sequence
from typing import NamedTuple

from headrace.components.errors import ParamsError

VARIABLE, SECRET_VARIABLE = "TF_CONFIG", "HEADRACE_GROUP_SECRET"
MINIMUM_SECRET_CHARACTERS = 32


class Member(NamedTuple):
    """A process's place in its group; the chief, if there is one, is the first of `addresses`."""

    rank: int
    addresses: Sequence[tuple[str, int]]
    secret: bytes


def group_member() -> Member | None:
    """The place that TF_CONFIG gives this process; None where it is not set, or names one process alone.

    Raises ParamsError for a TF_CONFIG that can't be read, tasks other than chief and worker, and a group without a
    secret in HEADRACE_GROUP_SECRET.
    """
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    try:
        config = json.loads(text)
        cluster, task = config.get("cluster", {}), config.get("task", {})
        hosts = [*cluster.get("chief", ()), *cluster.get("worker", ())]
        addresses = [_address(host) for host in hosts]
        kind, index = task.get("type", "worker"), int(task.get("index", 0))
    except (ValueError, AttributeError, TypeError) as error:
        raise ParamsError(
            f'{VARIABLE}: expected {{"cluster": {{"worker": ["HOST:PORT", ...]}}, "task": {{"type": "worker", "index": '
            f"0}}}}, found {text[:200]!r}"
        ) from error
    if len(addresses) < 2:
        return None
    if "ps" in cluster or kind not in ("chief", "worker"):
        raise ParamsError(
            f"{VARIABLE}: expected tasks chief and worker, found {kind} of a cluster of {', '.join(cluster)}; workers "
            "exchange gradients with each other, so leave parameter servers and evaluators out"
        )
    rank = index if kind == "chief" else index + len(cluster.get("chief", ()))
    if not 0 <= rank < len(addresses):
        raise ParamsError(f"{VARIABLE}: {kind} {index} is not one of its {len(addresses)} addresses")
    return Member(rank, addresses, _secret())


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host:
        raise ValueError(text)
    return host.strip("[]"), int(port)


def _secret() -> bytes:
    secret = os.environ.get(SECRET_VARIABLE, "")
    if len(secret) < MINIMUM_SECRET_CHARACTERS:
        raise ParamsError(
            f"{SECRET_VARIABLE} has {len(secret)} characters, expected at least {MINIMUM_SECRET_CHARACTERS}, the same "
            "for all processes of the group, such as `openssl rand -hex 32` gives; it keeps others out of the group"
        )
    return secret.encode()
