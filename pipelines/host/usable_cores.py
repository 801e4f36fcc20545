"""How many cores this process may use: a container's limit is none of the machine's number."""

import os
from pathlib import Path


def usable_cores(control_groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Cores that this process may run on at once, at least 1: by its affinity and the quotas of its control groups.

    A pod with a limit of 4 CPUs sees all 64 cores of its node, and is slowed down by the kernel for 64 threads.
    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html, cpu.max.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *_quotas(control_groups, own)]))


def _quotas(control_groups: Path, own: Path) -> list[int]:
    """Whole cores that each control group allows, from this process's own to the root; none where there is no limit."""
    try:
        [path] = [line[3:] for line in own.read_text(encoding="ascii").splitlines() if line.startswith("0::")]
    except (OSError, ValueError):  # no Linux, or control groups of version 1
        return []
    folder = control_groups / path.strip("/")
    found = []
    for group in (folder, *folder.parents):
        if not group.is_relative_to(control_groups):
            break
        try:
            quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
            found.append(int(quota) // int(period))
        except (OSError, ValueError):  # the root has no such file; a quota of "max" is no limit
            continue
    return found
