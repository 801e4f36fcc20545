"""Objects of DVC by their MD5: which store has them, and what they hold. They are neither hashed nor changed here."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.components.errors import DataError
from headrace.components.files.digests import file_digest
from headrace.pipelines.project.object_digests import opened_repo

_FOLDER = ".dir"  # at the end of the MD5 of a folder, whose object lists its files


@dataclass(frozen=True)
class Presence:
    """How many objects of an output each store has, each counted in the first that has it; and how many are nowhere."""

    counts: Mapping[str, int]
    missing: int

    def __str__(self) -> str:
        total = sum(self.counts.values()) + self.missing
        found = {**{f"in the {store}": count for store, count in self.counts.items()}, "nowhere": self.missing}
        return ", ".join(
            where if count == total else f"{count} of {total} objects {where}"
            for where, count in found.items()
            if count
        )


@dataclass(frozen=True)
class DvcObjects:
    """The cache and the default remote of a project."""

    stores: Mapping[str, Any]

    @classmethod
    @contextmanager
    def of(cls, root: Path) -> Iterator["DvcObjects"]:
        """Open those of a project; raises ServiceError for what can't be read of them."""
        with opened_repo(root) as (_, stores):
            yield cls(stores)

    def presence(self, md5: str) -> Presence:
        """Where an output is: its object, and for a folder those of all its files."""
        left = {md5, *self.members(md5).values()} if md5.endswith(_FOLDER) else {md5}
        counts = {}
        for name, store in self.stores.items():
            found = {one for one in left if store.fs.exists(store.oid_to_path(one))}
            counts[name] = len(found)
            left -= found
        return Presence(counts, len(left))

    def members(self, md5: str) -> dict[str, str]:
        """MD5 of each file of a folder by its path in it; none where its object is nowhere."""
        for store in self.stores.values():
            with suppress(FileNotFoundError):
                return {
                    entry["relpath"]: entry["md5"] for entry in json.loads(store.fs.cat_file(store.oid_to_path(md5)))
                }
        return {}

    def fetch(self, md5: str, file: Path) -> bool:
        """Write an object to `file` and check it; False where it is nowhere. Raises DataError for a damaged one."""
        for store in self.stores.values():
            with suppress(FileNotFoundError):
                store.fs.get_file(store.oid_to_path(md5), str(file))
                if file_digest(file, "md5") != md5:
                    raise DataError(
                        f"object {md5} of DVC is damaged; `headrace verify --fix` replaces it by a good copy"
                    )
                return True
        return False
