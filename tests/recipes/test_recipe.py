"""Recipes: nothing unknown, nothing impossible, and what is written is read back."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.base.errors import SettingsError
from slidemask.base.settings import digest
from slidemask.data.sampling import Sampling
from slidemask.recipes.recipe import (
    Recipe,
    WholeSlide,
    apply_change,
    load_recipe,
    recipe_names,
    write_recipe,
)
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import Tiling
from slidemask.tiles.tissue import TissueFilter
from slidemask.train.schedule import Schedule

TEXT = """\
name = "test"
[[classes.classes]]
name = "gland"
[tiling]
tile_px = 64
downsample = 1.0
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "my recipe ü.toml").write_text(TEXT, encoding="utf-8")
    return tmp_path / "my recipe ü.toml"


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_loads_and_says_where_it_comes_from(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.about.endswith(".")
    assert recipe.licence
    assert load_recipe(name, ["schedule.epochs=3"]).schedule.epochs == 3


def test_a_path_and_a_shipped_name_are_found_and_others_listed(path: Path) -> None:
    assert load_recipe(path).name == "test"
    assert load_recipe(str(path)).name == "test"
    with pytest.raises(SettingsError, match=r"no recipe 'nothing'.*glands"):
        load_recipe("nothing")
    with pytest.raises(SettingsError, match="no recipe"):
        load_recipe(path.parent)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("shedule.epochs=3", r"shedule: there is no such key; did you mean 'schedule'\?"),
        ("schedule.epoch=3", r"schedule\.epoch: there is no such key; did you mean 'epochs'\?"),
        ("filters.tissue.clos_um=3", r"filters\.tissue\.clos_um: there is no such key"),
        ("whole.tile=3", r"whole\.tile: there is no such key; did you mean 'tile_px'\?"),
        ("post.qqq=3", r"post\.qqq: there is no such key; valid: threshold"),
        ("schedule.epochs=0", r"schedule\.epochs: .*greater than or equal to 1 \(got 0\)"),
        ("schedule.epochs=many", r"schedule\.epochs: .*valid integer.*\(got 'many'\)"),
        ("loss.terms={cee = 1}", r"unknown loss terms \['cee'\]"),
        ("tiling.overlap=1.0", r"tiling\.overlap: .*less than 1"),
        ("split.train=0.9", r"must add up to 1"),
        ("schedule=3", r"schedule: "),
        ("=3", r"there is no such key"),
        ("post.threshold=nan", r"finite"),
    ],
)
def test_wrong_keys_and_values_are_named(path: Path, change: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load_recipe(path, [change])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([], None),
        (["whole={tile_px = 64, overlap = 0.8}"], None),
        (["whole.tile_px=96", "model.head=pool"], None),
        (["whole.tile_px=96", "model.head=pool", "model.refine=4"], None),
        (["tiling.tile_px=16", "model.head=pool", "model.refine=4"], None),
        (["whole.tile_px=96"], r"altogether: .*64 px in training and 96 px on whole slides"),
        (["tiling.context=4.0"], r"sees no surroundings"),
        (["tiling.tile_px=21"], r"22 or more"),
        (["model.head=pool", "whole.tile_px=21"], r"22 or more"),
        (["classes.classes=[{name = 'a'}, {name = 'b'}]"], r"softmax"),
        (["model.dropouts=[0, 0, 1]"], r"dropouts must lie in 0\.\.1"),
        (["model.min_share=0.3"], r"min_positive_share = 0\.5 on.*min_share = 0\.3 on.*both equal"),
        (["model.min_share=0.3", "model.refine=8", "model.head=pool"], None),
    ],
)
def test_a_tile_classifier_is_refused_what_it_cannot_do(
    path: Path, changes: list[str], words: str | None
) -> None:
    model = [
        "model={architecture = 'tile', filters = [4, 6, 6], activation = 'sigmoid'}",
        "sampling.min_positive_share=0.5",
    ]
    if words is None:
        assert load_recipe(path, model + changes).model.architecture == "tile"
        return
    with pytest.raises(SettingsError, match=words) as caught:
        load_recipe(path, model + changes)
    assert max(map(len, str(caught.value).splitlines())) < 300


@pytest.mark.parametrize("name", ["binary", "subtypes", "unet"])
def test_published_recipes_choose_as_the_paper_does(name: str) -> None:
    """No threshold is looked for and no least recall asked for; subtypes are scored as one."""
    selection = load_recipe(f"rails/published-{name}").selection
    assert (selection.thresholds, selection.min_recall) == ((0.5,), None)
    assert (selection.scope == "any class") is (name == "subtypes")


def test_a_misspelt_key_in_a_list_is_named(path: Path) -> None:
    path.write_text(TEXT.replace('name = "gland"', 'name = "gland"\ncolr = [1, 2, 3]'))
    with pytest.raises(
        SettingsError, match=r"classes\.classes\.0\.colr: .*did you mean 'colour'\?"
    ):
        load_recipe(path)


