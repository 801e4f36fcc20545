"""A saved model in the forms that other programs load: a SavedModel for servers, a TensorFlow Lite file for devices."""

import json
import re
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.lite.python.convert_phase import ConverterError

from headrace.components.errors import DataError
from headrace.components.serving_model.input_names import input_names

Model = Any  # keras.Model, which has no types


@dataclass(frozen=True)
class Identity:
    """Which model an export is; `version` is the registry's number, "" for one that is not registered."""

    model: str
    version: str
    model_sha256: str


def export_saved_model(model: Model, folder: Path, *, identity: Identity | None = None) -> None:
    """Write a SavedModel whose signature `serving_default` takes the model's inputs by name, one row or many.

    The names are those of `input_names`; assets.extra/inputs.json has them by column. It gives `output_0`, what the
    model gives. Tables of categories are in it: it needs neither Keras nor Headrace. With an `identity` the signature
    `version`, which takes nothing, answers with it, and assets.extra/model.json has it.
    """
    renamed = _renamed(model)
    archive = keras.export.ExportArchive()
    inputs = {
        name: tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name) for name, tensor in renamed.input.items()
    }
    archive.track_and_add_endpoint("serve", renamed, [inputs])  # the first one is also `serving_default`
    if identity is not None:
        archive.add_endpoint("version", _answer(identity))
    archive.write_out(str(folder), verbose=False)
    extra = folder / "assets.extra"  # which TensorFlow's servers leave alone
    extra.mkdir()
    write_names(model, extra / "inputs.json")
    if identity is not None:
        write_identity(identity, extra / "model.json")


def _answer(identity: Identity) -> Any:
    """A graph without inputs that gives the fields of an identity, one text each."""

    @tf.function(input_signature=[])  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def version() -> dict[str, Any]:
        return {name: tf.constant([value]) for name, value in asdict(identity).items()}

    version()
    return version


def write_identity(identity: Identity, file: Path) -> None:
    """Write which model an export is, as a JSON object."""
    file.write_text(json.dumps(asdict(identity), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def write_names(model: Model, file: Path) -> None:
    """Write what each of the model's columns is called in its exported signature, as a JSON object."""
    text = json.dumps(input_names(list(model.input)), ensure_ascii=False, indent=2)
    file.write_text(text + "\n", encoding="utf-8")


def _renamed(model: Model) -> Model:
    """The same model, and weights, with the inputs' names for other programs: TensorFlow refuses others."""
    names = input_names(list(model.input))
    if all(name == column for column, name in names.items()):
        return model
    inputs = {
        column: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=names[column])
        for column, tensor in model.input.items()
    }
    return keras.Model({names[column]: one for column, one in inputs.items()}, model(inputs))


def export_tflite(model: Model, file: Path) -> None:
    """Write a TensorFlow Lite file with the same signature, in float32 and of built-in operations only.

    Text goes in as bytes: its tables are built-in operations too. Raises DataError for a model with an operation that
    TensorFlow Lite lacks.
    """
    with tempfile.TemporaryDirectory(prefix="headrace-export-") as folder:
        export_saved_model(model, Path(folder))
        try:
            content = tf.lite.TFLiteConverter.from_saved_model(folder).convert()
        except ConverterError as error:
            raise DataError(f"TensorFlow Lite can't run this model: {_reason(error)}; export a saved_model") from error
    file.write_bytes(content)


def _reason(error: ConverterError) -> str:
    """What is lacking, out of a page of notes for compiler writers."""
    lacking = sorted(set(re.findall(r"'tf\.(\w+)' op is neither", str(error))))
    return f"it has no {', '.join(lacking)}" if lacking else " ".join(str(error).split())[:300]
