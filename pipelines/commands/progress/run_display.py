"""Two ways to follow `headrace run`: a table that changes in place, and plain lines."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from headrace.pipelines.commands.progress.repro_progress import Progress, StageProgress
from headrace.pipelines.host.logs import is_json

log = structlog.get_logger()

EPOCH = re.compile(r"\bepoch \d")
STYLES = {"running": "bold cyan", "done": "green", "restored": "green", "failed": "bold red"}


@contextmanager
def plain(progress: Progress) -> Iterator[Callable[[str], None]]:
    """Yield what to call with each line: it prints it after its stage's name. For files, pipes and CI."""
    width = max(map(len, progress.stages))

    def say(stage: StageProgress | None, text: str) -> None:
        name = stage.name if stage else "dvc"
        if not is_json():
            typer.echo(f"{name:{width}} | {text}")
        elif text.startswith("{"):  # the stage's own line
            typer.echo(text, err=True)
        else:
            log.info(text, stage=name)

    def show(raw: str) -> None:
        before, line, now = progress.current, progress.read(raw), progress.current
        if now is not before:
            if before and before.state == "done":
                say(before, f"done in {before.seconds:.1f} s")
            say(now, now.state if now else "")
        if line is not None:
            say(now, line)

    yield show
    if progress.current and progress.current.state in ("done", "failed"):
        say(progress.current, f"{progress.current.state} after {progress.current.seconds:.1f} s")


@contextmanager
def live(progress: Progress) -> Iterator[Callable[[str], None]]:
    """Yield what to call with each line: it is shown in its stage's row; lines about epochs stay above the table."""
    with Live(get_renderable=lambda: _table(progress), console=Console(), refresh_per_second=4) as view:

        def show(raw: str) -> None:
            line = progress.read(raw)
            if line is not None and EPOCH.search(line):
                view.console.print(Text(line, style="dim"), overflow="ellipsis", no_wrap=True)

        yield show


def _table(progress: Progress) -> Table:
    table = Table(box=None, expand=True)
    table.add_column("stage", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("last line", ratio=1, no_wrap=True, overflow="ellipsis")
    for stage in progress.stages.values():
        state = Text(stage.state, style=STYLES.get(stage.state, "dim"))
        last_line = Text(stage.lines[-1] if stage.lines else "", style="dim")
        table.add_row(stage.name, state, f"{stage.seconds:.1f}" if stage.seconds else "", last_line)
    return table
