"""Pages of studies, in the look of the other reports: one HTML file, no scripts, no network."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from slidemask.base.files import write_text
from slidemask.evaluate import wording
from slidemask.evaluate.embed import embedded
from slidemask.evaluate.page import CAUTION


def write_page(path: Path, template: str, values: Mapping[str, Any]) -> Path:
    """Fill a template and write it; `picture("name.png")` in it embeds a file beside `path`.

    Raises
    ------
    OutputError
        If it cannot be written.
    """

    def picture(name: str) -> str | None:
        return embedded(path.parent / name, 1600)

    page = _environment().get_template(template)
    write_text(path, page.render(caution=CAUTION, picture=picture, **values))
    return path


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=ChoiceLoader(
            [PackageLoader("slidemask.recipes.study"), PackageLoader("slidemask.evaluate")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("figure", "number", "percent", "duration"):
        environment.filters[name] = getattr(wording, name)
    return environment
