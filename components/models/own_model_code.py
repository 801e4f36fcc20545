"""The code of a model of a file, read and checked without running it."""

from pathlib import Path

from headrace.components.errors import ParamsError
from headrace.components.models.pretrained_weights import ARGUMENT, is_preset
from headrace.components.models.settings import OwnModel
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.own_code.signature import Signature, require_function


def model_code(root: Path, model: OwnModel) -> OwnCode:
    """The model's file with what it imports inside the project at `root`.

    Raises ParamsError for a file that is not there, leads out of the project or is not Python, and for functions that
    it does not have, or that can't be called as they are going to be.
    """
    code = OwnCode.of(root, [model.file])
    for name, given in model.functions.items():
        arguments = _arguments(model, code) if name == model.function else []
        if name == model.optimizer:
            arguments = ["steps_per_epoch", "epochs"]
        require_function(code.sources, model.file, name, given=given, arguments=arguments)
    return code


def _arguments(model: OwnModel, code: OwnCode) -> list[str]:
    """Names of the arguments that the function is given: those of params.yaml, and the weights where it takes them."""
    signature = Signature.of(code.sources, model.file, model.function)
    if signature is None:  # known once the file is imported
        return list(model.arguments)
    place = f"{model.file}:{signature.line}: {model.function}"
    if ARGUMENT in signature.names and model.weights is not None:
        return [*model.arguments, ARGUMENT]
    if ARGUMENT in signature.required and ARGUMENT not in model.arguments:
        raise ParamsError(f"{place}: needs the argument {ARGUMENT!r}; give train.model.weights")
    if model.weights is not None and is_preset(model.weights):
        raise ParamsError(
            f"{place}: takes no argument {ARGUMENT!r}, so the preset {model.weights!r} would not be read; let it take "
            "the path of the folder, and call from_preset"
        )
    return list(model.arguments)
