"""Frozen settings: every part of a recipe is one of these."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A frozen group of options; unknown names are errors.

    >>> class Blur(Settings):
    ...     sigma_px: float = 1.0
    >>> Blur(sigma_px=2).sigma_px
    2.0
    """

    # Defaults are validated too: 4000 for a float is 4000.0 then, as when it is read from TOML.
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )


def digest(value: Settings | dict[str, Any]) -> str:
    """Return 16 hex digits that change with any value, whatever the order of the keys.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    plain = value.model_dump(mode="json") if isinstance(value, Settings) else value
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
