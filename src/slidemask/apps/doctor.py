"""The command that says whether all is well on this machine."""

import os

import typer

from slidemask.apps.options import Device, Json, show


def doctor(device: Device = "auto", as_json: Json = False) -> None:
    """Show versions, devices and readers; try reading, network and writing."""
    from slidemask.recipes.selftest import self_test

    facts = _facts()
    if not as_json:
        show(facts, as_json=False)
        typer.echo()
    checks = []
    for check in self_test(device):
        checks.append(check)
        if not as_json:
            typer.echo(f"{'ok    ' if check.passed else 'FAILED'}  {check.what}: {check.note}")
    if as_json:
        show({**facts, "checks": [check._asdict() for check in checks]}, as_json=True)
    if not all(check.passed for check in checks):
        raise typer.Exit(1)


def _facts() -> dict[str, object]:
    import openslide
    import psutil
    import torch

    from slidemask.base.record import machine, versions
    from slidemask.models.bundle import shipped_names
    from slidemask.recipes.recipe import recipe_names

    cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "machine": machine(),
        "processors": f"{os.cpu_count()}, torch uses {torch.get_num_threads()} threads",
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "cuda": cuda or None,
        "apple_gpu": torch.backends.mps.is_available(),
        "bf16_processor": bool(torch.cpu.get_capabilities().get("avx512_bf16", False)),
        "openslide": openslide.__library_version__,
        **versions(),
        "models": shipped_names(),
        "recipes": recipe_names(),
    }
