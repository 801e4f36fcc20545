"""Whether files and folders of a project are what their names promise."""

from headrace.components.errors import ParamsError
from headrace.pipelines.paths import ProjectPaths


def require_places(project: ProjectPaths) -> None:
    """Raise ParamsError for a folder where a file of the project is expected, or a file in place of a folder."""
    for file in (project.dvc, project.lock, project.dvc_lock):
        if file.is_dir():
            raise ParamsError(f"{file} is a folder, expected a file; move it away")
    for folder in (project.state, *(project.root / name for name in ("data", "models", "reports"))):
        if folder.exists() and not folder.is_dir():
            raise ParamsError(f"{folder} is a file, expected a folder; move it away")
