"""A Keras model that a file of the project's own makes, checked before anything is trained."""

import inspect
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import keras
import numpy as np

from headrace.components.errors import ParamsError
from headrace.components.models.output import Output
from headrace.components.models.pretrained_weights import ARGUMENT
from headrace.components.models.settings import OwnModel
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.own_code.signature import checked_arguments

Shape = tuple[int, ...]
Inputs = Mapping[str, Shape]  # shape of one example by the name of the input, without the batch axis

_BUILT: "weakref.WeakSet[keras.Model]" = weakref.WeakSet()  # a model that is built again would be trained already


@dataclass(frozen=True)
class ModelLabel:
    """What a model of one's own has to predict.

    `outputs` is the size of its last axis: a logit for each of `classes` or tokens, or one value for each number.
    `each_token` asks for outputs after each token of the text: float32[batch, length, outputs]. Otherwise the model
    gives float32[batch, outputs]. `unit` is that of a number, which may be transformed (`normalize.label`).
    """

    name: str
    type: Literal["category", "number", "numbers", "next_token"]
    outputs: int
    classes: tuple[str, ...] = ()
    unit: str = ""
    each_token: bool = False


def model_label(label: Any, output: Output, classes: Sequence[str]) -> ModelLabel:
    """What a label's settings and the output of its task say to a model of one's own."""
    return ModelLabel(
        label.name, label.type, output.units, tuple(classes), getattr(label, "unit", ""), each_token=output.per_token
    )


def build_own_model(
    settings: OwnModel, code: OwnCode, *, inputs: Inputs, label: ModelLabel, pretrained: Path | None = None
) -> keras.Model:
    """The model that `settings.function` makes, built, from inputs float32[batch, *shape].

    `pretrained` is what `settings.weights` names, on this machine. To be called within `code.importable()`. Raises
    ParamsError, with file and line, for arguments that the function does not take, what it raises, a model with other
    outputs than the label needs, and weights of another model.
    """
    tensors = {name: keras.Input(shape, dtype="float32", name=name) for name, shape in inputs.items()}
    place = f"{settings.file}: {settings.function}"
    function = code.function(settings.file, settings.function)
    takes_weights = pretrained is not None and ARGUMENT in inspect.signature(function).parameters
    given = {**settings.arguments, ARGUMENT: str(pretrained)} if takes_weights else settings.arguments
    arguments = checked_arguments(function, given, given=2, place=place)
    with _errors_of_calls(code, place), _skipped_weights_refused():
        model = function(tensors, label, **arguments)
    if not isinstance(model, keras.Model):
        raise ParamsError(f"{place} returned {type(model).__name__}, expected a keras.Model")
    if model in _BUILT:
        raise ParamsError(f"{place} returned the same model twice, expected a new one for each call")
    _BUILT.add(model)
    takes = taken_by(model, inputs)
    try:
        with code.errors_named():
            output = model(takes(tensors))
    except ParamsError:
        raise
    except Exception as error:  # of a layer of Keras's own, such as one that gets a wrong shape
        arrays = {name: np.zeros((2, *shape), np.float32) for name, shape in inputs.items()}
        reason = _error_of_call(model, takes(arrays)) or error
        said = f"{type(reason).__name__}: {' '.join(str(reason).split())[:500]}"
        raise ParamsError(f"{code.place_of(reason) or place}: the model can't take its inputs: {said}") from error
    _require_output(output, inputs=inputs, label=label, place=place)
    if pretrained is not None and not takes_weights:
        _load_weights(model, pretrained, place=place)
    return model


