"""The code of a model of a file, read and checked without running it."""

from pathlib import Path

from headrace.components.models.settings import OwnModel
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.own_code.signature import require_function


def model_code(root: Path, model: OwnModel) -> OwnCode:
    """The model's file with what it imports inside the project at `root`.

    Raises ParamsError for a file that is not there, leads out of the project or is not Python, and for functions that
    it does not have, or that can't be called as they are going to be.
    """
    code = OwnCode.of(root, [model.file])
    for name, given in model.functions.items():
        arguments = list(model.arguments) if name == model.function else []
        if name == model.optimizer:
            arguments = ["steps_per_epoch", "epochs"]
        require_function(code.sources, model.file, name, given=given, arguments=arguments)
    return code
