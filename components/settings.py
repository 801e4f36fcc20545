"""The base of every settings class: frozen, and closed to names it does not know."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A frozen, range-checked piece of params.yaml; an unknown name is an error, not ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
