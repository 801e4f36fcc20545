"""Shards of published splits as files of one node: fetched from the storage, verified, and kept within a limit."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import stamina

from headrace.components.errors import ServiceError
from headrace.components.training.feeding.window_parts import Shard
from headrace.pipelines.object_store.file_cache import FileCache
from headrace.pipelines.object_store.objects import AwayError, Storage
from headrace.pipelines.object_store.published import DamagedError, Manifest, fetch_file
from headrace.pipelines.ray_train.training_job import is_shard

AWAY_SECONDS = 600.0  # how long a storage that does not answer is waited for
NOTE_SECONDS = 60.0  # between two lines on it
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 30.0


class ShardFiles:
    """Shards of the splits that `manifest` lists, published under `key`.

    `on_note` is called, at most once a minute, with what is waited for. Methods may be called by several threads.
    """

    def __init__(
        self, manifest: Manifest, *, key: str, storage: Storage, cache: FileCache, on_note: Callable[[str], None]
    ) -> None:
        self._manifest, self._key, self._storage, self._cache = manifest, key, storage, cache
        self._on_note, self._next_note_seconds = on_note, 0.0

    @contextmanager
    def opened(self, shard: Shard) -> Iterator[Path]:
        """A shard's file for the length of the block.

        Raises ServiceError where the storage is away for longer than ten minutes or has another object than was
        published, twice in a row, and where the disk is full.
        """
        name = shard_names(self._manifest, shard.split)[shard.number]
        place = name.removeprefix("splits/").replace("/", "-")
        with self._cache.opened(place, next_use=shard.next_use_epoch, fetch=partial(self._fetch, name)) as file:
            yield file

    def _fetch(self, name: str, file: Path) -> None:
        was_damaged = False

        def may_pass(error: Exception) -> bool:
            nonlocal was_damaged
            if isinstance(error, DamagedError) and not was_damaged:
                was_damaged = True
            elif not isinstance(error, AwayError):
                return False
            self._note(f"{error}; it is fetched again")
            return True

        retry = stamina.RetryingCaller(
            attempts=None, timeout=AWAY_SECONDS, wait_initial=FIRST_WAIT_SECONDS, wait_max=LONGEST_WAIT_SECONDS
        )
        try:
            retry(
                may_pass,
                fetch_file,
                name,
                self._manifest.files[name],
                file,
                key=self._key,
                storage=self._storage,
            )
        except AwayError as error:
            raise ServiceError(
                f"{error}; waited for {AWAY_SECONDS:.0f} s: see that the storage is up, and start the same command "
                "again, which continues from the last checkpoint"
            ) from error

    def _note(self, note: str) -> None:
        """Say it, unless something was said within the last minute: many shards may wait for one storage."""
        if time.monotonic() >= self._next_note_seconds:
            self._next_note_seconds = time.monotonic() + NOTE_SECONDS
            self._on_note(note)


def shard_names(manifest: Manifest, split: str) -> list[str]:
    """Names of a split's shards among the inputs, in the order of their rows."""
    return sorted(name for name in manifest.files if is_shard(name, split))
