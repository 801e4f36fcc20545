"""The machine that computes: its processor, its GPUs, its memory."""

import os
import platform
import socket
from pathlib import Path

import psutil

from headrace.components.schema.settings import Settings


class Machine(Settings):
    """A machine. `threads` are those that a process may use by the environment; None where nothing limits them."""

    host: str
    system: str
    processor: str
    cores: int
    memory_bytes: int
    gpus: tuple[str, ...]
    threads: int | None


def this_machine() -> Machine:
    """The machine of this process; no GPU is touched."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return Machine(
        host=socket.gethostname(),
        system=f"{platform.system()} {platform.release()}",
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        gpus=_gpus(Path("/proc/driver/nvidia/gpus")),
        threads=int(limit) if limit.isdecimal() else None,
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _gpus(folder: Path) -> tuple[str, ...]:
    """Models of NVIDIA's GPUs, by what its driver says in files."""
    try:
        texts = [file.read_text(encoding="utf-8", errors="replace") for file in sorted(folder.glob("*/information"))]
    except OSError:
        return ()
    found = (line.partition(":")[2].strip() for text in texts for line in text.splitlines() if line.startswith("Model"))
    return tuple(found)
