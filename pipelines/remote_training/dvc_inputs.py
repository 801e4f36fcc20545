"""Splits that `dvc push` has put into the storage before: a training uses them there, and nobody uploads them again."""

import json
from pathlib import Path
from urllib.parse import urlsplit

from headrace.components.files.digests import file_digest
from headrace.pipelines.object_store.objects import open_storage
from headrace.pipelines.object_store.published import LinkedFile
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.project import dvc
from headrace.pipelines.project.dvc_records import locked_stages, outputs

_FOLDER = ".dir"  # at the end of the MD5 of a folder, whose object lists its files


def dvc_remote(root: Path, *names: str) -> str | None:
    """Address of DVC's default remote, or of what has these names in it; None where there is none."""
    settings = dvc.config(root)
    name = settings.get("core.remote")
    url = settings.get(f"remote.{name}.url", "")
    if not url:
        return None
    if "://" not in url:
        return str((root / ".dvc" / url).resolve().joinpath(*names))
    endpoint = settings.get(f"remote.{name}.endpointurl")
    return f"{'/'.join([url.rstrip('/'), *names])}{f'?endpoint_url={endpoint}' if endpoint else ''}"


def pushed_splits(paths: PipelinePaths, storage: str) -> dict[str, LinkedFile]:
    """The files of the splits that are here, by their names among the inputs, where DVC's remote has them.

    None where it lacks some, or is another bucket than `storage`: nodes that reach one need not reach the other. DVC
    pushes the list of a folder's files after all of them, so nothing but that list is read.
    """
    if not ProjectPaths(paths.root).dvc_lock.is_file() or not (paths.root / ".dvc").is_dir():
        return {}
    remote = dvc_remote(paths.root)
    if remote is None or not _is_same_place(remote, storage):
        return {}
    md5 = outputs(locked_stages(paths.root, paths.pipeline)).get(paths.splits.relative_to(paths.root).as_posix(), "")
    if not md5.endswith(_FOLDER):
        return {}
    listing = open_storage(remote).read(_object_key(md5))
    listed = {} if listing is None else {entry["relpath"]: entry["md5"] for entry in json.loads(listing)}
    # The manifest has the SHA-256 of every shard: where it is the same, so are they.
    if listed.get(paths.manifest.name) != file_digest(paths.manifest, "md5"):
        return {}
    return {
        f"splits/{name}": LinkedFile(
            size_bytes=(paths.splits / name).stat().st_size, md5=digest, storage=remote, key=_object_key(digest)
        )
        for name, digest in listed.items()
    }


def _object_key(md5: str) -> str:
    return f"files/md5/{md5[:2]}/{md5[2:]}"


def _is_same_place(remote: str, storage: str) -> bool:
    """Whether a node that reads the storage reads the remote, too: they are in one bucket, or in one folder."""
    one, other = urlsplit(remote), urlsplit(storage)
    if one.scheme == "s3":
        return (one.scheme, one.netloc, one.query) == (other.scheme, other.netloc, other.query)
    return not one.scheme and other.scheme in ("", "file") and Path(other.path).is_relative_to(remote)
