"""Checkpoints bring back the identical state."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from slidemask.base.errors import BundleError
from slidemask.train.checkpoint import Progress, load_checkpoint, save_checkpoint

OPTIMISERS = {
    "adam": lambda p: Adam(p, 1e-2),
    "adamw": lambda p: AdamW(p, 1e-2, weight_decay=0.1),
    "sgd": lambda p: SGD(p, 1e-2, 0.9, nesterov=True, weight_decay=0.1),
}


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def steps(model: nn.Module, optimiser: Optimizer, count: int, seed: int) -> None:
    torch.manual_seed(seed)
    for _ in range(count):
        model(torch.rand(2, 3, 8, 8)).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()


def assert_equal_state(one: nn.Module, other: nn.Module) -> None:
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("kind", OPTIMISERS)
@pytest.mark.parametrize("resting", [False, True])
def test_a_step_after_loading_is_the_step_that_would_have_come(
    tmp_path: Path, kind: str, resting: bool
) -> None:
    torch.manual_seed(0)
    model = network()
    model[0].requires_grad_(not resting)  # a resting part has no optimiser state
    optimiser = OPTIMISERS[kind](model.parameters())
    steps(model, optimiser, 3, seed=1)
    progress = Progress(3, 2, 0.123456789012345, [{"epoch": 1, "dice": 0.1}, {"epoch": 2}])
    save_checkpoint(tmp_path / "last.safetensors", model, optimiser, copy.deepcopy(progress))

    torch.manual_seed(9)
    other = network()
    other_optimiser = OPTIMISERS[kind](other.parameters())
    assert load_checkpoint(tmp_path / "last.safetensors", other, other_optimiser) == progress
    assert_equal_state(model, other)
    model[0].requires_grad_(True)
    steps(model, optimiser, 3, seed=2)
    steps(other, other_optimiser, 3, seed=2)
    assert_equal_state(model, other)


def test_a_fresh_run_s_progress_survives(tmp_path: Path) -> None:
    model = network()
    optimiser = OPTIMISERS["adam"](model.parameters())
    save_checkpoint(tmp_path / "c.safetensors", model, optimiser, Progress())
    assert load_checkpoint(tmp_path / "c.safetensors", model, optimiser).best == float("-inf")


def test_damaged_and_foreign_checkpoints_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    model = network()
    optimiser = OPTIMISERS["adam"](model.parameters())
    save_checkpoint(path, model, optimiser, Progress())
    larger = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Conv2d(5, 2, 1))
    with pytest.raises(BundleError, match=r"last\.safetensors cannot be resumed from"):
        load_checkpoint(path, larger, OPTIMISERS["adam"](larger.parameters()))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BundleError, match="cannot be resumed"):
        load_checkpoint(path, model, optimiser)
    path.write_bytes(b"")
    with pytest.raises(BundleError, match="cannot be resumed"):
        load_checkpoint(path, model, optimiser)


def test_a_safetensors_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "weights.safetensors")
    model = network()
    with pytest.raises(BundleError, match="cannot be resumed"):
        load_checkpoint(
            tmp_path / "weights.safetensors", model, OPTIMISERS["adam"](model.parameters())
        )
