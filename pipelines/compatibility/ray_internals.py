"""Private names of Ray: addresses, tokens and nodes of a cluster; Ray Train's have a module of their own."""

import ray
from ray._private import services

from headrace.components.compatibility.tested_versions import require_tested

TESTED_VERSIONS = ("2.60",)

require_tested("ray", ray.__version__, tested=TESTED_VERSIONS)


def accept_loopback() -> None:
    """Let Ray accept 127.0.0.1 as this node's address.

    It takes it for a mistake, puts the machine's own in its place, and then listens on all interfaces.
    """
    services.resolve_ip_for_localhost = lambda host: host


def read_token_again() -> None:
    """Let Ray read the token of the cluster again, from the variables or file that name it now."""
    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()


def on_this_node() -> dict[str, str]:
    """Label selector of tasks and actors that must run on this process's node."""
    return {ray._raylet.RAY_NODE_ID_KEY: ray.get_runtime_context().get_node_id()}
