"""The pages of this room: one file each, no script, no address to fetch, every text escaped."""

import re
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~!])")


def rendered(template: str, **values: Any) -> str:
    """A template of this room, such as `model_card.html`, with its values."""
    return _environment().get_template(f"{template}.jinja").render(**values)


def _markdown(text: str) -> str:
    """Text as Markdown that shows as it is: names and reasons come from other people's data."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("headrace.pipelines.lineage", "."),
        autoescape=select_autoescape(["html.jinja"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["markdown"] = _markdown
    return environment
