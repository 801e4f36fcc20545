"""Writes the tables of docs/params.md from the settings classes: `make pages`.

A heading that ends with the name of a class, as in (`Split`), has the table of its keys below it. All else on the page
is written by hand and stays.
"""

import json
import re
from pathlib import Path

from headrace.components.models.classifier_settings import Classifier
from headrace.pipelines.params import Pipeline
from headrace.pipelines.reference import Schema, definitions, values

PAGE = Path("docs/params.md")
DEFINITIONS = definitions(Pipeline, Classifier)
HEADING = re.compile(r"^#+ .*\(`(\w+)`\)\n", re.MULTILINE)

_TABLE = re.compile(r"^(?:\|.*\n)+", re.MULTILINE)
_HEAD = "| key | values | default | meaning |\n|---|---|---|---|\n"


def with_tables(page: str) -> str:
    """Put the table of each settings class below its heading, in place of the one that is there."""
    start, *parts = re.split(f"({HEADING.pattern})", page, flags=re.MULTILINE)
    sections = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    return start + "".join(heading + _with_table(text, table(name)) for heading, name, text in sections)


def _with_table(text: str, written: str) -> str:
    if _TABLE.search(text):
        return _TABLE.sub(lambda _: written, text, count=1)
    return f"\n{written}{text}"


def table(settings: str) -> str:
    """The Markdown table of a settings class: each key, its values, its default and its meaning."""
    schema = DEFINITIONS[settings]
    keys = {key: one for key, one in schema["properties"].items() if (settings, key) != ("Pipeline", "name")}
    rows = [(f"`{key}`", values(one), _default(key, schema), _meaning(key, one)) for key, one in keys.items()]
    return _HEAD + "".join(f"| {' | '.join(map(_escaped, row))} |\n" for row in rows)


def _escaped(cell: str) -> str:
    return cell.replace("|", r"\|")


def _default(key: str, schema: Schema) -> str:
    one = schema["properties"][key]
    if key in schema.get("required", ()) or "const" in one:  # a constant distinguishes the kinds of a section
        return "required"
    return "its own defaults" if "$ref" in one else f"`{json.dumps(one['default'])}`"


def _meaning(key: str, schema: Schema) -> str:
    """The docstring of the field, on one line; a constant needs none."""
    written = str(schema.get("description", f"Selects this {key}." if "const" in schema else ""))
    return " ".join(written.split())


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
