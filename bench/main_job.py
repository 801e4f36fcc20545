"""How long the main job takes: `headrace run digits` against the same work by hand, and again with nothing changed.

Prints ratios of wall and processor time, several pairs run in turn, because the speed of a shared machine drifts
within a minute.
"""

import argparse
import ctypes
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PEER = ROOT / "bench" / "peers" / "digits.py"


_PR_SET_CHILD_SUBREAPER = 36  # of <linux/prctl.h>


class Run(NamedTuple):
    """What a command took, with every process that it started and left."""

    seconds: float
    processor_seconds: float
    output: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    pairs = parser.parse_args().pairs
    adopt_orphans()
    first, again, peer = [], [], []
    for number in range(pairs):
        with tempfile.TemporaryDirectory() as folder:
            project = new_project(Path(folder) / "project")
            first.append(timed([program("headrace"), "run", "digits"], project))
            again.append(timed([program("headrace"), "run", "digits"], project))
            by_hand = Path(folder) / "by hand"
            by_hand.mkdir()
            peer.append(timed([sys.executable, str(PEER)], by_hand))
            if " done " in again[-1].output:
                sys.exit(f"a stage ran although nothing had changed:\n{again[-1].output}")
        sides = {"first": first, "again": again, "by hand": peer}
        shown = [f"{name} {runs[-1].seconds:.1f} s ({runs[-1].processor_seconds:.1f})" for name, runs in sides.items()]
        print(f"pair {number + 1}, and of the processor: {', '.join(shown)}", flush=True)
    show("headrace run digits / the same by hand", first, peer)
    show("headrace run digits again / the first time", again, first)
    stages = [line for line in first[-1].output.splitlines() if " done " in line and line.rstrip().endswith(" s")]
    print("the last first run, by stage:", *stages, sep="\n  ")


def new_project(folder: Path) -> Path:
    """A copy of what git knows, as a repository of its own, so that DVC finds nothing done."""
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name, follow_symlinks=False)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


def adopt_orphans() -> None:
    """Become the parent of what a command leaves running, as Ray does, whose processor time counts too."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def timed(command: list[str], folder: Path) -> Run:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")
    }
    before, started = processor_seconds(), time.monotonic()
    ended = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    seconds = time.monotonic() - started
    if ended.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{ended.stdout}")
    wait_for_orphans()
    return Run(seconds, processor_seconds() - before, ended.stdout)


def wait_for_orphans() -> None:
    try:
        while True:
            os.wait()
    except ChildProcessError:
        return


def processor_seconds() -> float:
    """What all children that have ended took, with theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def show(name: str, ours: list[Run], peers: list[Run]) -> None:
    for clock in ("seconds", "processor_seconds"):
        ratios = [getattr(one, clock) / getattr(other, clock) for one, other in zip(ours, peers, strict=True)]
        spread = f"median of {len(ratios)}; {min(ratios):.3f} to {max(ratios):.3f}"
        print(f"{name}, {clock.replace('_', ' ')}: {statistics.median(ratios):.3f} ({spread})")


if __name__ == "__main__":
    main()
