"""The seconds of docs/reliability.md, measured by the tests that its tables name; `make reliability` writes them.

A test records as `seconds` how long it took from a fault until it was found or answered. Of a test that records nothing
it is the time of the whole test, which is longer. A row whose test did not pass keeps what it has.
"""

import math
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"

_TEST = re.compile(r"`([\w/]+\.py::\w+)(\[[^`]+\])?`")


class Measurement(NamedTuple):
    """What one passed case of a test took, on a day of the form 2026-11-30."""

    seconds: float
    is_whole_test: bool
    day: str


Results = dict[str, Measurement | None]  # by the case's id below tests/; None if it did not pass


def named(page: str) -> list[str]:
    """Ids of the tests that the page's tables name, without their cases, for pytest."""
    return sorted({f"tests/{test}" for test, _ in _TEST.findall(page)})


def results(report: Path) -> Results:
    """The results in a report of `pytest --junitxml`."""
    return {
        f"{case.get('file', '').removeprefix('tests/')}::{case.get('name')}": _result(case, suite.get("timestamp", ""))
        for suite in ElementTree.parse(report).iter("testsuite")  # noqa: S314 - pytest wrote it
        for case in suite.iter("testcase")
    }


def _result(case: ElementTree.Element, timestamp: str) -> Measurement | None:
    if any(case.find(problem) is not None for problem in ("failure", "error", "skipped")):
        return None
    recorded = case.find("properties/property[@name='seconds']")
    seconds = case.get("time") if recorded is None else recorded.get("value")
    return Measurement(float(seconds or 0), recorded is None, timestamp[:10])


def written(page: str, found: Results) -> str:
    """The page with the columns `seconds` and `measured` of each row whose test passed in all cases that ran."""
    return "\n".join(_lines(page.split("\n"), found))


def _lines(lines: Sequence[str], found: Results) -> Iterator[str]:
    header: list[str] = []
    for line in lines:
        cells = [cell.strip() for cell in line.split("|")]
        if "seconds" in cells or not line.startswith("|"):
            header = cells
        if "measured" in header and (test := _TEST.search(line)) and (measured := _measured(test, found)):
            cells[header.index("seconds")] = _spoken(measured)
            cells[header.index("measured")] = max(one.day for one in measured)
            yield " | ".join(cells).strip()
        else:
            yield line


def _measured(test: re.Match[str], found: Results) -> list[Measurement]:
    """What the cases of a row took; empty if none ran, or one did not pass."""
    name, case = test.groups()
    ran = [one for id_, one in found.items() if (id_ == name + case if case else id_.partition("[")[0] == name)]
    passed = [one for one in ran if one is not None]
    return passed if len(passed) == len(ran) else []


def _spoken(measured: Sequence[Measurement]) -> str:
    least, greatest = (choose(one.seconds for one in measured) for choose in (min, max))
    if greatest < 1:
        return "at once"
    if any(one.is_whole_test for one in measured):
        return f"below {math.floor(greatest) + 1}"
    return " to ".join(dict.fromkeys(f"{one:.1f}" if one < 9.95 else f"{one:.0f}" for one in (least, greatest)))


def main(reports: Sequence[str]) -> None:
    """Write the page from reports of `pytest --junitxml`; without any, print the tests to run."""
    page = PAGE.read_text(encoding="utf-8")
    if not reports:
        sys.stdout.write("\n".join(named(page)) + "\n")
        return
    found: Results = {}
    for report in reports:
        found |= results(Path(report))
    PAGE.write_text(written(page, found), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
