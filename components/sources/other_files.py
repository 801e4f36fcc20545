"""Files that lie among images and are none by their names: counted, so that none vanishes without a word."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import PurePosixPath

from headrace.components.errors import DataError
from headrace.components.sources.file import IMAGE_SUFFIXES, SYSTEM_FILES, is_image

_HIDDEN = ".*"


class OtherFiles:
    """The files that were met, by folder: which folders have images, and what else there is."""

    def __init__(self) -> None:
        self._with_images: set[str] = set()
        self._others: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def meet(self, path: str) -> bool:
        """Whether a file is an image by its name; one that is none is counted."""
        if is_image(path):
            self._with_images.add(folder_name(path))
            return True
        self.count(path)
        return False

    def count(self, path: str) -> None:
        """Count a file that is left out."""
        self._others[folder_name(path)][_kind(PurePosixPath(path).name)] += 1

    @property
    def counts(self) -> Counter[str]:
        """Number of files by suffix; those of file managers, and hidden ones, by `SYSTEM_FILES` and `.*`."""
        return sum(self._others.values(), Counter())

    def require_images(self, classes: Collection[str]) -> None:
        """Raise DataError for a class whose folder has files, but no image among them."""
        for folder, others in sorted(self._others.items()):
            if folder in classes and folder not in self._with_images and (noted := should_report(others)):
                raise DataError(
                    f"the folder of class {folder!r} has no image, but {noted}; expected names that end in "
                    f"{', '.join(IMAGE_SUFFIXES)}: convert the files, or take the class away"
                )


def folder_name(path: str) -> str:
    """Name of the folder that a file is in; "" for none."""
    return _last_name(path.rpartition("/")[0])


@lru_cache(maxsize=64)  # files of a folder come one after the other, and pathlib takes microseconds for each
def _last_name(folder: str) -> str:
    return PurePosixPath(folder).name


def should_report(counts: Mapping[str, int]) -> str:
    """The counts of files that a user may miss, in words; nothing for those of file managers."""
    noted = {kind: count for kind, count in sorted(counts.items()) if kind not in (*SYSTEM_FILES, _HIDDEN)}
    return ", ".join(f"{count} {kind}" for kind, count in noted.items())


def _kind(name: str) -> str:
    if name.lower() in SYSTEM_FILES:
        return name.lower()
    if name.startswith("."):
        return _HIDDEN
    return PurePosixPath(name).suffix.lower() or "without a suffix"
