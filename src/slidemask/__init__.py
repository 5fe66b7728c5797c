"""Turn pathology slides into masks, one readable step at a time.

The eight steps of a slide's journey are here by name, and are loaded when they are first used:
`open_slide`, `lay_grid`, `select`, `Bundle`, `predict`, `clean`, `vectorise`, `score_slide`.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "open_slide": "io.open",
    "lay_grid": "tiles.grid",
    "select": "tiles.select",
    "Bundle": "models.bundle",
    "predict": "infer.predict",
    "clean": "post.clean",
    "vectorise": "post.vectorise",
    "score_slide": "evaluate.score",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
