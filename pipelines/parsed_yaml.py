"""Content of a project's large YAML files, kept as JSON in `.headrace`, since parsing YAML takes far longer.

Of 1,000 pipelines, params.yaml takes 1.4 processor seconds, in every command and each start of an Airflow task. What is
kept is taken for the very bytes that it was made from, read by the same dialect, and for nothing else.
"""

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from headrace.components.files.atomic import replace_file
from headrace.pipelines import yaml_dialect

LARGE_CHARACTERS = 1 << 16  # parsing fewer takes less than a tenth of a second


def read_project_yaml(file: Path) -> Any:
    """Content of a YAML file of a project, in its root; raises ParamsError as `yaml_dialect.read_yaml_file` does.

    Dates are text, and all that a document of this dialect holds is what JSON can hold.
    """
    return parse_project_yaml(yaml_dialect.read_text(file), file)


def parse_project_yaml(text: str, file: Path) -> Any:
    """The same of a file's text."""
    state = file.parent / ".headrace"
    if len(text) < LARGE_CHARACTERS or not state.is_dir():
        return yaml_dialect.read_yaml(text, name=file.name)
    kept, digest = state / "parsed" / f"{file.name}.json", _digest(text)
    with suppress(OSError, ValueError, LookupError, TypeError):  # absent, cut short, or of something else
        found = json.loads(kept.read_bytes())
        if found["digest"] == digest:
            return found["content"]
    content = yaml_dialect.read_yaml(text, name=file.name)
    with suppress(OSError), replace_file(kept) as temporary:  # on a disk without room or leave it is parsed each time
        temporary.write_text(json.dumps({"digest": digest, "content": content}), encoding="utf-8")
    return content


def _digest(text: str) -> str:
    """SHA-256 of the text and of what reads it."""
    return hashlib.sha256(Path(yaml_dialect.__file__).read_bytes() + text.encode()).hexdigest()
