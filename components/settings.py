"""The base of every settings class: frozen, and closed to names it does not know."""

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A frozen, range-checked piece of params.yaml; an unknown name is an error, not ignored.

    Types are strict: `true` is no number, `"1"` no integer; an integer is a number. From JSON, a list may be a tuple.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


def in_utc(moment: datetime) -> datetime:
    """Return the moment in UTC; one without a zone is taken to be in UTC."""
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
