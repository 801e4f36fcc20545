"""On an EC2 spot instance: drain Ray's node as soon as the notice of its end comes, two minutes before.

Ray then notifies the trainings that have workers there. Started beside Ray by infra/ray/aws.yaml.
"""

import subprocess
import time
import urllib.request

import psutil

METADATA = "http://169.254.169.254/latest"  # the same link-local address on every instance
POLL_SECONDS = 5.0
LEFT_SECONDS = 110  # of the two minutes, when the notice is seen


def main(metadata: str = METADATA, *, poll_seconds: float = POLL_SECONDS) -> None:
    """Wait for the notice, drain the node, and end."""
    while not is_noticed(metadata):
        time.sleep(poll_seconds)
    subprocess.run(drain_command(), check=True)


def is_noticed(metadata: str) -> bool:
    """Whether the instance is going to end; False where the metadata can't be read just now."""
    try:
        put = urllib.request.Request(  # noqa: S310 - http
            f"{metadata}/api/token", method="PUT", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        )
        with urllib.request.urlopen(put, timeout=2) as answer:  # noqa: S310
            token = answer.read().decode()
        get = urllib.request.Request(  # noqa: S310
            f"{metadata}/meta-data/spot/instance-action", headers={"X-aws-ec2-metadata-token": token}
        )
        urllib.request.urlopen(get, timeout=2).close()  # noqa: S310
    except OSError:  # 404 is an OSError, too: no notice
        return False
    return True


def drain_command() -> list[str]:
    """The command that drains the node of this machine's raylet, whose command line has its id and its cluster."""
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "raylet":
            options = dict(one.lstrip("-").split("=", 1) for one in process.info["cmdline"] if "=" in one)
            return [
                *("ray", "drain-node", "--address", options["gcs-address"], "--node-id", options["node_id"]),
                *("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "the notice of a spot instance"),
                *("--deadline-remaining-seconds", str(LEFT_SECONDS)),
            ]
    raise SystemExit("no raylet on this machine: start Ray first")


if __name__ == "__main__":
    main()
