"""A program whose network lies converted in the cache starts without PyTorch, and says the same."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drawnphotos import draw_photo
from journey import discs, save_dark_bundle, write_slide
from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.models.bundle import Bundle, save_bundle
from slidemask.post.outlines import Outlines

HEAVY = (
    "torch", "torchvision", "timm", "segmentation_models_pytorch", "matplotlib", "sympy", "pandas",
    "polars", "ray", "onnx", "openvino_telemetry",
)  # fmt: skip
CODE = f"""
import sys
from slidemask.apps.cli import main
try:
    main()
finally:
    print("imported", *sorted({{*{HEAVY!r}}} & {{*sys.modules}}), file=sys.stderr)
"""
RING = np.array([[90, 60], [310, 50], [320, 220], [80, 230.0]])

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="elsewhere PyTorch is asked what is there"
)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def run(cache: Path, *arguments: object) -> set[str]:
    """Run `slidemask` as a program of its own; return what heavy modules it imported."""
    told = {"XDG_CACHE_HOME": str(cache), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *map(str, arguments)],
        env=os.environ | told, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split()[1:])


def contents(folder: Path, *leave_out: str) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in leave_out
    }


def test_photos(tmp_path: Path, cache: Path) -> None:
    dark = Bundle.load(save_dark_bundle(tmp_path / "dark"), "cpu")
    use = {"photo": Outlines(longest_px=200, min_confidence=0.5).model_dump(mode="json")}
    classes = ClassMap(classes=(ClassInfo(name="slide"),))
    info = dark.info.model_copy(update={"classes": classes, "use": use})
    save_bundle(tmp_path / "finder", info, dark.segmenter, card="", scores={})
    Image.fromarray(draw_photo([RING], 300, 400, seed=2)).save(tmp_path / "p.png")
    asked = ("photo", tmp_path / "p.png", "-m", tmp_path / "finder", "-o")
    assert "torch" in run(cache, *asked, tmp_path / "cold")
    assert run(cache, *asked, tmp_path / "warm") == set()
    cold, warm = (contents(tmp_path / name / "p", "outlines.json") for name in ("cold", "warm"))
    assert "slide-1.png" in cold
    assert cold == warm


def test_slides(tmp_path: Path, cache: Path) -> None:
    model = save_dark_bundle(tmp_path / "dark", tile=32)
    slide = write_slide(tmp_path / "s.tif", discs(260, 240, seed=1)[0])
    asked = ("segment", slide, "-m", model, "-o")
    assert "torch" in run(cache, *asked, tmp_path / "cold")
    assert run(cache, *asked, tmp_path / "warm") == set()
    last = "summary.json"
    cold, warm = (contents(tmp_path / name / "s", last) for name in ("cold", "warm"))
    assert {"mask.ome.tif", "polygons.geojson"} <= set(cold)
    assert cold == warm
    few = write_slide(tmp_path / "few.tif", discs(64, 64, seed=1)[0])
    assert run(cache, "segment", few, "-m", model, "-o", tmp_path / "few") == set()


def test_what_is_loaded_as_in_a_script(tmp_path: Path) -> None:
    code = (
        "import sys; from slidemask import Bundle; "
        "bundle = Bundle.load(sys.argv[1], later=True); "
        "print(bundle.device, bundle.device.type, 'torch' in sys.modules)"
    )
    told = {"XDG_CACHE_HOME": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", code, str(save_dark_bundle(tmp_path / "dark"))],
        env=os.environ | told, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["cpu", "cpu", "False"]
