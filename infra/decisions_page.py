"""docs/decisions.md: every decision with its status, and what it supersedes; `make pages` writes it."""

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "decisions"
PAGE = FOLDER.with_suffix(".md")

_HEAD = """\
# Decisions

Made from the pages of docs/decisions by `make pages`. A choice that is hard to undo has a page: context, decision,
consequences. A page is not rewritten when a later one replaces it; its status says so.

| | decision | status | supersedes |
|---|---|---|---|
"""
_LINK = re.compile(r"\[(\d+)\]\(([^)]+)\)")


@dataclass(frozen=True)
class Decision:
    """A page of docs/decisions: its number, title, file name and status as it is written there."""

    number: int
    title: str
    file: str
    status: str

    @property
    def superseded_by(self) -> list[int]:
        """Numbers of the decisions that replace this one, or a part of it."""
        _, found, after = self.status.partition("superseded")
        return [int(number) for number, _ in _LINK.findall(after)] if found else []


def decisions(folder: Path = FOLDER) -> list[Decision]:
    """Every decision, in the order of their numbers."""
    return [_read(file) for file in sorted(folder.glob("*.md"))]


def page(folder: Path = FOLDER) -> str:
    """The page as Markdown: a row for each decision."""
    every = decisions(folder)
    return _HEAD + "".join(_row(one, [older for older in every if one.number in older.superseded_by]) for one in every)


def _read(file: Path) -> Decision:
    text = file.read_text(encoding="utf-8")
    heading, status = re.match(r"# \d+\. (.+)", text), re.search(r"^Status: (.+)$", text, re.MULTILINE)
    if heading is None or status is None:
        raise ValueError(f"{file.name}: expected a heading '# N. Title' and a line 'Status: ...'")
    return Decision(int(file.name[:4]), heading[1], file.name, status[1])


def _row(decision: Decision, older: list[Decision]) -> str:
    status = _LINK.sub(r"[\1](decisions/\2)", decision.status)
    replaced = ", ".join(f"{_extent(one)}[{one.number}](decisions/{one.file})" for one in older)
    return f"| {decision.number} | [{decision.title}](decisions/{decision.file}) | {status} | {replaced} |\n"


def _extent(superseded: Decision) -> str:
    return "part of " if "in part" in superseded.status else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
