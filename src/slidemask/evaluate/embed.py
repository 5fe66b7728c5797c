"""Pictures inside an HTML page."""

import base64
from pathlib import Path

import cv2
import numpy as np

LONGEST_PX = 1400
FULL_SIZE_PICTURES = 20
"""With more pictures each gets smaller, so that the page stays below some 10 MB."""


def side_for(pictures: int) -> int:
    """Return the longest side of each of so many pictures.

    >>> side_for(3), side_for(80), side_for(5000)
    (1400, 700, 320)
    """
    shrink = (FULL_SIZE_PICTURES / max(FULL_SIZE_PICTURES, pictures)) ** 0.5
    return max(320, round(LONGEST_PX * shrink))


def embedded(path: Path, longest_px: int = LONGEST_PX) -> str | None:
    """Return a picture file as a JPEG data URL, at most `longest_px` on its longer side.

    None if there is no such file, or it is no picture: a report does without.
    """
    if not path.is_file():
        return None
    data = np.frombuffer(path.read_bytes(), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if picture is None:
        return None
    scale = longest_px / max(picture.shape[:2])
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 88])
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}"
