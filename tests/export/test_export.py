"""All of an export or nothing of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slidemask.base.errors import OutputError, SettingsError
from slidemask.export import export as exporting
from slidemask.export.export import Options, export
from slidemask.export.exported import ports
from slidemask.export.formats import FORMATS, find_format
from slidemask.export.wanted import Format, Wanted, Written
from slidemask.models.bundle import Bundle

MakeBundle = Callable[[str], Bundle]


def a_format(bundle: Bundle, shift: float) -> Format:
    """A format that is PyTorch itself, off by some shift."""

    def convert(wanted: Wanted, folder: Path) -> Written:
        path = folder / f"{wanted.stem}.txt"
        path.write_text("weights" * 1000)
        return Written(path, *ports(wanted, "batch", "uint8"), dynamic="batch", notes=("Beware.",))

    def start(path: Path) -> Callable[[np.ndarray], np.ndarray]:
        assert path.is_file()
        return lambda tiles: bundle.predict(tiles, "fp32") + np.float32(shift)

    return Format(convert, start, ("numpy",))


@pytest.fixture
def unet(make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    bundle = make_bundle("unet")
    for module in ("export", "card"):
        monkeypatch.setattr(
            f"slidemask.export.{module}.find_format", lambda _: a_format(bundle, 0.0)
        )
    return bundle


def test_folder_holds_file_card_and_description(
    unet: Bundle, picture: Path, tmp_path: Path
) -> None:
    done = export(unet, "onnx", tmp_path / "out", Options(tiles=[picture], count=4))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert sorted(path.name for path in done.folder.iterdir()) == [
        "card.md", "export.json", "unet.txt",
    ]  # fmt: skip
    assert done.path.is_file()
    assert done.megabytes == pytest.approx(0.007)
    assert (done.parity.tiles, done.parity.largest) == (4 + 3, 0)
    card = (done.folder / "card.md").read_text()
    for text in ("# unet as ONNX", "background, gland, vessel", "Not for diagnosis", "- Beware."):
        assert text in card
    assert "(batch, 40, 40, 3)" in card


def test_nothing_is_replaced_unasked(unet: Bundle, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists; choose another --out or pass --overwrite"):
        export(unet, "onnx", out, Options(tiles=[picture], count=2))
    assert (out / "mine.txt").read_text() == "mine"
    export(unet, "onnx", out, Options(tiles=[picture], count=2, overwrite=True))
    assert not (out / "mine.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_refused_export_leaves_nothing_and_keeps_what_was(
    unet: Bundle, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    options = Options(tiles=[picture], count=2)
    export(unet, "onnx", out, options)
    before = (out / "export.json").read_bytes()
    monkeypatch.setattr(exporting, "find_format", lambda _: a_format(unet, 0.01))
    with pytest.raises(OutputError, match="says something else than PyTorch"):
        export(unet, "onnx", out, replace(options, overwrite=True))
    with pytest.raises(OutputError, match="says something else than PyTorch"):
        export(unet, "onnx", tmp_path / "other", options)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "export.json").read_bytes() == before


def test_int8_calibrates_on_other_tiles_than_it_is_compared_on(
    unet: Bundle, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, np.ndarray] = {}
    plain = a_format(unet, 0.0)

    def convert(wanted: Wanted, folder: Path) -> Written:
        seen["calibration"] = wanted.calibration
        return plain.convert(wanted, folder)

    def compare(_predict: object, _reference: object, pictures: list[np.ndarray]) -> None:
        seen["compared"] = np.concatenate(pictures[:-1])
        raise OutputError("enough")

    monkeypatch.setattr(exporting, "find_format", lambda _: replace(plain, convert=convert))
    monkeypatch.setattr(exporting, "compare", compare)
    options = Options(precision="int8", tiles=[picture], count=6)
    with pytest.raises(OutputError, match="enough"):
        export(unet, "onnx", tmp_path / "out", options)
    assert len(seen["calibration"]) == len(seen["compared"]) == 6
    both = np.concatenate([seen["calibration"], seen["compared"]])
    assert len(np.unique(both.reshape(12, -1), axis=0)) == 12
    with pytest.raises(SettingsError, match="4 tiles are too few"):
        export(unet, "onnx", tmp_path / "out", replace(options, count=2))


def test_impossible_wishes_are_named(
    make_bundle: MakeBundle, picture: Path, tmp_path: Path
) -> None:
    votes = make_bundle("votes")
    with pytest.raises(SettingsError, match="knows no other size"):
        export(votes, "onnx", tmp_path / "out", Options(tiles=[picture], size=(64, 64)))
    with pytest.raises(SettingsError, match=r"--size 4 40: sides must lie in 8\.\.8192"):
        export(
            make_bundle("unet"), "onnx", tmp_path / "out", Options(tiles=[picture], size=(4, 40))
        )
    with pytest.raises(SettingsError, match=r"no format .tflite.\. Choose from onnx, openvino"):
        find_format("tflite")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "nothing", "Nothing")
    with pytest.raises(SettingsError, match=r"Export to Nothing needs a package .*\[export\]"):
        find_format("nothing")
