import pytest
from pydantic import ValidationError

from headrace.components.sources.file import SourceFile

SHA256 = "0" * 64


@pytest.mark.parametrize(
    ("settings", "scheme"),
    [
        ({"url": "https://example.org/data.csv?x=1", "sha256": SHA256}, "https"),
        ({"url": "http://example.org/data.csv", "allow_http": True}, "http"),
        ({"url": "s3://bucket/a folder/key?x", "version": "3HL4", "anonymous": True}, "s3"),
        ({"url": "/data/numbers.csv"}, "path"),
        ({"url": "landing/numbers.csv"}, "path"),
        ({"url": "../C:/odd"}, "path"),
    ],
)
def test_the_url_says_how_a_file_is_reached(settings, scheme):
    assert SourceFile(name="data.csv", **settings).scheme == scheme


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": ""}, "at least 1 character"),
        ({"url": "http://example.org/a"}, "use https, or set allow_http: true"),
        ({"url": "https://example.org/a", "allow_http": True}, "allow_http is for a url that begins with http://"),
        ({"url": "ftp://example.org/a"}, "must be https://HOST/..., s3://BUCKET/KEY, or a path"),
        ({"url": "file:///data/a"}, "or a path of this machine"),
        ({"url": "HTTPS://example.org/a"}, "must be https://"),
        ({"url": "https:///a"}, "must be https://HOST/..."),
        ({"url": "s3://bucket"}, "s3://BUCKET/KEY"),
        ({"url": "s3://bucket/"}, "s3://BUCKET/KEY"),
        ({"url": "https://me:secret@example.org/a"}, "must hold no user or password"),
        ({"url": "https://example.org/a", "version": "1"}, "are for a url that begins with s3://"),
        ({"url": "data.csv", "anonymous": True}, "are for a url that begins with s3://"),
        ({"url": "data.csv", "sha256": "0"}, "should match pattern"),
        ({"url": "data.csv", "max_bytes": 0}, "greater than or equal to 1"),
        ({"url": "data.csv", "timeout_seconds": 0}, "greater than 0"),
    ],
)
def test_settings_that_do_not_go_together_are_an_error(settings, message):
    with pytest.raises(ValidationError, match=message):
        SourceFile(name="data.csv", **settings)
