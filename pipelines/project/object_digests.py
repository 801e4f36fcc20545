"""Whether what DVC keeps is still what it wrote: every object is read and hashed, no time or size is trusted.

DVC has no command for this. The names of its classes are used here only, and held by tests.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from headrace.components.errors import ServiceError
from headrace.pipelines.project.dvc import check_lock_file

State = Literal["whole", "damaged", "missing"]

_AT_ONCE = 8
_CHUNK_BYTES = 2**20
_DIRECTORY = ".dir"  # the end of the id of an object that lists the files of a folder


@dataclass(frozen=True)
class Kept:
    """One object as the present dvc.lock names it: `object_id` is its MD5, `path` the file in the project."""

    object_id: str
    path: str
    stage: str


@dataclass(frozen=True)
class Damage:
    """One object that is damaged in a store, or in none; `is_fixed` once a good copy took its place."""

    kept: Kept
    store: str
    is_fixed: bool = False

    def __str__(self) -> str:
        state = "is missing from" if self.store == "cache and remote" else "is damaged in"
        fixed = ": replaced by a good copy" if self.is_fixed else ""
        return f"{self.kept.path} of {self.kept.stage} (MD5 {self.kept.object_id}) {state} the {self.store}{fixed}"


@dataclass(frozen=True)
class Report:
    """What was found of so many `objects`; `whole` counts those that are as they should be, by store."""

    objects: int
    whole: dict[str, int]
    damages: tuple[Damage, ...]

    @property
    def is_well(self) -> bool:
        """Whether nothing was damaged, or all of it is fixed."""
        return all(damage.is_fixed for damage in self.damages)


def verify(root: Path, *, pipeline: str | None = None, fix: bool = False) -> Report:
    """Hash every object that dvc.lock names, of one pipeline or of all, in DVC's cache and default remote.

    With `fix`, a damaged one is replaced by a good copy out of the project, the cache or the remote, if there is one.
    Raises ServiceError where the remote can't be reached.
    """
    check_lock_file(root)
    with opened_repo(root) as (repo, stores):
        return _verified(root, list(_outputs(repo, pipeline)), stores, fix=fix)


@contextmanager
def opened_repo(root: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield DVC's repository, and its stores by name: the cache, and the default remote where there is one.

    Raises ServiceError for what the block can't read of them.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            stores = {"cache": repo.cache.local}
            if name := repo.config["core"].get("remote"):
                stores[f"remote {name}"] = repo.cloud.get_remote_odb()
            yield repo, stores
    except (DvcException, OSError) as error:
        raise ServiceError(f"can't read what DVC keeps: {error}") from error


def _verified(root: Path, outputs: list[Kept], stores: dict[str, Any], *, fix: bool) -> Report:
    kept = list(dict.fromkeys(one for output in outputs for one in _with_files(output, stores)))
    ids = {one.object_id for one in kept}
    states = {name: _states(store, ids) for name, store in stores.items()}
    damages = []
    for one in kept:
        found = {name: states[name][one.object_id] for name in stores}
        if set(found.values()) == {"missing"}:
            damages.append(Damage(one, "cache and remote", is_fixed=False))
        for name, state in found.items():
            if state == "damaged":
                good = [stores[other] for other, its in found.items() if its == "whole"]
                damages.append(Damage(one, name, is_fixed=fix and _replaced(root, one, stores[name], good)))
    whole = {name: sum(state == "whole" for state in found.values()) for name, found in states.items()}
    return Report(len(ids), whole, tuple(damages))


def _outputs(repo: Any, pipeline: str | None) -> Iterator[Kept]:
    """Outputs in the present dvc.lock that DVC keeps, without those that git keeps."""
    for stage in repo.index.stages:
        name = getattr(stage, "name", None) or stage.addressing  # that of a .dvc file
        if pipeline is not None and not name.endswith(f"@{pipeline}"):
            continue
        for out in stage.outs:
            if out.use_cache and out.hash_info and out.hash_info.name == "md5":
                yield Kept(out.hash_info.value, out.def_path, name)


def _with_files(output: Kept, stores: dict[str, Any]) -> Iterator[Kept]:
    """The output, and the files in it if it is a folder whose list is whole somewhere."""
    yield output
    if not output.object_id.endswith(_DIRECTORY):
        return
    for store in stores.values():
        with suppress(FileNotFoundError):
            content = store.fs.cat_file(store.oid_to_path(output.object_id))
            if _md5([content]) == output.object_id.removesuffix(_DIRECTORY):
                for entry in json.loads(content):
                    yield Kept(entry["md5"], f"{output.path}/{entry['relpath']}", output.stage)
                return


def _states(store: Any, ids: Iterable[str]) -> dict[str, State]:
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        ordered = sorted(ids)
        return dict(zip(ordered, threads.map(lambda one: _state(store, one), ordered), strict=True))


def _state(store: Any, object_id: str) -> State:
    try:
        with store.fs.open(store.oid_to_path(object_id), "rb") as content:
            found = _md5(iter(lambda: content.read(_CHUNK_BYTES), b""))
    except FileNotFoundError:
        return "missing"
    return "whole" if found == object_id.removesuffix(_DIRECTORY) else "damaged"


def _replaced(root: Path, kept: Kept, store: Any, good: list[Any]) -> bool:
    """Whether a good copy took the place of a damaged object; without one, that stays as it is."""
    put = _from_project(root, kept) or next((_from_store(kept, other) for other in good), None)
    if put is None:
        return False
    store.fs.remove(store.oid_to_path(kept.object_id))
    put(store)
    return _state(store, kept.object_id) == "whole"


def _from_store(kept: Kept, good: Any) -> Callable[[Any], None]:
    path = good.oid_to_path(kept.object_id)
    return lambda store: store.add(path, good.fs, kept.object_id, hardlink=False)


def _from_project(root: Path, kept: Kept) -> Callable[[Any], None] | None:
    """From the file in the project, if that is still what the stage wrote."""
    from dvc.fs import LocalFileSystem

    file = root / kept.path
    if not file.is_file():
        return None
    with file.open("rb") as content:
        if _md5(iter(lambda: content.read(_CHUNK_BYTES), b"")) != kept.object_id:
            return None
    return lambda store: store.add(str(file), LocalFileSystem(), kept.object_id, hardlink=False)


def _md5(chunks: Iterable[bytes]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
