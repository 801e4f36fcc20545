"""Projects that are copies of the repository, and one run that is watched from outside while it runs."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

SECONDS = 500
LOOK_SECONDS = 0.5


def reachable(folder: Path) -> Iterator[Path]:
    """What other users can get at: all below the folder that is in no folder closed to them."""
    try:
        below = [(path, path.lstat().st_mode) for path in folder.iterdir()]
    except FileNotFoundError:  # removed meanwhile
        return
    for path, mode in below:
        if not stat.S_ISLNK(mode):
            yield path
        if stat.S_ISDIR(mode) and mode & stat.S_IXOTH:
            yield from reachable(path)


@dataclass
class Watched:
    """A run of `headrace` as a user starts it, and what could be seen of it from outside."""

    root: Path
    home: Path
    temporary: Path
    output: str = ""
    processes: set[psutil.Process] = field(default_factory=set)
    listening: set[tuple[str, str]] = field(default_factory=set)
    """Name of the process and address of each socket that takes connections, or packets from anybody."""
    open_meanwhile: set[Path] = field(default_factory=set)
    """What others could have written among the temporary files."""

    def run(self, *arguments: str) -> psutil.Popen:
        """Start the command; `follow` watches it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "DVC_", "XDG_"))}
        with (self.home / "output").open("w") as output:
            return psutil.Popen(
                [Path(sys.executable).with_name("headrace"), *arguments],
                cwd=self.root,
                env={**kept, "HOME": str(self.home), "TMPDIR": str(self.temporary)},
                stdout=output,
                stderr=subprocess.STDOUT,
                umask=0o022,
            )

    def follow(self, process: psutil.Popen, *, until: Callable[[], object] = lambda: False) -> None:
        """Watch until the command ends or `until` holds."""
        deadline_seconds = time.monotonic() + SECONDS
        while process.poll() is None and not until():
            assert time.monotonic() < deadline_seconds
            self._look(process)
            time.sleep(LOOK_SECONDS)
        self.output = (self.home / "output").read_text()

    def _look(self, process: psutil.Popen) -> None:
        for one in process.children(recursive=True):
            self.processes.add(one)
            try:
                self.listening |= {(one.name(), end.laddr.ip) for end in one.net_connections("inet") if takes(end)}
            except psutil.NoSuchProcess:
                continue
        for path in reachable(self.temporary):
            if path.exists() and path.stat().st_mode & stat.S_IWOTH:
                self.open_meanwhile.add(path)

    @property
    def alive(self) -> list[str]:
        """What of it still runs."""
        return [one.name() for one in self.processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]

    @property
    def written(self) -> list[Path]:
        """What others can get at of all that lies in the project, the home folder and among the temporary files."""
        return [path for folder in (self.root, self.home, self.temporary) for path in reachable(folder)]


def takes(end) -> bool:
    return end.status == psutil.CONN_LISTEN or (end.type.name == "SOCK_DGRAM" and not end.raddr)


@pytest.fixture
def project(tmp_path: Path, copy_repository: Callable[[Path], Path]) -> Path:
    """The repository's own files as a new project, in a folder whose path has a space."""
    return copy_repository(tmp_path / "a project")


@pytest.fixture(scope="session")
def watched(
    copy_repository: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Watched]]:
    """Makes a project, with a home folder, and a folder of temporary files short enough for Ray's sockets."""
    made = []

    def make() -> Watched:
        home = tmp_path_factory.mktemp("home")
        made.append(Path(tempfile.mkdtemp(prefix="t", dir="/tmp")))
        made[-1].chmod(0o755)
        return Watched(copy_repository(tmp_path_factory.mktemp("watched") / "a project"), home, made[-1])

    yield make
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def digits(watched: Callable[[], Watched]) -> Watched:
    """The pipeline digits, run to its champion."""
    run = watched()
    process = run.run("run", "digits")
    run.follow(process)
    assert process.returncode == 0, run.output
    return run
