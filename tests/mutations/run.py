"""Make each change of mutations.toml in a copy of the project, and print those that the tests named do not see.

`make mutate`; some of them: `make mutate MUTATIONS=gate`, by a part of the file's name.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Literal

ROOT = Path(__file__).resolve().parents[2]
COPIES = 2  # at a time
TEST_SECONDS = 300

Outcome = Literal["passed", "failed", "hung", "not run"]
"""How tests ended. A mutation is seen if they failed, not if they hung or could not be collected."""


@dataclass(frozen=True)
class Mutation:
    """A change of one file, and the tests that must notice it."""

    file: str
    before: str
    after: str
    tests: tuple[str, ...]

    def applied(self, text: str) -> str:
        """The file's text with the change. Raises SystemExit unless the place is there once."""
        if text.count(self.before) != 1:
            raise SystemExit(f"{self}: expected the text once, found it {text.count(self.before)} times")
        return text.replace(self.before, self.after)

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
    """Print a line for each mutation; 0 if every one was seen, 1 if one was not, 2 if the tests fail as it is."""
    chosen = [one for one in mutations() if wanted in one.file]
    if not chosen:
        print(f"no mutation is of a file with {wanted!r} in its name", file=sys.stderr)
        return 2
    started_seconds = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(COPIES) as threads:
        copies: Queue[Path] = Queue()
        for number in range(COPIES):
            copies.put(_copy(Path(folder) / str(number)))

        def outcome(tests: tuple[str, ...], mutation: Mutation | None) -> Outcome:
            project, since_seconds = copies.get(), time.monotonic()
            try:
                with _changed(project, mutation) if mutation else nullcontext():
                    ended = _run(project, tests)
            finally:
                copies.put(project)
            word = {"failed": "seen", "passed": "SURVIVED"}.get(ended, ended.upper()) if mutation else ended
            seconds = f"{time.monotonic() - since_seconds:4.0f} s"
            print(f"{word:8} {seconds}", mutation or " ".join(tests), sep="  ", flush=True)
            return ended

        groups = list(dict.fromkeys(one.tests for one in chosen))
        if set(threads.map(lambda tests: outcome(tests, None), groups)) != {"passed"}:
            print("these tests fail without any change", file=sys.stderr)
            return 2
        unseen = sum(ended != "failed" for ended in threads.map(lambda one: outcome(one.tests, one), chosen))
    print(f"{len(chosen)} mutations, {unseen} survived, {time.monotonic() - started_seconds:.0f} s")
    return int(unseen > 0)


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
    for command in (["init"], ["add", "--all"], ["commit", "--no-verify", "--message", "copy"]):  # tests clone it
        git = ["git", "-c", "user.name=Mutations", "-c", "user.email=mutations@localhost"]
        subprocess.run([*git, *command], cwd=project, capture_output=True, check=True)
    return project


@contextmanager
def _changed(project: Path, mutation: Mutation) -> Iterator[None]:
    file = project / mutation.file
    text = file.read_text(encoding="utf-8")
    file.write_text(mutation.applied(text), encoding="utf-8")
    try:
        yield
    finally:
        file.write_text(text, encoding="utf-8")


def _run(project: Path, tests: tuple[str, ...]) -> Outcome:
    command = [sys.executable, "-m", "pytest", "--exitfirst", "--quiet", "--tb=no", "-p", "no:cacheprovider"]
    try:
        ended = subprocess.run(
            [*command, "-m", "not long and not stack and not cluster and not fuzz", *tests],
            cwd=project,
            env={**os.environ, "PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TEST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "hung"
    return "passed" if ended.returncode == 0 else "failed" if ended.returncode == 1 else "not run"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
