"""What each stage reads of those before it: a stage that is run too early says which command comes first."""

from headrace.components.errors import DataError
from headrace.pipelines.paths import PipelinePaths

# In the order of the stages, each artifact with the stage that writes it.
_WRITTEN_BY = {
    "examples": "ingest",
    "normalized": "normalize",
    "statistics": "normalize",
    "manifest": "split",
    "model": "train",
    "run": "train",
    "metrics": "evaluate",
    "outcomes": "evaluate",
    "report": "evaluate",
}
_READ_BY = {
    "normalize": {"examples"},
    "split": {"normalized"},
    "train": {"statistics", "manifest"},
    "evaluate": {"examples", "manifest", "model", "run"},
    "register": {"model", "run", "metrics", "outcomes", "report"},
}


def require_inputs(paths: PipelinePaths, stage: str) -> None:
    """Raise DataError, naming the first command to run, where an input of the stage is missing."""
    missing = {name: path for name in _WRITTEN_BY if not (path := getattr(paths, name)).exists()}
    needed = _READ_BY[stage] & missing.keys()
    if not needed:
        return
    absent = ", ".join(str(missing[name].relative_to(paths.root)) for name in missing if name in needed)
    first = _WRITTEN_BY[next(iter(missing))]
    raise DataError(
        f"{stage} reads {absent}, which is not there; run `headrace {first} {paths.pipeline}` first, or "
        f"`headrace run {paths.pipeline}` for all stages"
    )
