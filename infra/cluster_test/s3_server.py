"""S3 in a container: `python -m infra.cluster_test.s3_server serve` keeps Swift on every address of the container."""

import os
import sys
from pathlib import Path

from infra.stack import swift
from infra.stack.state import Stack
from infra.stack.supervisor import Supervisor

FOLDER = Path("/opt/s3")
PORT = 7070


def main(step: str) -> None:
    """Install Swift (in a build), serve, or do one of the steps that the supervisor starts."""
    if step == "install":
        swift.install(FOLDER / "swift")
        return
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    stack = Stack(FOLDER, FOLDER, {"s3": PORT}, {"s3_secret_key": secret, "s3_hash_suffix": "cluster-test"})
    if step == "s3-setup":
        swift.set_up(stack, address="0.0.0.0")  # noqa: S104  # of a container, whose network has no way out
    elif step == "buckets":
        swift.make_buckets(stack)
    else:
        for folder in (stack.data, stack.logs):
            folder.mkdir(exist_ok=True)
        services = swift.services(stack, (sys.executable, "-m", "infra.cluster_test.s3_server"))
        Supervisor(services, record=stack.state, logs=stack.logs, environment=os.environ).run()


if __name__ == "__main__":
    main(sys.argv[1])
