"""What all reports share: one HTML file each, all inside it, no scripts, no network."""

import json
from functools import cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from slidemask.evaluate import wording

CAUTION: Final = "Research use only. Not for diagnosis."


def render(template: str, **values: Any) -> str:  # noqa: ANN401 - whatever a template shows
    """Fill one of the templates; the caution line is always there."""
    return _environment().get_template(template).render(caution=CAUTION, **values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("slidemask.evaluate"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("figure", "number", "percent", "duration"):
        environment.filters[name] = getattr(wording, name)
    environment.filters["pretty"] = _pretty
    return environment


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
