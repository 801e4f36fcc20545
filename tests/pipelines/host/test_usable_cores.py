"""Cores within the quotas of control groups, written as the kernel writes them."""

import os
from pathlib import Path

import pytest

from headrace.pipelines.host.usable_cores import usable_cores

HERE = len(os.sched_getaffinity(0))


def cores(folder: Path, quotas: dict[str, str], own: str = "0::/pod/container\n") -> int:
    (folder / "own").write_text(own)
    for group, text in quotas.items():
        place = folder / "groups" / group
        place.mkdir(parents=True, exist_ok=True)
        (place / "cpu.max").write_text(text)
    return usable_cores(folder / "groups", folder / "own")


@pytest.mark.parametrize(
    ("quotas", "expected"),
    [
        ({}, HERE),
        ({"pod/container": "max 100000\n"}, HERE),
        ({"pod/container": "100000 100000\n"}, 1),
        ({"pod/container": "50000 100000\n"}, 1),  # half a core: one thread
        ({"pod/container": "max 100000\n", "pod": "100000 100000\n"}, 1),  # the limit of a group above
        ({"other": "100000 100000\n"}, HERE),
        ({"pod/container": "no numbers\n"}, HERE),
    ],
)
def test_the_smallest_quota_counts(tmp_path, quotas, expected):
    assert cores(tmp_path, quotas) == expected


def test_within_a_container_its_group_is_the_root(tmp_path):
    assert cores(tmp_path, {".": "100000 100000\n"}, own="0::/\n") == 1


def test_control_groups_of_version_one_limit_nothing(tmp_path):
    assert cores(tmp_path, {"pod/container": "100000 100000\n"}, own="4:cpu:/pod\n") == HERE
    assert usable_cores(tmp_path, tmp_path / "none") == HERE
