"""What `headrace run` starts its stages through: a process that imports TensorFlow while the data is made."""

import os
import resource
import shlex
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.components.errors import ParamsError
from headrace.pipelines.host import fork_client
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.project.dvc import Launcher
from headrace.pipelines.yaml_dialect import read_yaml_file

VARIABLE = "HEADRACE_PRELOAD"
STAGES = ("train", "evaluate", "register")
PROGRAM = "headrace.pipelines.preloaded"

_NVIDIA = Path("/proc/driver/nvidia")
_COMMAND = """#!/bin/sh
# `headrace` for the stages of one run: they continue in a process that has imported what they need.
case "$1" in
{stages}) exec {python} -ISs {client} {folder} {headrace} "$@" ;;
esac
exec {headrace} "$@"
"""


@contextmanager
def preloading(project: ProjectPaths) -> Iterator[Launcher | None]:
    """Yield how to start DVC so that stages find their imports done; as usual where that has no use, or may not work.

    The folder of the server is closed to others, and goes with the block or with DVC.
    """
    if not (_is_possible() and _evaluates(project)):
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="headrace-run-"))
    try:
        headrace = Path(sys.executable).with_name("headrace")
        words = {"python": sys.executable, "client": fork_client.__file__, "folder": folder, "headrace": headrace}
        command = folder / headrace.name
        quoted = {name: shlex.quote(str(word)) for name, word in words.items()}
        command.write_text(_COMMAND.format(stages="|".join(STAGES), **quoted), encoding="utf-8")
        command.chmod(stat.S_IRWXU)
        yield Launcher((sys.executable, "-P", "-m", PROGRAM, str(folder)), str(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_possible() -> bool:
    """Whether everything is on this machine, which is a Linux without a GPU, and knows no limit of addresses."""
    setting = os.environ.get(VARIABLE, "1")
    if setting not in ("0", "1"):
        raise ParamsError(f"{VARIABLE}={setting}: expected 0 or 1")
    return (
        setting == "1"
        and sys.platform == "linux"
        and not os.environ.get("RAY_ADDRESS")
        and not _NVIDIA.exists()  # what a driver keeps for a process is not a child's
        and resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
        and Path(sys.executable).with_name("headrace").is_file()
    )


def _evaluates(project: ProjectPaths) -> bool:
    """Whether a stage is the usual one that TensorFlow is imported for."""
    stages = read_yaml_file(project.dvc)["stages"]
    return any(str(stage.get("cmd", "")).startswith("headrace evaluate ") for stage in stages.values())
