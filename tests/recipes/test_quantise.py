"""8 bits: calibrated, judged, kept or refused, and then used by `segment`."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from journey import disc_cases, save_dark_bundle
from slidemask.apps.cli import app
from slidemask.base.errors import CohortError, OutputError
from slidemask.data.case import Case
from slidemask.data.cohort import write_cohort
from slidemask.evaluate.confusion import Confusion
from slidemask.export.eightbits import LEFT
from slidemask.models import converted
from slidemask.models.bundle import FILES, INT8, INT8_FILES, Bundle
from slidemask.models.int8 import Int8, Int8Info, hashes, read_int8
from slidemask.recipes import quantise as module
from slidemask.recipes.quantise import Options, quantise
from slidemask.recipes.results import read_summary
from slidemask.recipes.segment import Options as SegmentOptions
from slidemask.recipes.segment import segment


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("int8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(converted, "cache_folder", lambda: home / "cache")
        save_dark_bundle(home / "b", tile=32)
        write_cohort(home / "cohort.csv", disc_cases(home, train=4, validation=2))
        yield home


@pytest.fixture
def cases(home: Path) -> list[Case]:
    return disc_cases(home, train=4, validation=2)


@pytest.fixture
def bundle(home: Path, tmp_path: Path) -> Bundle:
    return Bundle.load(shutil.copytree(home / "b", tmp_path / "b"), "cpu")


def test_a_network_is_quantised_kept_and_used(home: Path, tmp_path: Path) -> None:
    """The whole way, by the command: discs of two greys survive 8 bits."""
    out = tmp_path / "b8"
    done = CliRunner().invoke(
        app,
        ["quantise", str(home / "b"), "-c", str(home / "cohort.csv"), "-o", str(out),
         "--tiles", "8", "--json"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["slides"] == 2
    assert told["calibrated_on"] == "other parts of the cohort"
    assert told["calibration_tiles"] == 8
    figures = told["dice"]["gland"]
    assert figures["pooled_fp32"] > 0.99
    assert figures["pooled_fp32"] - figures["pooled_int8"] < 0.005
    assert {path.name for path in (out / INT8).iterdir()} == set(INT8_FILES)
    assert {path.name for path in out.iterdir()} == {*FILES, INT8}
    assert "single precision | 8 bits" in (out / INT8 / "card.md").read_text()
    bundle = Bundle.load(out, "cpu")
    assert b'"i8"' in read_int8(bundle).xml
    assert b"FakeQuantize" in read_int8(bundle).xml
    case = disc_cases(home, train=4, validation=2)[0]
    (outcome,) = segment([case], bundle, tmp_path / "o", SegmentOptions(backend="int8"))
    assert outcome.state == "done", outcome.message
    assert read_summary(outcome.folder)["backend"] == "int8"


def graph_of(bundle: Bundle, left: str) -> Int8:
    xml, weights = f"graph without {left}".encode(), b""
    info = Int8Info(
        network=module.fingerprint(bundle), files=hashes(xml, weights), tile_px=32,
        left=left, max_fall=0.5, dice={},
    )  # fmt: skip
    return Int8(info, xml, weights)


def counts(hit: int, missed: int, slides: int = 2) -> list[Confusion]:
    return [Confusion(np.array([[100, 0], [missed, hit]], np.int64))] * slides


@pytest.fixture
def falls(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Pixels of 1,000 that are missed, by what is left out; graphs and counts follow from it."""
    missed: dict[str, int] = dict.fromkeys(LEFT, 0)

    def start(bundle: Bundle, graph: Int8) -> object:
        return type("Fake", (), {"left": graph.info.left, "bundle": bundle})()

    def count(bundle: Bundle, *_: object, **__: object) -> list[Confusion]:
        if bundle.backend is None:
            return counts(1000, 0)
        lost = missed[bundle.backend.left]  # type: ignore[attr-defined]
        return counts(1000 - lost, lost)

    monkeypatch.setattr(module, "_graph", lambda bundle, _, left: graph_of(bundle, left))
    monkeypatch.setattr(module, "OpenVinoInt8", start)
    monkeypatch.setattr(module, "_counts", count)
    parity = {"tiles": 1, "largest": 0.1, "mean": 0.01, "agreement": 0.99}
    monkeypatch.setattr(module, "_parity", lambda *_: parity)
    return missed


def test_what_costs_too_much_is_refused_with_its_figures(
    bundle: Bundle, cases: list[Case], falls: dict[str, int]
) -> None:
    falls.update(dict.fromkeys(LEFT, 20))  # Dice 0.9899
    with pytest.raises(OutputError, match=r"gland pooled 1.0000 -> 0.9899, gland mean of slides"):
        quantise(bundle, cases, "validation", options=Options())
    assert bundle.source
    assert {path.name for path in bundle.source.iterdir()} == set(FILES), "nothing has changed"
    falls.update(dict.fromkeys(LEFT, 9))  # Dice 0.9955, by less than 0.005
    quantise(bundle, cases, "validation", options=Options())
    with pytest.raises(OutputError, match=r"falls by 0\.004 or more"):
        quantise(bundle, cases, "validation", options=Options(max_fall=0.004, overwrite=True))
    assert read_int8(bundle).info.max_fall == 0.005, "the older one is still there"


def test_as_much_as_can_be_is_in_8_bits(
    bundle: Bundle, cases: list[Case], falls: dict[str, int]
) -> None:
    falls[LEFT[0]] = 30
    done = quantise(bundle, cases, "validation", options=Options())
    assert done.info.left == LEFT[1]
    assert read_int8(bundle).info == done.info


def test_what_is_there_is_not_replaced_unasked(
    bundle: Bundle, cases: list[Case], falls: dict[str, int], tmp_path: Path
) -> None:
    assert not any(falls.values())
    quantise(bundle, cases, "validation", options=Options())
    with pytest.raises(OutputError, match="pass --overwrite"):
        quantise(bundle, cases, "validation", options=Options())
    quantise(bundle, cases, "validation", options=Options(overwrite=True))
    quantise(bundle, cases, "validation", out=tmp_path / "copy", options=Options())
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {*FILES, INT8}
    assert {path.name for path in (tmp_path / "copy" / INT8).iterdir()} == set(INT8_FILES)


def test_a_shipped_model_stays_as_it_was_shipped(cases: list[Case]) -> None:
    with pytest.raises(OutputError, match=r"comes with slidemask.*--out"):
        quantise(Bundle.load("glands", "cpu"), cases, None, options=Options())


def test_somebody_must_judge(bundle: Bundle, cases: list[Case], falls: dict[str, int]) -> None:
    assert not any(falls.values())
    with pytest.raises(CohortError, match="No case of the test part"):
        quantise(bundle, cases, "test", options=Options())
    bare = [replace(case, annotations=None) for case in cases]
    with pytest.raises(CohortError, match="No case has annotations"):
        quantise(bundle, bare, None, options=Options())


def test_slides_without_any_object_cannot_judge(
    bundle: Bundle, cases: list[Case], falls: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not any(falls.values())
    monkeypatch.setattr(module, "_counts", lambda *_, **__: counts(0, 0))
    with pytest.raises(OutputError, match="none of the classes"):
        quantise(bundle, cases, "validation", options=Options())
