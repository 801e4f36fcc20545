"""Secrets out of text that people see: what an address holds beside its host and path."""

import re

HIDDEN = "***"

# Up to the last @ before the path; behind a colon up to the last of all, since a password may have a / in it.
_USER = re.compile(r"(?<=://)(?:[^\s/?#:@]*:\S*|[^\s/?#]*|[^/?#\n\"']*)@")
# All of a query, whose names of secrets nobody can list; a fragment unless it is a page's own path, as MLflow's is.
_QUERY = re.compile(r"(://[^\s?#]*)([?#])(?!/)\S+?(?=[\"'\]})>,.;:]*(?:\s|$))")
# Without a scheme, as in "Max retries exceeded with url: /mlflow?token=..."
_NAMED = re.compile(
    r"(?i)([?&](?:[\w.%-]*(?:token|secret|passw|pwd|signature|credential|auth|api[_-]?key|access[_-]?key)[\w.%-]*"
    r"|[\w.%-]*(?:accesskeyid|accessid|session)[\w.%-]*|sig|key|pass|code|jwt|policy|key-pair-id)=)[^\s&#\"'<>]+"
)
_HEADER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}")


def redacted(text: str) -> str:
    """The text without user, password and query of any address in it, and without tokens of HTTP headers.

    >>> redacted("can't read https://ann:pw@host/rows.csv?sig=x: not found")
    "can't read https://***@host/rows.csv?***: not found"
    """
    if "://" in text:
        text = _QUERY.sub(rf"\1\2{HIDDEN}", _USER.sub(f"{HIDDEN}@", text))
    if "=" in text:
        text = _NAMED.sub(rf"\1{HIDDEN}", text)
    return _HEADER.sub(rf"\1 {HIDDEN}", text)
