"""How params.yaml names a file and a function of the user's own."""

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field


def _python_file(path: str) -> str:
    place = PurePosixPath(path)
    if place.is_absolute() or ".." in place.parts or place.suffix != ".py" or place.as_posix() != path:
        raise ValueError(
            f"expected the path of a Python file inside the project, such as models/churn.py, found {path!r}"
        )
    if not all(part.isidentifier() for part in place.with_suffix("").parts):
        raise ValueError(f"expected a path of names that Python can import, such as models/churn.py, found {path!r}")
    return path


PythonFile = Annotated[str, AfterValidator(_python_file)]
FunctionName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
