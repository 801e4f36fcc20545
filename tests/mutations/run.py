"""Make each change of mutations.toml in a copy of the project, and print those that the tests named do not see.

`make mutate`; some of them: `make mutate MUTATIONS=gate`, by a part of the file's name.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).resolve().parents[2]
COPIES = 2  # at a time
TEST_SECONDS = 300
ALL_TESTS_SECONDS = 3600


@dataclass(frozen=True)
class Mutation:
    """A change of one file, and the tests that must notice it."""

    file: str
    before: str
    after: str
    tests: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}: {self.before.strip()!r} -> {self.after.strip()!r}"


def mutations() -> list[Mutation]:
    """All of mutations.toml."""
    groups = tomllib.loads(Path(__file__).with_name("mutations.toml").read_text(encoding="utf-8"))["group"]
    return [
        Mutation(group["file"], before, after, tuple(group["tests"]))
        for group in groups
        for before, after in group["changes"]
    ]


def main(wanted: str) -> int:
    """Print a line for each mutation; 0 if every one was seen, 1 if some survived, 2 if the tests fail as it is."""
    chosen = [one for one in mutations() if wanted in one.file]
    with tempfile.TemporaryDirectory() as folder:
        copies: Queue[Path] = Queue()
        for number in range(COPIES):
            copies.put(_copy(Path(folder) / str(number)))
        unchanged = copies.get()
        every = tuple(sorted({test for one in chosen for test in one.tests}))
        if not _tests_pass(unchanged, every, limit_seconds=ALL_TESTS_SECONDS):
            print("the tests fail without any change", file=sys.stderr)
            return 2
        copies.put(unchanged)

        def survives(mutation: Mutation) -> bool:
            copy = copies.get()
            try:
                survived = _survives(mutation, copy)
            finally:
                copies.put(copy)
            print("SURVIVED" if survived else "seen    ", mutation, flush=True)
            return survived

        with ThreadPoolExecutor(COPIES) as threads:
            survivors = sum(threads.map(survives, chosen))
    print(f"{len(chosen)} mutations, {survivors} survived")
    return int(survivors > 0)


def _copy(folder: Path) -> Path:
    """What git tracks or would track, in a folder of its own, without a folder of data beside it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    project = folder / "project"
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file() or (ROOT / name).is_symlink():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, project / name, follow_symlinks=False)
    return project


def _survives(mutation: Mutation, project: Path) -> bool:
    file = project / mutation.file
    text = file.read_text(encoding="utf-8")
    if text.count(mutation.before) != 1:
        raise SystemExit(f"{mutation}: expected the text once, found it {text.count(mutation.before)} times")
    file.write_text(text.replace(mutation.before, mutation.after), encoding="utf-8")
    try:
        return _tests_pass(project, mutation.tests)
    finally:
        file.write_text(text, encoding="utf-8")


def _tests_pass(project: Path, tests: tuple[str, ...], *, limit_seconds: float = TEST_SECONDS) -> bool:
    command = [sys.executable, "-m", "pytest", "--exitfirst", "--quiet", "-p", "no:cacheprovider"]
    try:
        ended = subprocess.run(
            [*command, "-m", "not long and not stack and not fuzz", *tests],
            cwd=project,
            env={**os.environ, "PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return ended.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
