"""`python -m infra.cluster_test`: start the cluster, print how a training gets there, and keep it until Ctrl-C."""

import shlex
import signal
import sys
import tempfile
from pathlib import Path

from headrace.components.errors import UserError
from infra.cluster_test.cluster import Cluster
from infra.cluster_test.docker import images_folder, missing, own_daemon
from infra.cluster_test.images import build

_ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Keep the cluster until a signal comes."""
    if lacking := missing():
        sys.exit(f"error: a cluster of containers needs {lacking}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="headrace-cluster-") as folder, own_daemon(images_folder(_ROOT)) as docker:
        build(docker, _ROOT)
        cluster = Cluster(docker, Path(folder) / "secrets")
        client = cluster.start_client()
        cluster.start()
        print(shlex.join(client.command("headrace", "doctor", "--cluster", variables=cluster.environment)))  # noqa: T201
        signal.pause()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except UserError as error:
        sys.exit(f"error: {error}")
