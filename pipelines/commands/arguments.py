"""Arguments and options that several commands take."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from headrace.components.errors import ParamsError
from headrace.components.mapping import Map, map_in_threads
from headrace.pipelines.host.logs import log_as
from headrace.pipelines.params import Pipeline, load_pipeline
from headrace.pipelines.paths import PipelinePaths, ProjectPaths, project_root


def existing_file(option: typer.CallbackParam, path: Path | None) -> Path | None:
    """The path of an argument or option that names a file to read; raises ParamsError where there is none."""
    if path is not None and path.is_dir():
        raise ParamsError(f"{_shown(option)} {path}: expected a file, found a folder; give the path of a file in it")
    return existing_path(option, path)


def existing_path(option: typer.CallbackParam, path: Path | None) -> Path | None:
    """The path of one that names a file or a folder to read; raises ParamsError where there is nothing."""
    if path is not None and not path.exists():
        raise ParamsError(f"{_shown(option)} {path}: there is nothing; give a path that exists")
    return path


def writable_file(option: typer.CallbackParam, path: Path | None) -> Path | None:
    """The path of one that names a file to write; raises ParamsError where a folder is, or none can be."""
    if path is not None and path.is_dir():
        raise ParamsError(f"{_shown(option)} {path}: expected a file, found a folder; give the path of a file in it")
    return _below_folders(option, path)


def writable_folder(option: typer.CallbackParam, path: Path | None) -> Path | None:
    """The path of one that names a folder to write; raises ParamsError where a file is, or none can be."""
    if path is not None and path.exists() and not path.is_dir():
        raise ParamsError(f"{_shown(option)} {path}: expected a folder, found a file; give another path")
    return _below_folders(option, path)


def writable_path(option: typer.CallbackParam, path: Path | None) -> Path | None:
    """The path of one that names a file or a folder to write; raises ParamsError where none can be."""
    return _below_folders(option, path)


def existing_place(option: typer.CallbackParam, place: str) -> str:
    """A path that exists, or the address of a bucket; raises ParamsError for a path where there is nothing."""
    if not is_bucket(place):
        existing_path(option, Path(place))
    return place


def writable_place(option: typer.CallbackParam, place: str | None) -> str | None:
    """The path of a file or folder to write, or the address of a bucket; raises ParamsError where none can be."""
    if place is not None and not is_bucket(place):
        writable_path(option, Path(place))
    return place


def local_path(option: str, place: str, *, is_file: bool = False) -> Path:
    """A place on this machine; raises ParamsError for a bucket, and for a folder where a file is expected."""
    if is_bucket(place):
        raise ParamsError(f"{option} {place}: a bucket is for --engine ray; give a path of this machine")
    if is_file and Path(place).is_dir():
        raise ParamsError(f"{option} {place}: expected a file, found a folder; give the path of a file in it")
    return Path(place)


def is_bucket(place: str) -> bool:
    """Whether it is the address of a bucket, and no path."""
    return place.startswith("s3://")


def _below_folders(option: typer.CallbackParam, path: Path | None) -> Path | None:
    for parent in path.parents if path is not None else ():
        if parent.exists() and not parent.is_dir():
            raise ParamsError(f"{_shown(option)} {path}: {parent} is a file, expected a folder; give another path")
    return path


def _shown(option: typer.CallbackParam) -> str:
    return option.opts[0] if option.param_type_name == "option" else str(option.metavar or option.name)


class Engine(StrEnum):
    """Where the data steps compute: in threads of this process, or in tasks of a Ray cluster."""

    THREADS = "threads"
    RAY = "ray"


PipelineName = Annotated[str, typer.Argument(metavar="PIPELINE", help="A name from `pipelines` in params.yaml.")]
PipelineOrAll = Annotated[str | None, typer.Argument(metavar="[PIPELINE]", help="Without it, all.")]
EngineOption = Annotated[
    Engine | None,
    typer.Option(metavar="threads|ray", help="Where to compute; by default on Ray if RAY_ADDRESS names a cluster."),
]
WorkersOption = Annotated[
    str | None, typer.Option(metavar="N|MIN:MAX", help="How many workers, instead of train.num_workers.")
]
CheckpointOption = Annotated[
    str | None, typer.Option(metavar="STEP|FOLDER", help="Of the last training by its step; any other by its folder.")
]
NamedModel = Annotated[
    str, typer.Argument(metavar="MODEL[@ALIAS|:VERSION]", help="A registered version, by default the champion.")
]
AliasOption = Annotated[str, typer.Option(help="Which registered model.")]


def load_stage(stage: str, name: str) -> tuple[Pipeline, PipelinePaths]:
    """`load` for a stage, which refuses other versions than those of headrace.lock."""
    from headrace.pipelines.headrace_lock import require_lock

    pipeline, paths = load(name)
    require_lock(paths.root, [stage])
    return pipeline, paths


def load(name: str) -> tuple[Pipeline, PipelinePaths]:
    """Load a pipeline's section of params.yaml and its artifact tree; raise ParamsError for a mistake in the file."""
    project = ProjectPaths(project_root())
    log_as(pipeline=name)
    return load_pipeline(project.params, name), project.of(name)


@contextmanager
def open_map(engine: Engine | None) -> Iterator[Map]:
    """Yield the map of an engine: by default Ray if RAY_ADDRESS names a cluster that takes drivers, else threads."""
    address = os.environ.get("RAY_ADDRESS", "")
    takes_drivers = bool(address) and not address.startswith(("http://", "https://"))  # that is a job server
    if engine == Engine.RAY or (engine is None and takes_drivers):
        from headrace.pipelines.ray_data.ray_map import ray_map  # Ray takes a second to import

        with ray_map() as map_:
            yield map_
    else:
        yield map_in_threads
