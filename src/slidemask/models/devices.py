"""Where a network runs."""

import torch

from slidemask.base.errors import SettingsError


def choose_device(name: str = "auto") -> torch.device:
    """Return the device `name` stands for; "auto" takes CUDA, then Apple's GPU, then the CPU.

    Raises
    ------
    SettingsError
        If the device is not there.
    """
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    if not available.get(name.split(":", maxsplit=1)[0], False):
        there = [kind for kind, here in available.items() if here]
        raise SettingsError(f"Device {name!r} is not there. This machine has: {', '.join(there)}.")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise SettingsError(f"Device {name!r} is not understood; write e.g. cuda:1.") from error
