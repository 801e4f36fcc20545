"""The script that writes measured seconds into docs/reliability.md, on reports of a real pytest."""

import os
import subprocess
import sys

import pytest

from infra import reliability_page

TESTS = """
import time

import pytest

@pytest.mark.parametrize("seconds", [3.04, 61.4])
def test_measured(record_property, seconds):
    record_property("seconds", seconds)

def test_whole():
    time.sleep(1.1)

def test_quick():
    pass

@pytest.mark.parametrize("fault", ["of S3's", "of all"])
def test_failing(record_property, fault):
    record_property("seconds", 7)
    assert fault == "of S3's"
"""
PAGE = """\
| # | fault | seconds | measured | test |
|---|---|---|---|---|
| 1 | a | 9 | 2026-01-01 | `area/test_it.py::test_measured` |
| 2 | a |  |  | `area/test_it.py::test_measured[3.04]` |
| 3 | b |  |  | `area/test_it.py::test_whole` |
| 4 | c |  |  | `area/test_it.py::test_quick` |
| 5 | d | 5 | 2026-01-01 | `area/test_it.py::test_failing` |
| 6 | d |  |  | `area/test_it.py::test_failing[of S3's]` |
| 7 | e | 8 | 2026-01-01 | `area/test_it.py::test_that_did_not_run` |

A line with `area/test_it.py::test_measured` and | and seconds.

| fault | test |
|---|---|
| f | `area/test_it.py::test_measured` |
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    (root / "tests" / "area").mkdir(parents=True)
    (root / "tests" / "area" / "test_it.py").write_text(TESTS)
    (root / "pytest.ini").write_text("[pytest]\njunit_family = xunit1\njunit_duration_report = call\n")
    command = [sys.executable, "-m", "pytest", "--junitxml=report.xml"]
    without_plugins = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    ended = subprocess.run(
        command, cwd=root, env=without_plugins, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 1, ended.stdout
    return reliability_page.results(root / "report.xml")


def test_each_row_gets_what_its_test_measured_and_keeps_what_it_has_where_one_failed_or_did_not_run(found):
    page = reliability_page.written(PAGE, found)
    rows = [[cell.strip() for cell in line.split("|")] for line in page.splitlines()[2:9]]
    today = max(one.day for one in found.values() if one)
    assert [(row[3], row[4]) for row in rows] == [
        ("3.0 to 61", today),
        ("3.0", today),
        ("below 2", today),
        ("at once", today),
        ("5", "2026-01-01"),
        ("7.0", today),
        ("8", "2026-01-01"),
    ]
    assert page.splitlines()[9:] == PAGE.splitlines()[9:]
    assert reliability_page.written(page, found) == page


def test_the_tests_to_run_are_those_of_the_tables_without_their_cases():
    assert reliability_page.named(PAGE) == [
        f"tests/area/test_it.py::test_{name}" for name in ("failing", "measured", "quick", "that_did_not_run", "whole")
    ]
