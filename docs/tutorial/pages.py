"""The tutorial's pages are scripts: their Python blocks run in order, and the text block after one is what it prints.

python docs/tutorial/pages.py        runs every page, and writes what it printed and drew into it

The Korean pages have the same code as the English ones, with what it prints.
"""

import contextlib
import io
import linecache
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

FOLDER = Path(__file__).parent
IMAGES = FOLDER / "images"
# A Python block, and the text block that follows it, if one does.
_BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<printed>.*?)```\n)?", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A Python block of a page, and what the page says that it prints."""

    code: str
    printed: str


def pages(language: str) -> list[Path]:
    """Return the pages of a language, in the order in which a learner reads them."""
    index = (FOLDER / language / "README.md").read_text(encoding="utf-8")
    return [FOLDER / language / name for name in re.findall(r"^\d+\. .*?\]\((\w+\.md)\)", index, flags=re.MULTILINE)]


def blocks(page: Path) -> list[Block]:
    """Return the Python blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [Block(found["code"], found["printed"] or "") for found in _BLOCK.finditer(text)]


def run(page: Path, folder: Path) -> Iterator[str]:
    """Yield what each block of a page prints; what it draws is left in `folder`."""
    names: dict[str, object] = {"__name__": page.stem}
    for number, block in enumerate(blocks(page), start=1):
        printed, name = io.StringIO(), f"<{page.name} {number}>"
        linecache.cache[name] = (len(block.code), None, block.code.splitlines(keepends=True), name)  # for AutoGraph
        with contextlib.redirect_stdout(printed), contextlib.chdir(folder), _without_log():
            exec(compile(block.code, name, "exec"), names)  # noqa: S102 - our own pages
        yield printed.getvalue()


@contextlib.contextmanager
def _without_log() -> Iterator[None]:
    """What stages log has times in it, which are others in each run."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        yield
    finally:
        structlog.configure(**before)


def write(page: Path, printed: list[str]) -> None:
    """Put what its blocks print into a page."""
    outputs = iter(printed)

    def renewed(found: re.Match[str]) -> str:
        output = next(outputs)
        return f"```python\n{found['code']}```\n" + (f"\n```text\n{output}```\n" if output else "")

    page.write_text(_BLOCK.sub(renewed, page.read_text(encoding="utf-8")), encoding="utf-8")


def main() -> None:
    """Run all English pages; write what they print into the pages of both languages."""
    for page in pages("en"):
        with tempfile.TemporaryDirectory() as folder:
            printed = list(run(page, Path(folder)))
            for picture in Path(folder).glob("*.png"):
                shutil.copy(picture, IMAGES)
        for language in ("en", "ko"):
            write(FOLDER / language / page.name, printed)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("MPLCONFIGDIR", tempfile.gettempdir())
    main()
