"""`headrace init`: a project in an empty folder, or beside what a repository has already."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.components.errors import ParamsError, ServiceError
from headrace.components.files.atomic import replace_file
from headrace.pipelines.commands.arguments import writable_folder
from headrace.pipelines.headrace_lock import write_lock
from headrace.pipelines.host.private import make_private
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.project import dvc
from headrace.pipelines.project.command_lines import dvc as run_dvc
from headrace.pipelines.project.command_lines import git
from headrace.pipelines.yaml_dialect import read_yaml

_TEMPLATES = files("headrace.pipelines.commands") / "project_files"
_PARAMS_HEAD = """\
# All settings. One section for each pipeline that `pipelines` names, in it one section for each stage.
# `headrace new NAME --csv FILE --target COLUMN` adds a pipeline for data of your own.
"""


class Example(StrEnum):
    """The pipeline that a new project starts with."""

    DIGITS = "digits"
    TITANIC = "titanic"
    NONE = "none"


@dataclass(frozen=True)
class _File:
    """A file of a project: its content where it is missing, and what a file that is there must have."""

    path: str
    content: str
    lacks: Callable[[str], str]
    """What is to be added by hand to a text that is there; empty if nothing."""


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="Without it, this one.", callback=writable_folder)
    ] = Path(),
    example: Annotated[Example, typer.Option(help="The pipeline that the project starts with.")] = Example.DIGITS,
) -> None:
    """Make a project in a folder, or in a repository that exists: no file that is there is changed."""
    raise typer.Exit(make_project(folder, example))


def make_project(folder: Path, example: Example) -> int:
    """Write what `folder` lacks of a project, and print it; 0 if it is one now, 2 if something must be added by hand.

    No file that exists is changed. What can't be written where it belongs is written below .headrace/init. Raises
    ParamsError for a folder within another git repository, or with folders where files belong.
    """
    folder.mkdir(parents=True, exist_ok=True)
    root = folder.resolve()
    _require_top(root)
    wanted = _files(root, example)
    _require_places(root / file.path for file in wanted)
    project = ProjectPaths(root)
    make_private(project.state)
    written = [*_repositories(root)]
    by_hand = []
    for file in wanted:
        place = root / file.path
        if not place.exists():
            _write(place, file.content)
            written.append(file.path)
        elif missing := file.lacks(place.read_text(encoding="utf-8", errors="replace")):
            proposal = project.state / "init" / file.path
            _write(proposal, file.content)
            by_hand.append(f"{file.path} is there already and was not changed. {missing}: {proposal.relative_to(root)}")
    if not project.lock.exists():
        write_lock(root)
        written.append(project.lock.name)
    by_hand += _missing_remote(root)
    return _report(root, written, by_hand, example)


def _require_top(root: Path) -> None:
    try:
        top = Path(git(root, "rev-parse", "--show-toplevel").rstrip("\n"))
    except ServiceError:
        return  # in no repository
    if top.resolve() != root:
        raise ParamsError(
            f"{root} lies in the git repository {top}; a project is the top of its repository: run `headrace init` "
            f"there, or choose a folder outside of it"
        )


def _require_places(places: Iterable[Path]) -> None:
    for place in places:
        if place.is_dir():
            raise ParamsError(f"{place}: expected a file, found a folder; rename it, or choose another folder")
        if place.parent.exists() and not place.parent.is_dir():
            raise ParamsError(f"{place.parent}: expected a folder, found a file; rename it, or choose another folder")


def _repositories(root: Path) -> list[str]:
    """Make the repositories of git and DVC where they are missing; return what was made."""
    made = []
    if not (root / ".git").exists():
        git(root, "init", "--quiet")
        made.append(".git")
    if not (root / ".dvc").exists():
        run_dvc(root, "init", "--quiet")
        _write(root / ".dvc" / "config", _template("dvc_config"))
        made.append(".dvc")
    return made


def _files(root: Path, example: Example) -> list[_File]:
    names = [] if example is Example.NONE else [example.value]
    sections = "".join(f"\n{_template(f'{name}.yaml')}" for name in names)
    readme = _template("README.md").replace("{name}", root.name)
    return [
        _File(
            "params.yaml",
            f"{_PARAMS_HEAD}pipelines: [{', '.join(names)}]\n{sections}",
            lambda text: "" if "pipelines" in _keys(text) else "Add the list `pipelines` and its sections from",
        ),
        _File("dvc.yaml", _template("dvc_stages"), _lacks_stages),
        _File(
            "dags/headrace_pipelines.py",
            _template("headrace_pipelines.py"),
            lambda text: "" if "project_dags(" in text else "Call project_dags as in",
        ),
        _File(".gitignore", _template("gitignore"), _lacks_lines),
        _File("README.md", readme.replace("{pipeline}", names[0] if names else "NAME"), lambda _text: ""),
    ]


def _template(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _keys(text: str) -> set[str]:
    content = read_yaml(text, name="params.yaml")
    return set(content) if isinstance(content, dict) else set()


def _lacks_stages(text: str) -> str:
    content, ours = read_yaml(text, name="dvc.yaml"), read_yaml(_template("dvc_stages"), name="dvc.yaml")["stages"]
    stages = content.get("stages") if isinstance(content, dict) else None
    found = stages if isinstance(stages, dict) else {}
    missing = [name for name in ours if name not in found]
    other = [name for name in ours if name in found and ours[name]["cmd"].partition(" $")[0] not in str(found[name])]
    renamed = f"Rename your own {', '.join(other)}, and add" if other else "Add"
    if missing or other:
        return f"{renamed} {', '.join([*other, *missing])} under its `stages`, from"
    older = [name for name in ours if _files_named(ours[name]) - _files_named(found[name])]
    return f"Give {', '.join(older)} the `params`, `deps` and `outs` of the same stage in" if older else ""


def _files_named(stage: Any) -> set[str]:
    """The files that a stage has parameters in, depends on and writes.

    Without one, it misses a change, or leaves what it writes to nobody.
    """
    if not isinstance(stage, dict):
        return set()
    lists = {key: stage.get(key) for key in ("params", "deps", "outs")}
    entries = [(key, entry) for key, given in lists.items() if isinstance(given, list) for entry in given]
    of_params_yaml = ("params", str)
    return {
        str(file)
        for key, entry in entries
        if (key, type(entry)) != of_params_yaml
        for file in (entry if isinstance(entry, dict) else (entry,))
    }


def _lacks_lines(text: str) -> str:
    has = {line.strip() for line in text.splitlines()}
    wanted = [line for line in _template("gitignore").splitlines() if line and not line.startswith("#")]
    missing = [line for line in wanted if line not in has and not has.intersection(_folders_above(line))]
    return f"Add {', '.join(missing)}, from" if missing else ""


def _folders_above(pattern: str) -> list[str]:
    """Patterns for whole folders that cover this one: `/models/` and `/models/*/` cover `/models/*/run.json`."""
    parts = pattern.strip("/").split("/")
    return [f"/{'/'.join(parts[:length])}/" for length in range(1, len(parts))]


def _missing_remote(root: Path) -> list[str]:
    if "core.remote" in dvc.config(root):
        return []
    return ["DVC has no default remote, to which Airflow's runs push: `dvc remote add --default NAME URL`"]


def _write(place: Path, content: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(place) as temporary:
        temporary.write_text(content, encoding="utf-8")


def _report(root: Path, written: list[str], by_hand: list[str], example: Example) -> int:
    typer.echo(f"written in {root}: {', '.join(written)}" if written else f"{root}: nothing was missing")
    for one in by_hand:
        typer.echo(f"to do by hand: {one}", err=True)
    if by_hand:
        return 2
    start = f"cd {root}\n  " if root != Path.cwd() else ""
    command = "new NAME --csv FILE --target COLUMN" if example is Example.NONE else f"run {example.value}"
    typer.echo(f"next:\n  {start}headrace {command}")
    return 0