def test_every_fault_is_told_at_once_and_none_at_length(path: Path) -> None:
    path.write_text(
        'nme = "x"\n[schedule]\nepochs = -1\n[classes]\n[tiling]\ntile_px = 3\nmpp = 1\n'
    )
    with pytest.raises(SettingsError) as caught:
        load_recipe(path)
    message = str(caught.value)
    for where in ("nme:", "name:", "schedule.epochs:", "classes.classes:", "tiling.tile_px:"):
        assert where in message
    assert message.startswith("Something is wrong with recipe my recipe ü.toml:")
    assert max(map(len, message.splitlines())) < 300  # a missing key does not show its whole table


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = \n", "line 1"),
        (TEXT + "[tiling]\n", "Cannot declare"),
        ("name = 'a'\nb\n", "line 2"),
    ],
)
def test_broken_toml_names_the_place(path: Path, text: str, words: str) -> None:
    path.write_text(text)
    with pytest.raises(SettingsError, match=rf"my recipe ü\.toml is not valid TOML: .*{words}"):
        load_recipe(path)


def test_a_recipe_that_is_no_text_is_an_error(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="not valid TOML"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("a=5", {"a": 5}),
        ("a=0.5", {"a": 0.5}),
        ("a=true", {"a": True}),
        ("a=false", {"a": False}),
        ("a=[1, 2]", {"a": [1, 2]}),
        ("a={b = 1}", {"a": {"b": 1}}),
        ("a='quoted text'", {"a": "quoted text"}),
        ("a=plain text", {"a": "plain text"}),
        ("a=/some/path=x", {"a": "/some/path=x"}),
        ("a=", {"a": ""}),
        (" a.b.c =1", {"a": {"b": {"c": 1}}}),
    ],
)
def test_set_reads_toml_or_else_text(change: str, expected: dict[str, object]) -> None:
    table: dict[str, object] = {}
    apply_change(table, change)
    assert table == expected


def test_set_changes_one_key_and_leaves_its_neighbours() -> None:
    table = {"post": {"threshold": 0.5, "min_area_um2": 9}}
    apply_change(table, "post.threshold=0.6")
    assert table == {"post": {"threshold": 0.6, "min_area_um2": 9}}


@pytest.mark.parametrize(
    ("change", "words"),
    [("schedule.epochs", "key=value"), ("name.a=1", "'name' is a value, not a table"),
     ("classes.classes.name=1", "'classes' is a value")],
)  # fmt: skip
def test_set_without_sense_is_refused(path: Path, change: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load_recipe(path, [change])


names = st.text(min_size=1, max_size=12).filter(lambda t: t.casefold() != "background")
filters = st.builds(
    Filters,
    tissue=st.none() | st.builds(TissueFilter),
    min_tissue_share=st.floats(0, 1),
    max_background_share=st.none() | st.floats(0, 1),
    min_std=st.none() | st.floats(0, 100),
)
tilings = st.builds(
    Tiling, tile_px=st.integers(8, 2048), overlap=st.floats(0, 0.9), mpp=st.floats(0.1, 20)
) | st.builds(Tiling, longest_side_px=st.integers(1, 999))
recipes = st.builds(
    Recipe,
    name=st.text(max_size=20),
    about=st.text(max_size=40),
    classes=st.builds(
        lambda name, colour: ClassMap(classes=(ClassInfo(name=name, colour=colour),)),
        names,
        st.tuples(*[st.integers(0, 255)] * 3),
    ),
    tiling=tilings,
    whole=st.none() | st.builds(WholeSlide, tile_px=st.integers(8, 2048)),
    filters=filters,
    sampling=st.builds(Sampling, tiles_per_epoch=st.none() | st.integers(1, 99)),
    schedule=st.builds(Schedule, epochs=st.integers(1, 99), learning_rate=st.floats(1e-8, 1)),
)


@given(recipe=recipes)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_is_written_is_read_back(tmp_path: Path, recipe: Recipe) -> None:
    path = tmp_path / "resolved.toml"
    path.write_text(write_recipe(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe
    assert digest(load_recipe(path)) == digest(recipe)


@pytest.mark.parametrize("name", recipe_names())
def test_a_resolved_shipped_recipe_is_the_same_recipe(tmp_path: Path, name: str) -> None:
    (tmp_path / "resolved.toml").write_text(write_recipe(load_recipe(name)), encoding="utf-8")
    assert load_recipe(tmp_path / "resolved.toml") == load_recipe(name)


def test_tissue_can_be_switched_off_in_toml(path: Path) -> None:
    recipe = load_recipe(path, ["filters.tissue=false"])
    assert recipe.filters.tissue is None
    assert "tissue = false" in write_recipe(recipe)


@pytest.mark.parametrize("change", ["tiling.magnification=10", "tiling.downsample=2.0"])
def test_set_of_a_resolution_replaces_the_one_that_stood_there(change: str) -> None:
    tiling = load_recipe("glas", [change]).tiling
    assert tiling.mpp is None
    key, value = change.removeprefix("tiling.").split("=")
    assert getattr(tiling, key) == float(value)


def test_whole_slides_are_cut_at_the_resolution_of_training() -> None:
    recipe = load_recipe("glands", ["tiling.mpp=2.0", "whole.tile_px=256"])
    assert recipe.tiling_on_slides == recipe.tiling.model_copy(
        update={"tile_px": 256, "overlap": 0.2}
    )
    assert recipe.tiling_on_slides.mpp == 2.0
