"""What would end a training of a model of a file after hours, tried before its first step."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from headrace.components.errors import DataError, ParamsError
from headrace.components.models.own_model import model_label, own_parts
from headrace.components.models.settings import OwnModel
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.serving_model.keras_file import write_keras_file
from headrace.components.serving_model.saved_model import load_model
from headrace.components.tasks.variants import task_of
from headrace.components.training.optimization.layer_rates import require_layers
from headrace.components.training.restored_model import restored_model
from headrace.components.training.settings import LayerRate
from headrace.components.transforms.fitted_table import FittedTable


def require_saveable(
    settings: OwnModel,
    code: OwnCode,
    *,
    fitted: FittedTable,
    statistics: Path,
    pretrained: Path | None = None,
    rates: Sequence[LayerRate] = (),
    epochs: int = 1,
) -> keras.Model:
    """Save the model before any training, load it again, and return it once both give the same outputs.

    To be called within `code.importable()`. Raises ParamsError as `build_own_model` and `own_parts` do, for a model
    that can't be saved or loaded, or that is another one then, that has no weights to train, and for `rates` of layers
    that it does not have.
    """
    place = f"{settings.file}: {settings.function}"
    model, core = restored_model(
        None, model=settings, fitted=fitted, statistics=statistics, code=code, pretrained=pretrained
    )
    [own] = [layer for layer in core.layers if not isinstance(layer, keras.layers.InputLayer)]
    require_layers(own, rates, place="train.optimizer.rates")
    if not own.trainable_variables:
        raise ParamsError(f"{place}: the model has no weights to train")
    task = task_of(fitted.label)
    label = model_label(fitted.label, task.output(fitted.tokens), task.classes)
    own_parts(settings, code, label=label, steps_per_epoch=1, epochs=epochs)
    saved_and_loaded(model, {name: _two_rows(tensor) for name, tensor in model.input.items()}, code=code, place=place)
    return model


def saved_and_loaded(model: keras.Model, rows: Any, *, code: OwnCode, place: str) -> None:
    """Save a model and load it again; raise ParamsError where that fails, or gives other outputs for some rows.

    To be called within `code.importable()`. `rows` are what the model takes; `place` names it in errors.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        try:
            with code.errors_named():
                write_keras_file(model, path, sources=code.sources)
            loaded = load_model(path, may_run=lambda sources: dict(sources) == code.sources)
        except ParamsError:
            raise
        except Exception as error:
            reason = str(error).partition(f"{path}: ")[2] if isinstance(error, DataError) else str(error)
            raise ParamsError(
                f"{place}: the model can't be saved and loaded again: {' '.join(reason.split())[:500]}"
            ) from error
    pairs = zip(*(keras.tree.flatten(one(rows, training=False)) for one in (model, loaded)), strict=True)
    differences = [_difference(np.asarray(before), np.asarray(after)) for before, after in pairs]
    if any(differences):
        raise ParamsError(
            f"{place}: a model that was saved and loaded again gives other outputs, by up to {max(differences):.3g}; "
            "give each of its classes a get_config of all that it needs, and keep what it learns in weights of layers"
        )


def _difference(before: NDArray[Any], after: NDArray[Any]) -> float:
    """Largest difference of two outputs; 0 where it is rounding."""
    same = np.allclose(before, after, rtol=1e-5, atol=1e-6, equal_nan=True)
    return 0.0 if same else float(np.nanmax(np.abs(before - after)))


def _two_rows(tensor: Any) -> Any:
    shape = (2, *tensor.shape[1:])
    return np.full(shape, "a", object) if tensor.dtype == "string" else np.ones(shape, np.float32)
