"""How long the main job takes: `headrace run digits` against the same work by hand, and again with nothing changed.

Prints ratios, several pairs run in turn, because the speed of a shared machine drifts within a minute.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEER = ROOT / "bench" / "peers" / "digits.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    pairs = parser.parse_args().pairs
    first, again, peer = [], [], []
    stages: list[str] = []
    for number in range(pairs):
        with tempfile.TemporaryDirectory() as folder:
            project = new_project(Path(folder) / "project")
            seconds, output = timed([program("headrace"), "run", "digits"], project)
            first.append(seconds)
            seconds, unchanged = timed([program("headrace"), "run", "digits"], project)
            again.append(seconds)
            by_hand = Path(folder) / "by hand"
            by_hand.mkdir()
            peer.append(timed([sys.executable, str(PEER)], by_hand)[0])
            stages = [line for line in output.splitlines() if " done " in line and line.rstrip().endswith(" s")]
            if " done " in unchanged:
                sys.exit(f"a stage ran although nothing had changed:\n{unchanged}")
        print(
            f"pair {number + 1}: first {first[-1]:.1f} s, again {again[-1]:.1f} s, by hand {peer[-1]:.1f} s", flush=True
        )
    show("headrace run digits / the same by hand", [one / other for one, other in zip(first, peer, strict=True)])
    show("headrace run digits again / the first time", [one / other for one, other in zip(again, first, strict=True)])
    print("the last first run, by stage:", *stages, sep="\n  ")


def new_project(folder: Path) -> Path:
    """A copy of what git knows, as a repository of its own, so that DVC finds nothing done."""
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


def timed(command: list[str], folder: Path) -> tuple[float, str]:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")
    }
    started = time.monotonic()
    ended = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if ended.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{ended.stdout}")
    return time.monotonic() - started, ended.stdout


def program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def show(name: str, ratios: list[float]) -> None:
    print(f"{name}: {statistics.median(ratios):.3f} (median of {len(ratios)}; {min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
