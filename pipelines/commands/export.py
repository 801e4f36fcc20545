"""`headrace export`: a model for programs that are not Python, normalization inside."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import structlog
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.components.errors import ParamsError
from headrace.components.files.atomic import replace_file, replace_folder
from headrace.components.printable import printable
from headrace.components.serving_model.input_names import input_names
from headrace.pipelines.commands.arguments import PipelineName, load, writable_path
from headrace.pipelines.compatibility.tensorflow_import import quiet
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.project.trusted_code import code_of_project

if TYPE_CHECKING:
    from headrace.components.serving_model.export import Identity
    from headrace.components.serving_model.saved_model import Model

log = structlog.get_logger()


class Form(StrEnum):
    """The form in which a model is written."""

    SAVED_MODEL = "saved_model"
    TFLITE = "tflite"


def export(
    pipeline: PipelineName,
    *,
    form: Annotated[Form, typer.Option("--format", metavar="saved_model|tflite", help="For a server or a device.")],
    output: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Where to; by default below models/PIPELINE/export.", callback=writable_path),
    ] = None,
    alias: Annotated[
        str | None, typer.Option(help="Which registered model; without it, that of the last training.")
    ] = None,
) -> None:
    """Write a model, normalization inside, as a SavedModel or a TensorFlow Lite file."""
    export_model(*load(pipeline), form=form, output=output, alias=alias)


def export_model(
    pipeline: Pipeline, paths: PipelinePaths, *, form: Form, output: Path | None, alias: str | None
) -> None:
    """Write the model of the last training, or the registered one that has the alias, in another form.

    Without `output` it goes to models/<pipeline>/export. An earlier export is replaced, anything else there is not.
    Columns whose names other programs could not use are called otherwise there, which is shown and written.
    Raises DataError where there is no model, it was changed, or it can't be had in this form, and ParamsError for the
    output.
    """
    place = output or default_place(paths, form)
    _require_replaceable(place, form)
    from headrace.components.serving_model.saved_model import load_model
    from headrace.pipelines.artifacts.run_record import bound_run
    from headrace.pipelines.tracking.registry import require_version, version_file

    if alias is None:
        file, digest = paths.model, bound_run(paths).model_sha256
        number = _registered_as(paths, digest)
    else:
        version = require_version(paths.root, pipeline.name, alias)
        file, digest = version_file(paths.root, pipeline.name, version), version.tags.get("model_sha256", "")
        number = str(version.number)
    with quiet():
        from headrace.components.serving_model.export import Identity

        model = load_model(file, may_run=code_of_project(paths.root))
        _WRITERS[form](model, place, Identity(pipeline.name, number, digest))
    _show_names(model)
    which = f"version {number}" if number else "of the last training"
    log.info("exported", pipeline=pipeline.name, model=which, to=str(place))


def _registered_as(paths: PipelinePaths, digest: str) -> str:
    """The version that the model of the last training was registered as; "" for none. MLflow is not asked."""
    from headrace.pipelines.artifacts.artifact import read_artifact
    from headrace.pipelines.artifacts.registration import RegistrationFile

    if not paths.registration.is_file():
        return ""
    found = read_artifact(paths.registration, RegistrationFile, command=f"headrace register {paths.pipeline}")
    return str(found.version) if found.model_sha256 == digest else ""


def _write_saved_model(model: "Model", place: Path, identity: "Identity") -> None:
    from headrace.components.serving_model.export import export_saved_model

    with replace_folder(place) as folder:
        export_saved_model(model, folder, identity=identity)


def _write_tflite(model: "Model", place: Path, identity: "Identity") -> None:
    from headrace.components.serving_model.export import export_tflite, write_identity, write_names

    with replace_file(place) as file:
        export_tflite(model, file)
    with replace_file(place.with_name(f"{place.name}.inputs.json")) as file:
        write_names(model, file)
    with replace_file(place.with_name(f"{place.name}.model.json")) as file:
        write_identity(identity, file)


def _show_names(model: Any) -> None:
    """Say which columns are called otherwise in the export."""
    changed = {column: name for column, name in input_names(list(model.input)).items() if name != column}
    if not changed:
        return
    table = Table("column", "input", box=None, pad_edge=False)
    for column, name in changed.items():
        table.add_row(Text(printable(column)), name)
    Console().print(table)


_WRITERS = {Form.SAVED_MODEL: _write_saved_model, Form.TFLITE: _write_tflite}


def default_place(paths: PipelinePaths, form: Form) -> Path:
    """Default path of an export; a SavedModel is version 1 in a folder that a model server can watch."""
    return paths.export / ("saved_model/1" if form is Form.SAVED_MODEL else "model.tflite")


def _require_replaceable(place: Path, form: Form) -> None:
    is_free = not place.exists() or (place.is_dir() and not any(place.iterdir()))
    is_export = (place / "saved_model.pb").is_file() if form is Form.SAVED_MODEL else place.is_file()
    if not (is_free or is_export) or (form is Form.TFLITE and place.is_dir()):
        raise ParamsError(f"--output {place}: there is something else already; choose another name")
