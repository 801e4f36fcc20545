"""Where a user's own `dvc` keeps its notes on files: in the project's own state, whatever folder it runs in."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.components.files.atomic import replace_file
from headrace.pipelines.paths import ProjectPaths

if TYPE_CHECKING:
    from configobj import ConfigObj

_KEY = "site_cache_dir"


def name_site_cache(project: ProjectPaths) -> None:
    """Set `core.site_cache_dir` in .dvc/config.local to the absolute path of what .dvc/config has relative.

    DVC takes a relative path from the folder in which it runs: below the root it would make a second one, which all
    may write. A folder that the user has chosen stays; nothing is written where the file system is read-only.
    """
    folder, file = project.dvc_site_cache.resolve(), project.dvc_private_config
    with suppress(OSError, SyntaxError):  # a SyntaxError is ConfigObj's, of a damaged file: DVC reports it
        if file.exists() and str(folder) in file.read_text(encoding="utf-8", errors="replace"):
            return
        private = _read(file)
        relative = project.dvc_site_cache.relative_to(project.root)
        shared, present = (Path(one.get("core", {}).get(_KEY, "")) for one in (_read(project.dvc_config), private))
        is_chosen = present.parts and present.parts[-2:] != relative.parts  # else it is ours, of a project that moved
        if shared != relative or is_chosen or "%(" in str(folder):  # "%(": DVC would read it as an option's name
            return
        private.setdefault("core", {})[_KEY] = str(folder)
        mode = file.stat().st_mode if file.exists() else 0o600  # it may hold passwords of remotes
        with replace_file(file) as temporary:
            temporary.chmod(mode)
            with temporary.open("wb") as stream:
                private.write(stream)


def _read(file: Path) -> "ConfigObj":
    from configobj import ConfigObj  # DVC's own reader of these files; seldom needed

    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return ConfigObj(lines, encoding="utf-8", interpolation=False)
