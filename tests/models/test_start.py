"""A network started from a trained one: what fits is equal, what does not is named or refused."""

from pathlib import Path

import pytest
import torch

from fakes import info
from slidemask.base.errors import BundleError
from slidemask.models.bundle import Bundle, save_bundle
from slidemask.models.segmenter import Segmenter
from slidemask.models.start import start_from


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_bundle(tmp_path / "bundle", info(), Segmenter(info().model, 1), card="# fake", scores={})
    return tmp_path / "bundle"


def test_the_same_network_predicts_the_same(trained: Path) -> None:
    torch.manual_seed(1)
    segmenter = Segmenter(info().model, 1).eval()
    tiles = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)
    with torch.inference_mode():
        before = segmenter(tiles)
        assert start_from(segmenter, str(trained)) == ()
        expected = Bundle.load(trained, "cpu").segmenter(tiles)
        assert not torch.allclose(before, expected)
        torch.testing.assert_close(segmenter(tiles), expected)


def test_other_classes_leave_the_last_layer_alone(trained: Path) -> None:
    segmenter = Segmenter(info().model, 3)
    last = dict(segmenter.network.state_dict())
    unlike = start_from(segmenter, str(trained))
    assert unlike
    state = segmenter.network.state_dict()
    given = Bundle.load(trained, "cpu").segmenter.network.state_dict()
    for name, tensor in state.items():
        torch.testing.assert_close(tensor, last[name] if name in unlike else given[name])


@pytest.mark.parametrize("change", [{"width": 4}, {"depth": 2}])
def test_another_network_is_refused(trained: Path, change: dict[str, int]) -> None:
    spec = info().model.model_copy(update=change)
    with pytest.raises(BundleError, match=r"model\.start.*another network"):
        start_from(Segmenter(spec, 1), str(trained))
