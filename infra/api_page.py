"""docs/api.md: the public names of `headrace`, from their signatures and docstrings; `make pages` writes it."""

import inspect
import re
from pathlib import Path
from typing import Any

import headrace

PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"
WIDTH = 100  # of a signature: a longer one has a line for each argument

_GROUPS = {
    "A project": ("project_root", "load_pipeline", "Pipeline", "PipelinePaths"),
    "The stages": ("ingest", "normalize", "split", "train", "evaluate", "register"),
    "Training from a program": ("fit", "FitResult", "train_function", "TensorflowBackendConfig"),
    "Models": ("load_model", "model_file"),
    "Losses": ("gather_batch",),
    "Airflow, with `headrace[airflow]`": ("project_dags", "RayJobOperator"),
    "Errors": ("UserError", "ParamsError", "DataError", "TrainingError", "ServiceError"),
}
_HEAD = """\
# API

Made from `headrace/__init__.py` by `make pages`; nothing here is written by hand. These names are public and follow
semantic versioning: what breaks code that uses them comes with a new major version (before 1.0, a new minor one), and
is announced one release before. The commands, `params.yaml`, `dvc.yaml` and the files in data/, models/ and reports/
are public in the same way. All other modules are private.

```python
import headrace

root = headrace.project_root()
pipeline = headrace.load_pipeline(root / "params.yaml", "digits")
headrace.evaluate(pipeline, headrace.PipelinePaths(root, "digits"))
model = headrace.load_model(headrace.model_file(root, "digits", "champion"))
```
"""


def page() -> str:
    """The page as Markdown: a heading, the signature and the docstring of each name, by groups."""
    parts = [_HEAD]
    for group, names in _GROUPS.items():
        parts.append(f"## {group}\n")
        parts += [_entry(name, getattr(headrace, name)) for name in names]
    return "\n".join(parts)


def _entry(name: str, value: Any) -> str:
    lines = [f"### `{name}`\n"]
    if not (inspect.isclass(value) and issubclass(value, Exception)):
        lines.append(f"```python\n{name}{_signature(value)}\n```\n")
    lines.append(f"{inspect.getdoc(value)}\n")
    if inspect.isclass(value):
        lines += [*map(_member, _members(value)), ""]
    return "\n".join(lines)


def _signature(value: Any) -> str:
    if value is headrace.Pipeline:
        return "(...)"  # a section of params.yaml, see docs/params.md
    signature = inspect.signature(value)
    if inspect.isclass(value):
        signature = signature.replace(return_annotation=inspect.Signature.empty)
    # The quotes of annotations go, those of defaults stay.
    text = re.sub(r"(= )?'([^']*)'", lambda found: found[0] if found[1] else found[2], str(signature))
    text = re.sub(r"<function (\w+) at 0x[0-9a-f]+>", r"\1", text)
    text = re.sub(r"\b(?:[a-z_]+\.)+([A-Z]\w+)", r"\1", text)
    return text if len(text) <= WIDTH else _one_argument_a_line(text)


def _one_argument_a_line(signature: str) -> str:
    arguments, end, returned = signature.removeprefix("(").rpartition(")")
    lines = re.sub(r", (?=\w+: |\*)", ",\n    ", arguments)
    return f"(\n    {lines},\n{end}{returned}"


def _members(value: type) -> list[tuple[str, str]]:
    """Properties of the class with their docstrings."""
    found = inspect.getmembers_static(value, lambda one: isinstance(one, property))
    own = {name for kind in value.__mro__ if kind.__module__.startswith("headrace.") for name in vars(kind)}
    return [(name, inspect.getdoc(one) or "") for name, one in found if name in own]


def _member(member: tuple[str, str]) -> str:
    return f"- `{member[0]}`: {' '.join(member[1].split())}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
