"""Parquet files of every foreign type, as a column of every kind: converted as declared, or refused."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import DataError
from headrace.components.examples.example_blocks import prepare
from headrace.components.examples.table import example_table
from headrace.components.examples.validation import check_part
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.sources.parquet import reader
from headrace.components.sources.parquet.reader import parquet_blocks

NUMBER, CATEGORY = {"type": "number"}, {"type": "category"}
DAYS = {"type": "number", "date_format": "iso"}
LABEL = {"type": "category", "name": "kind", "classes": ["0", "1"]}
MOMENT = datetime(2026, 11, 20, 12, tzinfo=UTC)


LOST = "x: too many digits, '9007199254740993.000000000000000000'"


def schema_of(feature=NUMBER, **others) -> ExampleSchema:
    return ExampleSchema.model_validate({"features": {"x": feature}, "label": LABEL, **others})


def write(path, values: pa.Array | list, **options):
    table = pa.table({"more": pa.array([[1]] * len(values)), "kind": ["0", "1"] * (len(values) // 2), "x": values})
    pq.write_table(table, path, **options)
    return path


def read(path, schema: ExampleSchema | None = None) -> pl.DataFrame:
    return pl.concat(part.table for part in parquet_blocks(path, schema=schema or schema_of()))


def typed(path, schema: ExampleSchema) -> list:
    [part] = parquet_blocks(path, schema=schema)
    checked = check_part(part, schema)
    rejected = [f"{row['column']}: {row['reason']}, {row['found']}" for row in checked.rejected.iter_rows(named=True)]
    return rejected or checked.typed["x"].to_list()


@pytest.mark.parametrize(
    ("values", "feature", "expected"),
    [
        (pa.array([1, -2], pa.int8()), NUMBER, [1.0, -2.0]),
        (pa.array([1, 2**53], pa.uint64()), NUMBER, [1.0, 2.0**53]),
        (pa.array([1, 2**53 + 1], pa.int64()), NUMBER, ["x: too many digits, 9007199254740993"]),
        (pa.array([1, 2**64 - 1], pa.uint64()), NUMBER, ["x: too many digits, 18446744073709551615"]),
        (pa.array([1, 2**62], pa.int64()), NUMBER, [1.0, 2.0**62]),  # as a float it has all its digits
        (pa.array([0.5, 2.0], pa.float16()), NUMBER, [0.5, 2.0]),
        (pa.array([0.5, 2.0], pa.float32()), NUMBER, [0.5, 2.0]),
        (pa.array([0.5, float("nan")]), NUMBER, ["x: not finite, NaN"]),
        (pa.array([0.5, float("inf")]), NUMBER, ["x: not finite, inf"]),
        (pa.array([0.5, None]), NUMBER, ["x: missing, None"]),
        (pa.array([None, None]), {**NUMBER, "nullable": True}, [None, None]),
        (pa.array([Decimal("1.50"), Decimal("-2")]), NUMBER, [1.5, -2.0]),
        (pa.array([Decimal(10**20 + 1), Decimal(1)]), NUMBER, ["x: too many digits, '100000000000000000001'"]),
        (pa.array([Decimal(1), Decimal(2)], pa.decimal256(50)), NUMBER, [1.0, 2.0]),
        (pa.array([Decimal(2**53 + 1).scaleb(0), Decimal("0.1")], pa.decimal128(38, 18)), NUMBER, [LOST]),
        (pa.array([Decimal(2**53), Decimal("1E-18")], pa.decimal128(38, 18)), NUMBER, [2.0**53, 1e-18]),
        (pa.array(["9007199254740993.0", "1"]), NUMBER, ["x: too many digits, '9007199254740993.0'"]),
        (pa.array(["9.007199254740993e15", "1"]), NUMBER, ["x: too many digits, '9.007199254740993e15'"]),
        (pa.array(["1", "1e99999999999999999999"]), NUMBER, ["x: not finite, '1e99999999999999999999'"]),
        (pa.array(["9007199254740992.0", "1e300"]), NUMBER, [2.0**53, 1e300]),
        (pa.array(["1e23", "-1.7976931348623157e+308"]), NUMBER, [1e23, -1.7976931348623157e308]),  # float64's own
        (pa.array([True, False]), NUMBER, [1.0, 0.0]),
        (pa.array(["1.5", " 2"]), NUMBER, [1.5, 2.0]),
        (pa.array(["1.5", "two"]), NUMBER, ["x: not a number, 'two'"]),
        (pa.array(["1", "2"]).dictionary_encode(), NUMBER, [1.0, 2.0]),
        (pa.array([date(2026, 11, 20), date(1969, 12, 31)]), DAYS, [20777.0, -1.0]),
        (pa.array([date(2026, 11, 20)] * 2, pa.date64()), DAYS, [20777.0] * 2),
        (pa.array([MOMENT] * 2, pa.timestamp("ms")), DAYS, [20777.5] * 2),
        (pa.array([MOMENT] * 2, pa.timestamp("ns", "Europe/Berlin")), DAYS, [20777.5] * 2),
        (pa.array([1, 10**12], pa.timestamp("s")), DAYS, ["x: not a number, '1000000000000000 ms since 1970'"]),
        (pa.array([0, 2**62], pa.timestamp("ms")), DAYS, [f"x: not a number, '{2**62} ms since 1970'"]),
        (pa.array([0, -(2**63)], pa.timestamp("us")), DAYS, [f"x: not a number, '-{2**63} us since 1970'"]),
        (pa.array([0, 2**63 - 1], pa.timestamp("ns")), DAYS, [0.0, 106751.99116730064]),  # in the year 2262
        (pa.array(["2026-11-20", "20.11.2026"]), DAYS, ["x: not a number, '20.11.2026'"]),
        (pa.array([20261120, 20261121]), {**DAYS, "date_format": "%Y%m%d"}, [20777.0, 20778.0]),
        (pa.array(["a", ""]), {**CATEGORY, "nullable": True}, ["a", None]),
        (pa.array(["a", "b"], pa.large_string()), CATEGORY, ["a", "b"]),
        (pa.array(["a", "b"], pa.string_view()), CATEGORY, ["a", "b"]),
        (pa.array(["a", "b"]).dictionary_encode(), CATEGORY, ["a", "b"]),
        (pa.array([12345678901234567, -1]), CATEGORY, ["12345678901234567", "-1"]),
        (pa.array([True, False]), CATEGORY, ["true", "false"]),
        (pa.array([1.0, None]), {**CATEGORY, "nullable": True}, ["1", None]),  # as pandas writes 1 beside a gap
        (pa.array([1.5, 2.0]), CATEGORY, ["1.5", "2"]),
        (pa.array([Decimal("1.50"), Decimal("2.00")]), CATEGORY, ["1.50", "2.00"]),
    ],
)
def test_a_type_is_converted_as_declared(tmp_path, values, feature, expected) -> None:
    assert typed(write(tmp_path / "x.parquet", values), schema_of(feature)) == expected


@pytest.mark.parametrize(
    ("values", "feature", "message"),
    [
        (pa.array([MOMENT] * 2), NUMBER, r"expected numbers, found timestamp\[us, tz=UTC\]; .* date_format: iso"),
        (pa.array([MOMENT] * 2), {**DAYS, "date_format": "%d/%m/%Y"}, r"as %d/%m/%Y, found .*; .* date_format: iso"),
        (pa.array([date(2026, 11, 20)] * 2), CATEGORY, r"expected text or whole numbers, found date32\[day\]"),
        (pa.array([0.5, 1.0]), DAYS, "expected dates or times as iso, found double"),
        (pa.array([[1], [2]]), NUMBER, "expected numbers, found list<"),
        (pa.array([{"a": 1}, {"a": 2}]), NUMBER, "expected numbers, found struct<a: int64>"),
        (pa.array([[("a", 1)]] * 2, pa.map_(pa.string(), pa.int64())), CATEGORY, "found map<"),
        (pa.array([timedelta(1)] * 2), NUMBER, r"found duration\[us\]"),
        (pa.array([1, 2], pa.time64("us")), NUMBER, r"found time64\[us\]"),
        (pa.array([b"a", b"b"]), CATEGORY, "expected text or whole numbers, found binary"),
    ],
)
def test_another_type_is_refused(tmp_path, values, feature, message) -> None:
    with pytest.raises(DataError, match=rf"x\.parquet: column 'x': .*{message}"):
        read(write(tmp_path / "x.parquet", values), schema_of(feature))


def test_a_key_is_exact(tmp_path) -> None:
    """The same key makes the same id, whether it is a number here or text in a CSV."""
    schema = schema_of(key=["x"], time={"column": "when"})
    table = pa.table({"x": [2**53 + 1, 7], "when": pa.array([MOMENT] * 2), "kind": [0, 1]})
    pq.write_table(table, tmp_path / "x.parquet")
    [part] = parquet_blocks(tmp_path / "x.parquet", schema=schema)
    assert part.table["x"].to_list() == ["9007199254740993", "7"]
    schema = schema_of(CATEGORY, key=["x"], time={"column": "when"})
    [part] = parquet_blocks(tmp_path / "x.parquet", schema=schema)
    assert example_table(check_part(part, schema), schema)["time"].to_list() == [MOMENT, MOMENT]
    pq.write_table(table.set_column(0, "x", pa.array([1.0, 2.0])), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="column 'x': expected text or whole numbers, found double"):
        read(tmp_path / "x.parquet", schema)


@given(st.lists(st.floats(allow_nan=False) | st.none(), min_size=2).filter(lambda values: len(values) % 2 == 0))
@settings(max_examples=25, deadline=None)
def test_floats_come_back_as_they_are(tmp_path_factory, values) -> None:
    path = write(tmp_path_factory.getbasetemp() / "x.parquet", pa.array(values, pa.float64()), row_group_size=2)
    assert read(path)["x"].to_list() == values


def test_columns_go_by_name(tmp_path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"X": [1], "kind": ["0"]}), path)
    with pytest.raises(DataError, match="no column 'x'; found X, kind; did you mean 'X'"):
        read(path)
    pq.write_table(pa.Table.from_arrays([pa.array([1])] * 3, names=["x", "x", "kind"]), path)
    with pytest.raises(DataError, match="column 'x' occurs 2 times"):
        read(path)
    pq.write_table(pa.Table.from_arrays([pa.array([1])] * 3, names=["y", "y", "kind"]), path)
    with pytest.raises(DataError, match="no column 'x'; found y, y, kind"):
        read(path)


def test_a_large_row_group_is_read_in_batches(tmp_path) -> None:
    path = write(tmp_path / "x.parquet", pa.array(range(1_200_000)), row_group_size=1 << 21)
    parts = list(parquet_blocks(path, schema=schema_of(), given_split="test"))
    assert len(parts) > 2
    assert pl.concat(part.table for part in parts)["x"].to_list() == list(range(1_200_000))
    assert {part.given_split for part in parts} == {"test"}


def test_a_damaged_file_is_reported(tmp_path) -> None:
    path = write(tmp_path / "x.parquet", pa.array([float(number) for number in range(1000)]), write_page_checksum=True)
    good = path.read_bytes()
    for content in (b"", b"PAR1", b"not Parquet at all", good[:-1], good[: len(good) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"x\.parquet is a damaged Parquet file, or none"):
            read(path)
    place = good.index(b"PAR1", 4) // 2
    path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
    with pytest.raises(DataError, match=r"x\.parquet is a damaged Parquet file, or none \(.*CRC"):
        read(path)
    with pytest.raises(DataError, match="has no rows"):
        read(write(path, pa.array([], pa.int64())))


def test_a_block_is_prepared_like_any_other(tmp_path) -> None:
    schema = schema_of({**NUMBER, "maximum": 2})
    [part] = parquet_blocks(write(tmp_path / "x.parquet", pa.array([1, 2, 3, 4])), schema=schema)
    prepared = prepare(part, tmp_path / "run.arrow", schema=schema)
    assert (prepared.rows_read, prepared.rejected["row"].to_list()) == (4, [3, 4])


INT96 = {"use_deprecated_int96_timestamps": True, "use_dictionary": False, "compression": "none"}


def test_times_as_spark_writes_them_are_those_of_int64(cases) -> None:
    """INT96 of the years 1500, 2300 and 9999, which nanoseconds can't hold."""
    label = {"type": "category", "name": "y", "classes": ["a", "b"]}
    found = {}
    for name in ("int96", "us"):
        file = cases / "tables" / f"{name}.parquet"
        schema = ExampleSchema.model_validate(
            {"features": {"t": DAYS}, "label": label, "key": ["id"], "time": {"column": "t"}}
        )
        [part] = parquet_blocks(file, schema=schema)
        found[name] = example_table(check_part(part, schema), schema)
    assert found["int96"].equals(found["us"])
    assert sorted(found["us"]["time"].dt.year()) == [1500, 2021, 2300, 9999]


