"""No secret of an address is in what users see."""

import json
import string
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.components.errors import DataError, ParamsError, ServiceError
from headrace.components.redaction import redacted

SECRET_KEYS = [
    *("X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "AWSAccessKeyId", "Signature"),
    *("X-Goog-Signature", "X-Goog-Credential", "GoogleAccessId"),
    *("sig", "se", "sv", "sp", "skoid"),  # Azure SAS
    *("Policy", "Key-Pair-Id", "OSSAccessKeyId", "x-oss-signature"),
    *("token", "access_token", "auth", "apikey", "api_key", "key", "code", "password", "pwd", "secret", "session"),
]
TEXTS = [
    "{}",
    "can't read {}: not found. Check the url",
    "found '{}'",
    "found [{{'name': 'a.csv', 'url': '{}'}}]",
    "({}), {{}}",
    '{{"url":"{}"}}',
    "<{}>",
    "first https://a.example/b and then {}",
    "{} and then https://a.example/b",
]
secrets = st.text(string.ascii_letters + string.digits, min_size=6, max_size=20).map("S3cr3t".__add__)
# As users paste them: not all of it quoted as it should be.
raw = st.text("abXY09:/?#@[]!$&()*+,;=%-._~", max_size=8)


def addresses(secret: str, before: str, after: str) -> list[str]:
    raw_secret = f"{before}{secret}{after}"
    quoted = quote(raw_secret, safe="")
    return [
        f"https://ann:{raw_secret}@host.example/x.csv",
        f"https://{quoted}@host.example/x.csv",
        f"postgresql+psycopg2://ann:{quoted}@host:5432/db?x={quoted}",
        f"s3://{quoted}:x@bucket/key",
        *(f"https://host.example:8080/x.csv?a=1&{key}={quoted}&b=2" for key in SECRET_KEYS),
        f"https://host.example/x.csv?{quoted}",
        f"https://host.example/x#access_token={quoted}",
    ]


@given(secret=secrets, before=raw, after=raw, text=st.sampled_from(TEXTS))
@example(secret="S3cr3tabcdef", before="pa/", after="@", text="{}")
@example(secret="S3cr3tabcdef", before="?", after="#", text="{}")
def test_no_secret_of_an_address_survives(secret, before, after, text):
    for address in addresses(secret, before, after):
        shown = redacted(text.format(address))
        assert secret not in shown, (address, shown)
        assert redacted(shown) == shown
        for kind in (ParamsError, ServiceError, DataError):
            assert secret not in str(kind(text.format(address)))


@given(secret=secrets)
def test_a_password_with_blanks_and_quotes_does_not_survive(secret):
    for password in (f"my {secret}", f"it's{secret}", f'a"{secret}'):
        assert secret not in redacted(f"found {f'https://ann:{password}@host/x'!r}")
        assert secret not in redacted(json.dumps({"url": f"https://ann:{password}@host/x"}))


@given(secret=secrets, key=st.sampled_from([key for key in SECRET_KEYS if key not in ("se", "sv", "sp", "skoid")]))
def test_a_relative_address_and_a_header_hide_it_too(secret, key):
    assert secret not in redacted(f"Max retries exceeded with url: /api?x=1&{key}={secret} (Caused by ...)")
    assert secret not in redacted(f"headers: {{'Authorization': 'Bearer {secret}'}}")
    assert secret not in redacted(f"authorization: Basic {secret}==")


@pytest.mark.parametrize(
    "text",
    [
        "can't read /data/rows.csv: no such file",
        "https://host.example/a/b@2x.png: the server answers 404 Not Found. Check the url",
        "s3://bucket/key@v1 and http://127.0.0.1:5000/#/experiments/1/runs/0a1b",
        "training.tokens: expected at most 5, found 7; token_counts?",
        "python a.py --key=value a=b",
        "2 + 2 = 4",
    ],
)
def test_what_is_no_secret_stays(text):
    assert redacted(text) == text
