"""Code of the user's own that a pipeline names, by stage, and its digests for DVC."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from headrace.components.errors import UserError
from headrace.components.files.atomic import replace_file
from headrace.components.files.digests import content_digest
from headrace.components.models.own_model_code import model_code
from headrace.components.models.pretrained_weights import project_path, require_weights
from headrace.components.models.settings import OwnModel
from headrace.components.own_code.importable_code import OwnCode
from headrace.components.own_code.imported_files import read_project_text
from headrace.components.sources.own_rows.source import PythonSource
from headrace.components.transforms.own_transform import Python
from headrace.pipelines.host.private import make_private
from headrace.pipelines.parsed_yaml import read_project_yaml
from headrace.pipelines.paths import ProjectPaths

if TYPE_CHECKING:
    from headrace.pipelines.params import Pipeline

_PLACES = {  # of files, by stage
    "ingest": (("ingest", "source", "file"), ("ingest", "source", "query")),
    "normalize": (("normalize", "transforms", "*", "*", "file"),),
    "train": (("train", "model", "file"), ("train", "model", "weights")),
}
OWN_CODE_STAGE = "own_code"  # of dvc.yaml: it writes digests before the stages, and belongs to no pipeline


def source_code(root: Path, pipeline: "Pipeline") -> OwnCode:
    """The file of a pipeline's source with what it imports inside the project; nothing where there is none.

    Raises ParamsError as `PythonSource.code` does.
    """
    source = pipeline.ingest.source
    return source.code(root) if isinstance(source, PythonSource) else OwnCode({})


def transform_code(root: Path, pipeline: "Pipeline") -> OwnCode:
    """The files of a pipeline's own transforms with what they import inside the project; nothing where there is none.

    Raises ParamsError as `read_sources` does.
    """
    steps = (step for steps in pipeline.normalize.transforms.values() for step in steps)
    return OwnCode.of(root, sorted({step.file for step in steps if isinstance(step, Python)}))


def own_code(root: Path, pipeline: "Pipeline") -> OwnCode:
    """The file of a pipeline's model with what it imports inside the project; nothing where there is none.

    Raises ParamsError as `model_code` does.
    """
    model = pipeline.train.model
    return model_code(root, model) if isinstance(model, OwnModel) else OwnCode({})


def write_digests(project: ProjectPaths) -> None:
    """Write `.headrace/code.json`: by pipeline and stage, the SHA-256 of each file of its own code or query.

    DVC reads it as parameters, so a stage is stale once its code changes. params.yaml is not checked here; code that
    can't be read is there by its error, so that its stage runs and reports it.
    """
    content = read_project_yaml(project.params) if project.params.is_file() else {}
    sections = content if isinstance(content, dict) else {}
    names = sections.get("pipelines")
    digests = {
        name: {
            stage: _digests(project.root, _files_of(sections.get(name), places)) for stage, places in _PLACES.items()
        }
        for name in (names if isinstance(names, list) else ())
        if isinstance(name, str)
    }
    text = json.dumps(digests, indent=1) + "\n"
    if not project.code_digests.is_file() or project.code_digests.read_text(encoding="utf-8") != text:
        make_private(project.state)
        with replace_file(project.code_digests) as file:
            file.write_text(text, encoding="utf-8")


def _files_of(section: Any, places: Iterable[Sequence[str]]) -> list[str]:
    """Texts at some places of a section, where `*` stands for each key, or each entry of a list."""
    return [value for place in places for value in _at(section, *place) if isinstance(value, str)]


def _at(content: Any, *place: str) -> Iterator[Any]:
    match (content, place):
        case (_, ()):
            yield content
        case (dict(), (key, *rest)):
            for one in content.values() if key == "*" else (content.get(key),):
                yield from _at(one, *rest)
        case (list(), ("*", *rest)):
            for one in content:
                yield from _at(one, *rest)


def _digests(root: Path, files: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in files:
        try:
            found |= _digests_of_file(root, file)
        except (UserError, ValueError, OSError) as error:
            found[file] = str(error)
    return found


def _digests_of_file(root: Path, file: str) -> dict[str, str]:
    """A Python file comes with those that it imports; a query and weights are there by themselves.

    Raises ParamsError, DataError or ValueError for what can't be read.
    """
    match PurePosixPath(file).suffix:
        case ".py":
            return OwnCode.of(root, [file]).digests
        case ".sql":
            text = read_project_text(root, PurePosixPath(file), language="SQL")
            return {file: hashlib.sha256(text.encode()).hexdigest()}
        case _:
            place = root / project_path(file)
            require_weights(place)
            return {file: content_digest(place)}
