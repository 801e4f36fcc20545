import json

import pytest
from pydantic import ValidationError

from headrace.components.errors import ParamsError
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.sources.inline import InlineSource
from headrace.components.sources.raw_files import FoundFiles


def test_inline_rows_keep_whole_numbers_whole():
    """A class "1" written as 1 must not become "1.0"."""
    assert InlineSource.model_validate({"rows": [{"kind": 1, "size": 1.5, "name": "a", "none": None}]}).rows == (
        {"kind": 1, "size": 1.5, "name": "a", "none": None},
    )
    with pytest.raises(ValidationError, match="at least 1"):
        InlineSource(rows=())


def test_rows_are_written_and_read_as_they_stand(tmp_path) -> None:
    rows = [{"kind": 1, "size": 1.5}, {"kind": "é", "size": None}]
    source = InlineSource.model_validate({"rows": rows})
    schema = ExampleSchema.model_validate(
        {"features": {"size": {"type": "number"}}, "label": {"type": "category", "name": "kind", "classes": ["1", "é"]}}
    )
    source.check_schema(schema)
    [needed] = source.raw_files(schema)
    needed.write(tmp_path / needed.name)
    assert [json.loads(line) for line in (tmp_path / "rows-0.jsonl").read_text().splitlines()] == rows
    [part] = source.open_parts([FoundFiles((tmp_path / needed.name,))], schema)
    [block] = part.read()
    assert block.read().table.rows() == [("1.5", "1"), (None, "é")]


def test_an_image_is_no_row() -> None:
    image = {"features": {"photo": {"type": "image", "height": 2, "width": 2}}}
    schema = ExampleSchema.model_validate({**image, "label": {"type": "number", "name": "size"}})
    with pytest.raises(ParamsError, match=r"ingest\.features\.photo: a source of kind 'inline' gives no images"):
        InlineSource.model_validate({"rows": [{"size": 1}]}).check_schema(schema)