@pytest.mark.parametrize("day", [2**31 - 1, 2**32 - 1, 109_207_168])
def test_an_int96_far_outside_of_the_calendar_is_refused_and_its_neighbours_stay(tmp_path, day) -> None:
    """109,207,168: a Julian day whose microseconds wrap around to one of these centuries."""
    moments = [MOMENT.replace(microsecond=5), MOMENT]
    write(tmp_path / "x.parquet", pa.array(moments, pa.timestamp("us")), **INT96)
    content = (tmp_path / "x.parquet").read_bytes()
    julian = (2_440_588 + 20_777).to_bytes(4, "little")
    last = content.index(julian, content.index(julian) + 1)
    (tmp_path / "x.parquet").write_bytes(content[:last] + day.to_bytes(4, "little") + content[last + 4 :])

    [found] = typed(tmp_path / "x.parquet", schema_of(DAYS))
    assert "not a number" in found
    assert "s since 1970" in found
    schema = schema_of(DAYS, time={"column": "x"})
    [part] = parquet_blocks(tmp_path / "x.parquet", schema=schema)
    assert part.table["x"][0] == "2026-11-20T12:00:00.000005Z"
    assert check_part(part, schema).rejected["reason"].to_list() == ["not a time"]


def test_a_decimal_key_is_exact(cases) -> None:
    schema = ExampleSchema.model_validate(
        {"features": {"c": CATEGORY}, "label": {**LABEL, "name": "y", "classes": ["a", "b"]}, "key": ["id"]}
    )
    assert read(cases / "tables" / "deckey.parquet", schema)["id"].to_list() == ["1.00", "2.00", "3.00", "4.00"]


