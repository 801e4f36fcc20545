"""A compiled model that a function makes, trained on the examples that a program gives."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from headrace.components.errors import ParamsError
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.own_code.signature import checked_arguments
from headrace.components.training.feeding.split_arrays import Columns
from headrace.components.training.loop import Trainee
from headrace.components.training.own_model_check import saved_and_loaded
from headrace.components.training.workers.dropout import GlobalBatch

_ROWS_TO_BUILD = 2


@dataclass(frozen=True)
class ModelFunction:
    """A function of a file that returns a compiled model, what it is called with, and one that returns callbacks."""

    code: OwnCode
    file: str
    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    callbacks: str | None = None
    jit_compile: bool = False

    @property
    def place(self) -> str:
        """File and function, as errors name them."""
        return f"{self.file}: {self.function}"

    def make(self, examples: Columns) -> Callable[[GlobalBatch, int], Trainee]:
        """What `train_worker` calls to make the model; to be called within `code.importable()`.

        Raises ParamsError, with file and line, for arguments that the function does not take, what it raises, a model
        that is not compiled, and one that can't take the examples.
        """

        def made(_: GlobalBatch, __: int) -> Trainee:
            return Trainee(self.model(examples), callbacks=self._callbacks())

        return made

    def model(self, examples: Columns) -> keras.Model:
        """The model, compiled, and built on the first examples."""
        function = self.code.function(self.file, self.function)
        arguments = checked_arguments(function, self.arguments, given=0, place=self.place)
        with self.code.errors_named():
            model = function(**arguments)
        if not isinstance(model, keras.Model):
            raise ParamsError(f"{self.place} returned {type(model).__name__}, expected a keras.Model")
        if not model.compiled:
            raise ParamsError(
                f"{self.place}: expected a compiled model; call model.compile(optimizer, loss) before it is returned"
            )
        model.jit_compile = self.jit_compile
        self._build(model, examples)
        return model

    def _build(self, model: keras.Model, examples: Columns) -> None:
        try:
            with self.code.errors_named():
                model(first_rows(examples.features, _ROWS_TO_BUILD), training=False)
        except ParamsError:
            raise
        except Exception as error:
            place = self.code.place_of(error) or self.place
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
            raise ParamsError(f"{place}: the model can't take the features: {said}") from error

    def require_saveable(self, examples: Columns) -> None:
        """Raise ParamsError unless the model, saved and loaded again, gives the same outputs for some examples."""
        model = self.model(examples)
        rows = first_rows(examples.features, _ROWS_TO_BUILD)
        saved_and_loaded(model, rows, code=self.code, place=self.place)

    def trained(self, examples: Columns, weights: Sequence[Any]) -> keras.Model:
        """The model with weights of a training."""
        return with_weights(self.model(examples), lambda: examples, weights)

    def _callbacks(self) -> Sequence[keras.callbacks.Callback]:
        if self.callbacks is None:
            return ()
        function = self.code.function(self.file, self.callbacks)
        with self.code.errors_named():
            made = list(function())
        for one in made:
            if not isinstance(one, keras.callbacks.Callback):
                raise ParamsError(f"{self.file}: {self.callbacks} returned {one!r:.80}, expected Keras callbacks")
        return made


def with_weights(model: keras.Model, examples: Callable[[], Columns], weights: Sequence[Any]) -> keras.Model:
    """A model with the weights of a training; `examples` gives some that it takes, where it is not built yet."""
    if not model.built:
        model(first_rows(examples().features, _ROWS_TO_BUILD), training=False)
    model.set_weights(list(weights))
    return model


def first_rows(values: Any, rows: int) -> Any:
    """The first rows of arrays in dicts and tuples, as tensors."""
    return tf.nest.map_structure(
        lambda one: one[:rows] if isinstance(one, tf.RaggedTensor) else tf.constant(one[:rows]), values
    )
