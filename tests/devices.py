"""What the tests of examples for devices share."""

from pathlib import Path

from shapely.geometry import Polygon

from drawn import Quad

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def worst_overlap(found: list[Quad], wanted: list[Quad]) -> float:
    """Return the smallest over the slides of the best IoU that an outline has with it."""
    shapes = [Polygon(corners) for corners in found]
    return min(
        max(shape.intersection(one).area / shape.union(one).area for shape in shapes)
        for one in map(Polygon, wanted)
    )
