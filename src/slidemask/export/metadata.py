"""What a file tells whoever opens it, as names and texts."""

import json

from slidemask.models.bundle import Bundle


def metadata_of(bundle: Bundle, precision: str) -> dict[str, str]:
    """Return what is written into every format that can hold it; structured values as JSON.

    Classes, background first, with their colours; the resolution and side of tiles; settings of
    later stages; where it comes from.
    """
    info = bundle.info
    classes = [
        {"name": name, "colour": colour}
        for name, colour in zip(info.classes.names, info.classes.colours, strict=True)
    ]
    tiling = info.tiling.model_dump(mode="json", exclude_none=True)
    told = {
        "name": info.name,
        "digest": bundle.digest,
        "precision": precision,
        "classes": _json(classes),
        "tiling": _json(tiling),
        "use": _json(info.use),
        "caution": "Research use only. Not for diagnosis.",
    }
    licence = info.provenance.get("licence")
    return told | ({"licence": str(licence)} if licence else {})


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
