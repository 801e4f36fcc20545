"""Predictions in parts: each file of a folder once, whatever happened to an earlier run."""

import hashlib
import json
import pickle
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import polars as pl
import pytest

from headrace.components.errors import DataError, ParamsError, ServiceError
from headrace.pipelines.commands.arguments import local_path
from headrace.pipelines.commands.inference.predict_parts import predict_parts, require_apart
from headrace.pipelines.commands.inference.predictions import write_predictions
from headrace.pipelines.commands.inference.predictions_on_ray import predict_on_ray

UNLABELLED = ("toss", "spin", "metal")


def as_elsewhere(function: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]:
    """A map that sends all it calls through pickle, as another process gets it; a model would not fit."""
    sent = pickle.dumps(function)
    assert len(sent) < 20_000
    for item in items:
        yield pickle.loads(sent)(pickle.loads(pickle.dumps(item)))


def run(coins: Any, folder: Path, **options: Any) -> Any:
    settings = {"alias": "champion", "map_": as_elsewhere, "share_model": False} | options
    places = {"input_place": str(folder / "rows"), "output_place": str(folder / "predictions")} | {
        name: settings.pop(name) for name in ("input_place", "output_place") if name in settings
    }
    return predict_parts(coins.pipeline, coins.paths, **places, **settings)


@pytest.fixture
def folder(coins: Any, tmp_path: Path) -> Path:
    """A folder of three files of rows, one in a folder of its own, beside a file of another kind."""
    (tmp_path / "rows" / "later").mkdir(parents=True)
    for place, name in enumerate(("a.csv", "b.csv", "later/a.csv")):
        coins.write(
            tmp_path / "rows" / name, coins.tosses(20 + place, seed=place, first=100 * place), columns=UNLABELLED
        )
    (tmp_path / "rows" / "notes.md").write_text("no rows")
    (tmp_path / "rows" / "_unfinished.csv").write_text("toss,spin")
    return tmp_path


def states(folder: Path) -> dict[str, tuple[int, int]]:
    files = list((folder / "predictions").rglob("*.parquet"))
    return {
        str(file.relative_to(folder / "predictions")): (file.stat().st_ino, file.stat().st_mtime_ns) for file in files
    }


def test_each_file_becomes_a_part_with_the_bits_of_a_prediction_of_its_own(coins: Any, folder: Path) -> None:
    manifest = run(coins, folder)

    assert [one.part for one in manifest.parts] == ["a.csv.parquet", "b.csv.parquet", "later/a.csv.parquet"]
    assert (manifest.rows, manifest.version) == (63, 1)
    for one in manifest.parts:
        part, [source] = folder / "predictions" / one.part, one.inputs
        assert hashlib.sha256(part.read_bytes()).hexdigest() == one.sha256
        alone = folder / "alone.parquet"
        write_predictions(
            coins.pipeline, coins.paths, input_file=folder / "rows" / source.name, output_file=alone, alias="champion"
        )
        assert pl.read_parquet(part).equals(pl.read_parquet(alone))
    written = json.loads((folder / "predictions" / "manifest.json").read_text())
    assert written["parts"] == json.loads(manifest.model_dump_json())["parts"]
    assert not list((folder / "predictions").rglob("*.keras"))


def test_only_what_is_missing_or_changed_is_made_again(coins: Any, folder: Path) -> None:
    predictions = folder / "predictions"
    run(coins, folder)
    before = states(folder)
    assert states(folder) == before  # nothing was to be done
    run(coins, folder)
    assert states(folder) == before

    (predictions / "a.csv.parquet").write_bytes(b"cut short")
    (predictions / "_headrace" / "parts" / "b.csv.parquet.json").write_text('{"part": "b.')
    coins.write(folder / "rows" / "new.csv", coins.tosses(5, seed=9, first=900), columns=UNLABELLED)
    manifest = run(coins, folder)
    after = states(folder)
    assert {name for name in after if after[name] != before.get(name)} == {
        "a.csv.parquet",
        "b.csv.parquet",
        "new.csv.parquet",
    }
    assert manifest.rows == 68
    tosses = pl.concat([pl.read_parquet(predictions / one.part) for one in manifest.parts])["toss"]
    assert tosses.n_unique() == len(tosses) == 68

    coins.write(folder / "rows" / "a.csv", coins.tosses(7, seed=5, first=500), columns=UNLABELLED)
    (folder / "rows" / "b.csv").unlink()
    manifest = run(coins, folder, share_model=True)
    assert {one.part: one.rows for one in manifest.parts}["a.csv.parquet"] == 7
    assert "b.csv.parquet" in {one.part for one in manifest.parts}  # its predictions stay
    assert not list(predictions.rglob("*.keras"))