@pytest.mark.parametrize("encoding", ["dictionary", "delta"])
def test_a_short_file_whose_rows_share_a_long_text_is_read_in_pieces(tmp_path, monkeypatch, encoding):
    monkeypatch.setattr(reader, "_EXPANDED_BYTES", 1 << 22)
    text, rows = "b" * (1 << 16), 256  # 16 MiB at once
    options = {"use_dictionary": False, "column_encoding": {"x": "DELTA_BYTE_ARRAY"}} if encoding == "delta" else {}
    file = write(tmp_path / "rows.parquet", [text] * rows, store_schema=False, compression="zstd", **options)
    assert file.stat().st_size < 1 << 12
    blocks = [part.table for part in parquet_blocks(file, schema=schema_of(CATEGORY))]
    assert sum(block.height for block in blocks) == rows
    assert max(block.height for block in blocks) <= 64


def test_a_column_that_decompresses_beyond_bounds_is_refused_before_it_does(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "_PAGES_BYTES", 1 << 24)
    file = write(tmp_path / "rows.parquet", ["b" * (1 << 24), "c"], compression="zstd", use_dictionary=False)
    with pytest.raises(DataError, match=r"rows.parquet \(\d+ bytes\) decompresses to more than"):
        read(file, schema_of(CATEGORY))


