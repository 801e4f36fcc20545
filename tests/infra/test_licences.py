"""docs/licences.md is of the packages that are locked."""

import re
import sys

import pytest

from infra.audit import LOCK, pinned
from infra.licences import PAGE, page, runtime

ROW = re.compile(r"^\| ([\w.-]+) \| (\d\S*) \| (.+) \|$", re.MULTILINE)


def test_every_row_is_of_the_lock_and_has_a_licence():
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    assert len(rows) > 200
    assert {(name, version) for name, version, _ in rows} <= set(pinned(LOCK.read_text(encoding="utf-8")))
    assert [name for name, _, licence in rows if licence == "unknown"] == []


def test_no_licence_forbids_use_or_binds_services():
    assert not re.search(r"AGPL|Affero|SSPL|Server Side|Commons Clause|Business Source|NonCommercial", str(runtime()))


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the page is of Python 3.11, for which the lock is made")
def test_the_page_is_what_the_installed_packages_declare():
    assert PAGE.read_text(encoding="utf-8") == page(runtime()), "write it again: make licences"
