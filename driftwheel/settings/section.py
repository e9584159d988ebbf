"""The base class of every section of the settings."""

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

LONGEST_SECONDS, LONGEST_DAYS = 10 * 366 * 86_400, 100 * 366
"""Ten years and a hundred: longer times are slips of the pen, and clocks and calendars overflow somewhere beyond."""


class Section(BaseModel):
    """A part of the settings: frozen, unknown keys refused, the docstring under a field is its help.

    A number is finite, and a time has an end: fields that end in `_seconds` and `_days` are bounded here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _times_end(self) -> Self:
        for name, value in self:
            longest = LONGEST_SECONDS if name.endswith("_seconds") else LONGEST_DAYS if name.endswith("_days") else None
            if longest is not None and isinstance(value, int | float) and value > longest:
                raise ValueError(f"{name} is at most {longest} (got {value:g})")
        return self