def test_row_groups_without_rows_are_passed_over(tmp_path):
    table = pa.table({"kind": ["0", "1"], "x": ["a", "b"]})
    with pq.ParquetWriter(tmp_path / "rows.parquet", table.schema) as writer:
        for part in (table.slice(0, 0), table, table.slice(0, 0)):
            writer.write_table(part)
    assert pq.read_metadata(tmp_path / "rows.parquet").num_row_groups == 3
    assert read(tmp_path / "rows.parquet", schema_of(CATEGORY))["x"].to_list() == ["a", "b"]


def test_a_footer_that_leads_out_of_the_file_is_damage(tmp_path):
    file = write(tmp_path / "rows.parquet", [number / 7 for number in range(1000)])
    reader.require_footer(file)
    content = file.read_bytes()
    footer_bytes = int.from_bytes(content[-8:-4], "little")
    file.write_bytes(content[:-8] + (2**31 - 1).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(DataError, match=r"rows.parquet is a damaged Parquet file"):
        reader.require_footer(file)
    file.write_bytes(b"PAR1" + content[-footer_bytes - 8 :])  # without its pages
    with pytest.raises(DataError, match=r"rows.parquet is a damaged Parquet file.*outside of the file"):
        reader.require_footer(file)


def test_bytes_in_a_structure_that_many_rows_share_count_as_long_as_they_are(tmp_path):
    images = [{"bytes": b"x" * 1000, "path": "a.png"}] * 10
    pq.write_table(pa.table({"image": images, "label": ["a"] * 10}), tmp_path / "rows.parquet")
    metadata = pq.read_metadata(tmp_path / "rows.parquet")
    assert reader._longest_text(tmp_path / "rows.parquet", metadata, ["image"]) == 1000
    assert reader._longest_text(tmp_path / "rows.parquet", metadata, ["label"]) == 1
