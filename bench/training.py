"""Training against its peers: steps of one worker and of two, the feed, the start of a job, a checkpoint.

    python bench/training.py --pairs 5

Prints ratios, several pairs run in turn, because the speed of a shared machine drifts within a minute.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "bench" / "peers"
MNIST = ROOT.parent / "shared" / "data" / "mnist"
MNIST_STEPS = 600  # of 100 of MNIST's 60,000 examples: an epoch, the default interval of checkpoints
STEPS = 60  # as in peers/training_steps.py
FEED_ROWS = 60_000
PARTS = ("steps", "feed", "start", "bitwise", "figures")
FIGURES_SECONDS = 0.1  # a hundredth of what is usual: what they cost is too little to be seen else
LIMIT_SECONDS = 180


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    compare = {
        "steps": compare_steps,
        "feed": compare_feeds,
        "start": compare_starts,
        "bitwise": compare_bitwise,
        "figures": compare_figures,
    }
    for part in arguments.parts:
        compare[part](arguments.pairs)


def compare_steps(pairs: int) -> None:
    """One worker on both cores, two workers on one core each, and plain Keras on both cores, epoch by epoch in turn."""
    both = sorted(os.sched_getaffinity(0))[:2]
    if len(both) < 2:
        print("the steps need two cores: left out")
        return
    data = ["--mnist", str(MNIST)] if MNIST.is_dir() else []
    print(
        f"MNIST CNN of 3.3 M parameters, batch of 100, {'MNIST' if data else f'random images ({MNIST} is not there)'}"
    )
    ports = [str(port) for port in free_ports(2)]
    with ExitStack() as running:
        peer = running.enter_context(steps("keras", data, cores=both))
        one = running.enter_context(steps("ours", data, cores=both))
        # The last to start is the first to end: without worker 0, it raises.
        settings = [{"cores": [core], "ports": ports, "rank": rank} for rank, core in enumerate(both)]
        two, _ = [running.enter_context(steps("ours", data, **worker)) for worker in settings]
        turns = [[turn(side)["seconds"] for side in (peer, one, two)] for _ in range(pairs + 1)]
        turns.pop(0)  # it traced the graphs
        one.stdin.close()
        written = [json.loads(line)["checkpoint_seconds"] for line in one.stdout]
    fastest = [min(seconds) for seconds in zip(*turns, strict=True)]
    for name, place in (("one worker", 1), ("two workers, one core each", 2)):
        show(f"examples a second, {name} / plain Keras", [each[0] / each[place] for each in turns])
        print(
            f"the same, fastest turns of both sides: {fastest[0] / fastest[place]:.3f}"
        )  # no other program had a core
    one_epoch = statistics.median(each[1] for each in turns) / STEPS * MNIST_STEPS
    show("a checkpoint / the steps of an epoch of MNIST", [seconds / one_epoch for seconds in written])
    for name, place in (("plain Keras", 0), ("one worker", 1), ("two workers", 2)):
        milliseconds = [each[place] / STEPS * 1000 for each in turns]
        print(f"milliseconds a step, {name}: {statistics.median(milliseconds):.1f} (fastest {min(milliseconds):.1f})")


def compare_bitwise(pairs: int) -> None:
    """Four logical shards on the cores of two workers, against these two workers, epoch by epoch in turn."""
    both = sorted(os.sched_getaffinity(0))[:2]
    if len(both) < 2:
        print("the logical shards need two cores: left out")
        return
    data = ["--mnist", str(MNIST)] if MNIST.is_dir() else []
    with ExitStack() as running:
        sides = []
        for workers in (4, 2):
            ports = [str(port) for port in free_ports(workers)]
            cores = [both[rank * 2 // workers] for rank in range(workers)]
            settings = [{"cores": [core], "ports": ports, "rank": rank} for rank, core in enumerate(cores)]
            first, *_ = [running.enter_context(steps("ours", data, **worker)) for worker in settings]
            sides.append(first)
        turns = [[turn(side)["seconds"] for side in sides] for _ in range(pairs + 1)][1:]
    show("seconds of a step, reproducible: bitwise / to_rounding", [bitwise / two for bitwise, two in turns])


def compare_figures(pairs: int) -> None:
    """One worker that reports its figures, a hundred times as often as usual, and one that never does, in turn."""
    data = ["--mnist", str(MNIST)] if MNIST.is_dir() else []
    [core] = sorted(os.sched_getaffinity(0))[:1]
    with ExitStack() as running:
        sides = [
            running.enter_context(steps("ours", data, cores=[core], figures=seconds))
            for seconds in (FIGURES_SECONDS, 0)
        ]
        spent = [[turn(side)["processor_seconds"] for side in sides] for _ in range(pairs + 2)][1:]
    epochs = [[after - before for before, after in zip(one, other, strict=True)] for one, other in pairwise(spent)]
    ratios = [reporting / silent for reporting, silent in epochs]
    show(f"processor time of an epoch, figures every {FIGURES_SECONDS} s / none", ratios)
    print(f"so of figures every 10 s: {(statistics.median(ratios) - 1) * FIGURES_SECONDS / 10:+.3%}")


def compare_feeds(pairs: int) -> None:
    """From files to the device: passes over splits, against passes over TFRecord files of the same content."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder, ExitStack() as running:
        script = [str(PEERS / "training_feed.py")]
        finish([*script, "write", folder, str(FEED_ROWS)])
        peers = {"records": "TFRecord", "cached": "TFRecord, the same batches kept in memory"}
        sides = [running.enter_context(started([*script, side, folder])) for side in ("ours", *peers)]
        turns = [[turn(side) for side in sides] for _ in range(pairs + 1)][1:]  # the first one loads TensorFlow's parts
    whats = {
        "all_passes": "in five epochs",
        "first_pass": "in the first, which reads the splits",
        "later_passes": "in the others",
    }
    for place, peer in enumerate(peers.values(), start=1):
        for name, what in whats.items():
            ratios = [each[place][name] / each[0][name] for each in turns]
            show(f"rows a second from files to the device, {what}, ours / {peer}", ratios)