def test_a_damaged_file_is_named_in_one_line_and_the_others_are_kept(coins: Any, folder: Path) -> None:
    good = (folder / "rows" / "b.csv").read_text()
    (folder / "rows" / "b.csv").write_text(good + "1,2\n")
    (folder / "rows" / "later" / "a.csv").write_bytes(b"PAR1")
    with pytest.raises(DataError) as refused:
        run(coins, folder)
    said = str(refused.value)
    assert said.startswith("2 of 3 parts can't be predicted, the others are written and kept")
    assert "b.csv, row 22: expected 3 values, found 2" in said
    assert "later/a.csv: a.csv: no column" in said
    assert "\n" not in said
    before = states(folder)
    assert list(before) == ["a.csv.parquet"]
    assert not (folder / "predictions" / "manifest.json").exists()  # it is not whole

    (folder / "rows" / "b.csv").write_text(good)
    (folder / "rows" / "later" / "a.csv").unlink()
    assert run(coins, folder).rows == 41
    assert states(folder)["a.csv.parquet"] == before["a.csv.parquet"]


def test_a_run_that_is_cut_short_continues(coins: Any, folder: Path) -> None:
    def cut_short(function: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]:
        for place, item in enumerate(items):
            if place == 1:
                raise KeyboardInterrupt
            yield function(item)

    with pytest.raises(KeyboardInterrupt):
        run(coins, folder, map_=cut_short)
    before = states(folder)
    assert len(before) == 1
    assert not (folder / "predictions" / "manifest.json").exists()
    assert run(coins, folder).rows == 63
    assert states(folder).items() >= before.items()


def test_an_output_of_other_settings_or_inputs_is_refused(coins: Any, folder: Path) -> None:
    run(coins, folder)
    before = states(folder)
    (folder / "other").mkdir()
    coins.write(folder / "other" / "a.csv", coins.tosses(5, seed=9), columns=UNLABELLED)
    for options in ({"submission": True}, {"keep_inputs": True}, {"input_place": str(folder / "other")}):
        with pytest.raises(ParamsError, match=r"predictions has parts of coins version 1 and .*give another --output"):
            run(coins, folder, **options)
    assert states(folder) == before


