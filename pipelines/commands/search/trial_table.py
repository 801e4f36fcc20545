"""The trials of a search as they come and end: a table on a terminal, elsewhere a line as each ends."""

import os
import sys
from collections.abc import Mapping, Sequence

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from headrace.pipelines.commands.search.search_plan import Planned
from headrace.pipelines.commands.search.search_space import values_text

STYLES = {"finished": "green", "running": "bold cyan", "failed": "bold red"}


class TrialTable:
    """Shows trials while its `with` block lasts."""

    def __init__(self, plan: Sequence[Planned], *, metric: str) -> None:
        self._plan, self._metric = {one.number: one for one in plan}, metric
        self._states = dict.fromkeys(self._plan, "waiting")
        self._metrics: dict[int, Mapping[str, float]] = {}
        on_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._live = Live(get_renderable=self._table, console=Console(), refresh_per_second=4) if on_terminal else None

    def __enter__(self) -> "TrialTable":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def start(self, number: int) -> None:
        """Show that a trial runs."""
        self._states[number] = "running"

    def add(self, number: int, metrics: Mapping[str, float]) -> None:
        """Show the metrics of one of its epochs."""
        self._metrics[number] = metrics

    def end(self, number: int, state: str, *, metrics: Mapping[str, float] | None, reason: str | None = None) -> None:
        """Show how it ended, with the metrics of its best epoch."""
        self._states[number] = state
        if metrics is not None:
            self._metrics[number] = metrics
        if self._live is None or reason:
            state, epoch, value, values = self._cells(number)
            line = f"trial {number}/{len(self._plan)}  {state}, best epoch {epoch}, {self._metric} {value}  {values}"
            typer.echo(f"{line}  {reason}" if reason else line)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for name in ("trial", "state", "epoch", self._metric, "values"):
            table.add_column(name, justify="right" if name in ("trial", "epoch", self._metric) else "left")
        for number in (number for number, state in self._states.items() if state != "waiting"):
            state, *others = self._cells(number)
            table.add_row(str(number), Text(state, style=STYLES.get(state, "dim")), *others)
        return table

    def _cells(self, number: int) -> list[str]:
        """State, epoch, the metric that is compared, and the trial's values."""
        metrics = self._metrics.get(number)
        shown = [f"{metrics['epoch']:.0f}", f"{metrics[self._metric]:.4f}"] if metrics else ["-", "-"]
        return [self._states[number], *shown, values_text(self._plan[number].values)]
