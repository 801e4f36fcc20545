"""Rows that are made from settings alone, and written as JSON lines."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.sources.json_lines import json_blocks
from headrace.components.sources.raw_files import FoundFiles, MadeFile, RawFiles
from headrace.components.sources.raw_part import GivenSplit
from headrace.components.sources.source import Source, SourcePart


class MadeRowsSource(Source):
    """Rows that need no file from elsewhere."""

    @abstractmethod
    def lines(self) -> Sequence[tuple[Callable[[], str], GivenSplit | None]]:
        """For each part, its rows as JSON lines, and their split."""

    def raw_files(self, schema: ExampleSchema) -> Sequence[RawFiles]:
        """A file of JSON lines for each part."""
        return [
            MadeFile(f"rows-{number}.jsonl", partial(_write, lines)) for number, (lines, _) in enumerate(self.lines())
        ]

    def open_parts(self, found: Sequence[FoundFiles], schema: ExampleSchema) -> list[SourcePart]:
        """A part for each file."""
        parts = []
        for files, (_, given_split) in zip(found, self.lines(), strict=True):
            [file] = files.paths
            read = partial(json_blocks, file, columns=schema.source_columns, given_split=given_split)
            parts.append(SourcePart((file,), f"lines {given_split}", read))
        return parts


def _write(lines: Callable[[], str], file: Path) -> None:
    file.write_text(lines(), encoding="utf-8")
