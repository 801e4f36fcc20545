"""Bytes that the nodes of a training read from a bucket: of a split that is fetched whole by each, and of one spread.

    python bench/spread_data.py --nodes 64

Each node has one worker; all are in this process. The bucket is a server of S3's API on loopback, which counts what it
sends. Nothing is trained: every worker gets the rows of all of its batches.
"""

import argparse
import hashlib
import os
import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import polars as pl

from headrace.components.examples import shards
from headrace.components.training.batches import Windows
from headrace.components.training.feeding.window_parts import NodeRows, ShardLayout, WindowPart
from headrace.pipelines.object_store.file_cache import FileCache
from headrace.pipelines.object_store.objects import Storage, open_storage
from headrace.pipelines.object_store.published import MANIFEST, Manifest, StoredFile, fetch
from headrace.pipelines.ray_train.shard_files import ShardFiles

SHARDS, SHARD_EXAMPLES, COLUMNS = 256, 128, 64
KEY, EPOCHS, SEED = "inputs/bench", 2, 7
# Shards in a block of a window, and which share of a node's shards its cache holds.
CASES = [(8.3, 0.0), (8.3, 0.25), (8.3, 1.0), (2.3, 0.0), (2.3, 0.25), (0.6, 0.0), (0.6, 0.25)]


def main() -> None:
    """Print the bytes of each case, as multiples of the split."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=64)
    parser.add_argument("--cases", type=int, nargs="+", choices=range(len(CASES)), default=range(len(CASES)))
    arguments = parser.parse_args()
    nodes = arguments.nodes
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        manifest = write_split(folder / "bucket")
        split_bytes = sum(file.size_bytes for file in manifest.files.values())
        with bucket(folder) as (storage, sent):
            fetch(KEY, folder / "whole", storage=storage)
            whole = sent.total() / split_bytes
            print(f"{nodes} nodes, {SHARDS} shards, {split_bytes / 2**20:.1f} MiB in all; multiples of that:")
            print(f"fetched whole by each node, before the first step: {whole:.2f} x {nodes} = {whole * nodes:.1f}")
            print(
                f"{'shards a block':>14} {'cache / share':>14} {'epoch 1':>8} {'epoch 2':>8} {'requests':>9} {'s':>6}"
            )
            for number in arguments.cases:
                block, cache = CASES[number]
                begin_seconds = time.perf_counter()
                epochs, requests = train(
                    folder / str(number), manifest, storage, sent, nodes=nodes, block_shards=block, cache_share=cache
                )
                seconds = time.perf_counter() - begin_seconds
                one, two = (one / split_bytes for one in epochs)
                print(f"{block:14g} {cache:14g} {one:8.2f} {two:8.2f} {requests:9} {seconds:6.1f}", flush=True)


def train(
    folder: Path,
    manifest: Manifest,
    storage: Storage,
    sent: "Counter[str]",
    *,
    nodes: int,
    block_shards: float,
    cache_share: float,
) -> tuple[list[int], int]:
    """Bytes of each epoch, and GET requests of both."""
    layout = ShardLayout(SHARDS * SHARD_EXAMPLES, SHARD_EXAMPLES, nodes)
    windows = Windows(layout.examples, 16 * nodes, int(16 * block_shards * SHARD_EXAMPLES))
    share_bytes = sum(file.size_bytes for file in manifest.files.values()) / nodes
    readers = []
    for node in range(nodes):
        cache = FileCache(folder / str(node), limit_bytes=int(1.02 * cache_share * share_bytes))
        files = ShardFiles(manifest, key=KEY, storage=storage, cache=cache, on_note=print)
        readers.append(NodeRows(node=node, open_shard=files.opened))
    sent.clear()
    bytes_before, found = 0, []
    with ThreadPoolExecutor(8) as threads:
        for epoch in range(EPOCHS):
            for number in range(epoch * windows.count, (epoch + 1) * windows.count):
                parts = [WindowPart("train", layout, windows, SEED, number, rank, nodes) for rank in range(nodes)]
                for part in parts:
                    assert_whole(part, list(threads.map(lambda reader, part=part: reader.rows(part), readers)))
            found.append(sent.total() - sent["requests"] - bytes_before)
            bytes_before += found[-1]
    return found, sent["requests"]


def assert_whole(part: WindowPart, tables: list[pl.DataFrame | None]) -> None:
    """Raise ValueError unless a worker has got all of its rows."""
    rows = sum(len(table) for table in tables if table is not None)
    if rows != len(part.rows):
        raise ValueError(f"worker {part.rank} has {rows} of {len(part.rows)} rows of window {part.number}")


def write_split(bucket_folder: Path) -> Manifest:
    """A split of random numbers, which no compression makes smaller, as it is published."""
    folder = bucket_folder / KEY / "splits" / "train"
    generator = np.random.default_rng(0)
    values = pl.DataFrame(
        {"x": generator.normal(size=(SHARDS * SHARD_EXAMPLES, COLUMNS)).astype(np.float32)},
        schema={"x": pl.Array(pl.Float32, COLUMNS)},
    )
    shards.write(values, folder, rows_per_file=SHARD_EXAMPLES)
    manifest = Manifest(
        files={
            f"splits/train/{file.name}": StoredFile(
                size_bytes=file.stat().st_size, sha256=hashlib.sha256(file.read_bytes()).hexdigest()
            )
            for file in shards.files(folder)
        }
    )
    (bucket_folder / KEY / MANIFEST).write_text(manifest.model_dump_json(), encoding="utf-8")
    return manifest


@contextmanager
def bucket(folder: Path) -> Iterator[tuple[Storage, "Counter[str]"]]:
    """A bucket, and the bytes that it has sent by key beside its count of requests."""
    sent: Counter[str] = Counter()
    lock = threading.Lock()

    class Bucket(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            file = folder / unquote(urlsplit(self.path).path).strip("/")
            content = file.read_bytes() if file.is_file() else b""
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            part = content[int(found[1]) : int(found[2]) + 1] if found else content
            self.send_response((206 if found else 200) if file.is_file() else 404)
            self.send_header("Content-Length", str(len(part)))
            self.send_header("ETag", '"1"')
            self.send_header("Last-Modified", "Mon, 30 Nov 2026 00:00:00 GMT")
            if found:
                self.send_header("Content-Range", f"bytes {found[1]}-{found[2]}/{len(content)}")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(part)
                if file.name != MANIFEST:
                    with lock:
                        sent[self.path] += len(part)
                        sent["requests"] += 1

    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "eu-1"}
    with ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield open_storage(f"s3://bucket?endpoint_url=http://127.0.0.1:{server.server_port}"), sent
        server.shutdown()


if __name__ == "__main__":
    main()