@contextmanager
def _skipped_weights_refused() -> Iterator[None]:
    """Raise UserWarning where Keras skips weights that it does not find: it would continue with random ones."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Skipping", UserWarning)
        yield


def _load_weights(model: keras.Model, file: Path, *, place: str) -> None:
    try:
        with _skipped_weights_refused():
            model.load_weights(str(file))
    except (ValueError, KeyError, OSError, UserWarning) as error:
        reason = " ".join(str(error).split())[:300]
        raise ParamsError(
            f"{place}: the weights of {file.name} are not those of this model: {reason}; those of a part of it are "
            f"loaded by the function: let it take the argument {ARGUMENT!r}, a path"
        ) from error


def taken_by(model: keras.Model, inputs: Inputs) -> Callable[[Mapping[str, Any]], Any]:
    """How a model takes its inputs by name: a Functional one that was made of them, in the structure it has.

    Another model takes the only input as it is, or several as a dict. Raises ParamsError where it can't.
    """
    is_sequential = isinstance(model, keras.Sequential)
    names = [] if is_sequential else [tensor.name for tensor in getattr(model, "inputs", None) or ()]
    if names and set(names) <= set(inputs):
        structure = model.input
        return lambda values: keras.tree.map_structure(lambda tensor: values[tensor.name], structure)
    if len(inputs) == 1:
        return lambda values: next(iter(values.values()))
    if names or is_sequential:
        takes = f"takes {', '.join(names)}" if names else "is Sequential, which takes one"
        raise ParamsError(f"the inputs are {', '.join(inputs)}, and the model {takes}; make it of `inputs` by name")
    return dict


def _error_of_call(model: keras.Model, values: Any) -> Exception | None:
    """What a model's `call` raises, which Keras hides where it builds a model by tracing it."""
    try:
        model.call(values)
    except Exception as error:  # noqa: BLE001 - reported with its place
        return error
    return None


class OwnParts(NamedTuple):
    """What the file of a model gives its training besides; None for what it does not give."""

    optimizer: keras.optimizers.Optimizer | None
    loss: keras.losses.Loss | None
    metrics: Any | None
    callbacks: Any | None


def own_parts(settings: OwnModel, code: OwnCode, *, label: ModelLabel, steps_per_epoch: int, epochs: int) -> OwnParts:
    """Call the other functions of the model's file that the settings name, within `code.importable()`.

    Raises ParamsError, with file and line, for what they raise, and for something else than they are for.
    """
    plan: dict[str, Any] = {"steps_per_epoch": steps_per_epoch, "epochs": epochs}
    own = partial(_own_part, settings, code)
    return OwnParts(
        own(settings.optimizer, returns=keras.optimizers.Optimizer, **plan) if settings.optimizer else None,
        own(settings.loss, label, returns=keras.losses.Loss) if settings.loss else None,
        own(settings.metrics, label, returns=keras.metrics.Metric, several=True) if settings.metrics else None,
        own(settings.callbacks, returns=keras.callbacks.Callback, several=True) if settings.callbacks else None,
    )


def _own_part(
    settings: OwnModel, code: OwnCode, name: str, *values: Any, returns: type, several: bool = False, **keywords: Any
) -> Any:
    """What one of these functions returns: one value of a class, or with `several` also a list of them."""
    function = code.function(settings.file, name)
    with _errors_of_calls(code, f"{settings.file}: {name}"):
        found = function(*values, **keywords)
    items = found if several and isinstance(found, list | tuple) else [found]
    if not all(isinstance(item, returns) for item in items):
        expected = f"{'a list of' if several else 'a'} {returns.__module__.partition('.')[0]} {returns.__name__}"
        raise ParamsError(f"{settings.file}: {name} returned {found!r:.80}, expected {expected}")
    return found


@contextmanager
def _errors_of_calls(code: OwnCode, place: str) -> Iterator[None]:
    """Raise ParamsError with `place` for what a function of the code raises outside of it, such as in Keras."""
    try:
        with code.errors_named():
            yield
    except ParamsError:
        raise
    except Exception as error:
        raise ParamsError(f"{place}: {type(error).__name__}: {' '.join(str(error).split())[:500]}") from error


def _require_output(output: Any, *, inputs: Inputs, label: ModelLabel, place: str) -> None:
    length = (next(iter(inputs.values()))[0],) if label.each_token else ()
    expected = (None, *length, label.outputs)
    if not isinstance(output, keras.KerasTensor):
        raise ParamsError(f"{place}: expected a model with one output, found {type(output).__name__}")
    if tuple(output.shape) != expected:
        raise ParamsError(
            f"{place}: expected outputs of shape {_shown(expected)}, {_meaning(label)}, found {_shown(output.shape)}"
        )
    if output.dtype != "float32":
        raise ParamsError(
            f'{place}: expected outputs of float32, found {output.dtype}; give the last layer dtype="float32"'
        )


def _shown(shape: Sequence[int | None]) -> str:
    return f"({', '.join('batch' if size is None else str(size) for size in shape)})"


def _meaning(label: ModelLabel) -> str:
    if label.classes:
        return f"a logit for each of the classes {', '.join(label.classes)[:80]}"
    return "a logit for each token" if label.each_token else "a value for each number"
