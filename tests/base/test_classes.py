"""Class maps: every annotation name means one class, and impossible maps are refused."""

import pytest
from pydantic import ValidationError

from slidemask.base.classes import ClassInfo, ClassMap

TWO = ClassMap(
    classes=(
        ClassInfo(name="gland", colour=(1, 2, 3), annotations=("Crypt", "Drüse")),
        ClassInfo(name="stroma"),
    ),
    region="ROI",
    ignored=("pen",),
)


def test_names_and_colours_go_by_index() -> None:
    assert TWO.names == ("background", "gland", "stroma")
    assert TWO.colours[:2] == ((255, 255, 255), (1, 2, 3))


@pytest.mark.parametrize(
    ("name", "index"),
    [("gland", 1), ("GLAND", 1), ("crypt", 1), ("DRÜSE", 1), ("Stroma", 2), ("pen", None)],
)
def test_annotation_names_are_found_whatever_their_case(name: str, index: int | None) -> None:
    assert TWO.index_of(name) == index


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"classes": []}, "at least 1"),
        ({"classes": [{"name": "a"}, {"name": "A"}]}, "more than one class"),
        ({"classes": [{"name": "a", "annotations": ["x"]}, {"name": "x"}]}, "more than one class"),
        ({"classes": [{"name": "a"}], "region": "A"}, "more than one class|region"),
        ({"classes": [{"name": "a"}], "ignored": ["a"]}, "ignored"),
        ({"classes": [{"name": "Background"}]}, "background"),
        ({"classes": [{"name": ""}]}, "at least 1 character"),
        ({"classes": [{"name": "a", "colour": [0, 0, 256]}]}, "less than or equal to 255"),
        ({"classes": [{"name": "a", "colour": [0, -1, 0]}]}, "greater than or equal to 0"),
        ({"classes": [{"name": "a", "values": [70_000]}]}, "less than or equal to 65535"),
        (
            {"classes": [{"name": "a", "values": [7]}, {"name": "b", "values": [8, 7]}]},
            r"\[7\] .*more than one class",
        ),
        ({"classes": [{"name": f"c{n}"} for n in range(255)]}, "at most 254"),
    ],
)
def test_impossible_maps_are_refused(table: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ClassMap.model_validate(table)