def compare_starts(pairs: int) -> None:
    """A job of two workers and one step, from nothing to its end."""
    turns = []
    for _ in range(min(pairs, 3)):
        with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
            turns.append([finish([str(PEERS / "training_start.py"), side, folder]) for side in ("ours", "ray")])
    show("seconds of a job of one step, ours / Ray's TensorflowTrainer", [ours / ray for ours, ray in turns])
    print("seconds: ours {:.1f}, Ray's {:.1f}".format(*(statistics.median(side) for side in zip(*turns, strict=True))))


def steps(side: str, data: list[str], **settings: Any) -> Any:
    """A process that trains an epoch for each line it is sent."""
    arguments = [str(PEERS / "training_steps.py"), side, *data]
    for name, value in settings.items():
        arguments += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return started(arguments)


@contextmanager
def started(arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, *arguments], env=environment(), text=True, **pipes)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            pipe.close()


def turn(side: subprocess.Popen[str]) -> dict[str, float]:
    """Let a side run one more turn, while the others wait; its report."""
    side.stdin.write("\n")
    side.stdin.flush()
    line = side.stdout.readline()
    if not line:
        sys.exit(f"{' '.join(side.args)} ended before its time")
    return dict(json.loads(line))


def finish(arguments: list[str]) -> float:
    """Run to the end; return the seconds it took."""
    command, started_seconds = [sys.executable, *arguments], time.monotonic()
    ended = subprocess.run(
        command, env=environment(), capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS
    )
    if ended.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{ended.stdout}{ended.stderr}")
    return time.monotonic() - started_seconds


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    return {**kept, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}


def free_ports(count: int) -> list[int]:
    with ExitStack() as open_sockets:
        listeners = [open_sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


def show(name: str, ratios: list[float]) -> None:
    print(
        f"{name}: {statistics.median(ratios):.3f} (median of {len(ratios)}; {min(ratios):.3f} to {max(ratios):.3f})",
        flush=True,
    )


if __name__ == "__main__":
    main()