def test_the_model_that_a_worker_loads_is_the_registered_one(
    coins: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swap(function: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]:
        [shared] = (folder / "predictions").rglob("*.keras")
        shared.write_bytes(b"another model")
        yield from map(function, items)

    from headrace.pipelines.commands.inference import prediction_part

    prediction_part._loaded.cache_clear()
    with pytest.raises(DataError, match="is not the model that was registered: expected"):
        run(coins, folder, share_model=True, map_=swap)
    assert states(folder) == {}


def test_rows_are_kept_for_monitoring(coins: Any, folder: Path) -> None:
    run(coins, folder, keep_inputs=True)
    found = pl.read_parquet(folder / "predictions" / "a.csv.parquet")
    assert {"input.spin", "input.metal", "prediction"} <= set(found.columns)


def test_a_file_that_is_changed_while_it_is_read_is_not_taken(
    coins: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headrace.pipelines.commands.inference import prediction_part

    write = prediction_part.write_parts

    def change(*arguments: Any, **options: Any) -> int:
        rows = write(*arguments, **options)
        (folder / "rows" / "a.csv").write_text("toss,spin,metal\n1,2,tin\n")
        return rows

    monkeypatch.setattr(prediction_part, "write_parts", change)
    with pytest.raises(ServiceError, match=r"a\.csv was changed while it was read; run again"):
        run(coins, folder)
    assert states(folder) == {}


@pytest.mark.parametrize(
    ("read", "written"), [("/a", "/a/b"), ("/a/b", "/a"), ("/a", "/a"), ("s3://a/b?endpoint_url=x", "s3://a/b/c")]
)
def test_an_output_among_the_inputs_is_refused(read: str, written: str) -> None:
    with pytest.raises(ParamsError, match="lie in each other"):
        require_apart(read, written)
    require_apart("/a", "/ab")


def test_folders_of_nothing_or_of_both_are_refused(coins: Any, folder: Path) -> None:
    for name in ("nothing", "both"):
        (folder / name).mkdir()
    (folder / "both" / "a.csv").touch()
    (folder / "both" / "a.png").touch()
    (folder / "nothing" / "a.md").touch()
    for name, message in (("nothing", "no files to predict"), ("both", "has tables and images")):
        with pytest.raises((ParamsError, DataError), match=message):
            run(coins, folder, input_place=str(folder / name), output_place=str(folder / "out"))
    assert not (folder / "out").exists()


class Bucket(BaseHTTPRequestHandler):
    """What is used of S3's API: objects are files below `root`, buckets its folders."""

    root: Path

    def log_message(self, *_: Any) -> None:
        pass

    @property
    def file(self) -> Path:
        return self.root / unquote(urlsplit(self.path).path).strip("/")

    def answer(self, status: int, content: bytes = b"", *, tag: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if tag:
            self.send_header("ETag", tag)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        if "list-type" in query:
            found = sorted(file for file in self.file.rglob("*") if file.is_file())
            keys = {str(file.relative_to(self.file)): tag_of(file.read_bytes()) for file in found}
            entries = [
                f"<Contents><Key>{key}</Key><ETag>{tag}</ETag></Contents>"
                for key, tag in keys.items()
                if key.startswith(query["prefix"][0])
            ]
            self.answer(200, f"<ListBucketResult>{''.join(entries)}</ListBucketResult>".encode())
        elif not self.file.is_file():
            self.answer(404, b"<Error><Code>NoSuchKey</Code><Message>not there</Message></Error>")
        else:
            content = self.file.read_bytes()
            self.answer(200, content, tag=tag_of(content))

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("If-None-Match") == "*" and self.file.exists():
            self.answer(412, b"<Error><Code>PreconditionFailed</Code><Message>there</Message></Error>")
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_bytes(content)
        self.answer(200, tag=tag_of(content))

    def do_DELETE(self) -> None:
        self.file.unlink(missing_ok=True)
        self.answer(204)


def tag_of(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


@pytest.fixture
def endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    variables = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "eu-1"}
    variables |= dict.fromkeys(
        ("AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION"), "when_required"
    )
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    handler = type("Handler", (Bucket,), {"root": tmp_path / "buckets"})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_bucket_is_predicted_into_another_and_equal_objects_are_not_read_again(
    coins: Any, folder: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headrace.pipelines.commands.inference import prediction_part

    shutil.copytree(folder / "rows", folder / "buckets" / "landing" / "today")
    places = {
        "input_place": f"s3://landing/today?endpoint_url={endpoint}",
        "output_place": f"s3://results/coins?endpoint_url={endpoint}",
    }
    first = run(coins, folder, share_model=True, **places)
    assert first.rows == 63
    here = run(coins, folder)
    assert [one.sha256 for one in first.parts] == [one.sha256 for one in here.parts]  # the same bytes

    def refuse(*_: Any) -> None:
        raise AssertionError("it was read again")

    monkeypatch.setattr(prediction_part, "_fetched", refuse)
    assert run(coins, folder, share_model=True, **places) == first
    assert not list((folder / "buckets").rglob("*.keras"))


def test_what_is_no_folder_of_files_is_refused_before_any_work(coins: Any, folder: Path) -> None:
    given = {"alias": "champion", "submission": False, "keep_inputs": False}
    rows, predictions = str(folder / "rows"), str(folder / "predictions")
    for places, message in (
        ((rows, None), "expected --output FOLDER or s3://BUCKET/PREFIX, found none"),
        ((rows, "all.parquet"), r"found all\.parquet"),
        ((f"{rows}/a.csv", predictions), "takes a folder or s3://BUCKET/PREFIX"),
        ((rows, f"{rows}/predictions"), "lie in each other"),
    ):
        with pytest.raises(ParamsError, match=message):
            predict_on_ray(coins.pipeline, coins.paths, input_place=places[0], output_place=places[1], **given)
    with pytest.raises(ParamsError, match=r"--input s3://a/b: a bucket is for --engine ray"):
        local_path("--input", "s3://a/b")
    with pytest.raises(ParamsError, match=r"--output .*expected a file, found a folder"):
        local_path("--output", rows, is_file=True)
