"""The state of a training, complete and without pickle, so that resuming is exact."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from slidemask.base.errors import BundleError
from slidemask.base.files import written_whole


@dataclass
class Progress:
    """How far a training has come.

    Parameters
    ----------
    epoch : int
        Finished epochs.
    best_epoch : int
        Epoch of the best selected figure; 0 = none yet.
    best : float
        That figure.
    history : list of dict
        One row of figures an epoch.
    """

    epoch: int = 0
    best_epoch: int = 0
    best: float = float("-inf")
    history: list[dict[str, float]] = field(default_factory=list)


def save_checkpoint(path: Path, model: nn.Module, optimiser: Optimizer, progress: Progress) -> None:
    """Write weights, optimiser state and progress into one safetensors file."""
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    plain = optimiser.state_dict()
    for index, state in plain["state"].items():
        tensors |= {
            f"optimiser.{index}.{key}": torch.as_tensor(value) for key, value in state.items()
        }
    meta = {"progress": json.dumps(vars(progress)), "groups": json.dumps(plain["param_groups"])}
    contiguous = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with written_whole(path) as beside:
        safetensors.torch.save_file(contiguous, beside, metadata=meta)


def load_checkpoint(path: Path, model: nn.Module, optimiser: Optimizer) -> Progress:
    """Put a checkpoint's state into `model` and `optimiser`; return how far it had come.

    Raises
    ------
    BundleError
        If the file is damaged or belongs to another network.
    """
    try:
        with safe_open(path, framework="pt") as file:
            meta: dict[str, str] = file.metadata()
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no dict
        model.load_state_dict(_under(tensors, "model."))
        optimiser.load_state_dict(
            {"state": _states(_under(tensors, "optimiser.")), "param_groups": _groups(meta)}
        )
    except (SafetensorError, RuntimeError, ValueError, KeyError) as error:
        raise BundleError(
            f"Checkpoint {path} cannot be resumed from: {error}. Train into another folder."
        ) from error
    return Progress(**json.loads(meta["progress"]))


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }


def _states(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    states: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        states.setdefault(int(index), {})[name] = value
    return states


def _groups(meta: dict[str, str]) -> list[dict[str, Any]]:
    groups = json.loads(meta["groups"])
    for group in groups:
        if "betas" in group:  # JSON has no tuples
            group["betas"] = tuple(group["betas"])
    return groups
