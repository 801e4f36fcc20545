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
# A value of some length behind a name of a secret, keys by their own form, and the head of a key file.
_ASSIGNED = re.compile(
    r"(?i)\b[\w.-]*(?:password|passwd|secret|api_?key|access_?key|private_?key|auth_?token|access_?token)[\w.-]*[\"']?"
    r"\s*[:=]\s*[\"']?[^\s\"'{}()\[\],]{6,}"
)
_KEY = re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_\w{36}\b|\bglpat-[\w-]{20}|-----BEGIN [A-Z ]*PRIVATE KEY")


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


def holds_secret(text: str) -> bool:
    """Whether a text seems to hold a secret: in an address, behind a name such as api_key, or by its form.

    >>> holds_secret("api_key: 0123456789")
    True
    """
    return redacted(text) != text or bool(_ASSIGNED.search(text) or _KEY.search(text))
