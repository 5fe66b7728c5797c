"""What is found out without PyTorch is what PyTorch would say; in doubt it is asked."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from slidemask.models import devices, machine
from slidemask.models.devices import (
    CPU,
    choose_device,
    choose_devices,
    find_device,
    number_name,
    number_type,
    numbers_on,
)

SAYS = {name: bool(can) for name, can in torch.cpu.get_capabilities().items()}


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where answers are kept, in a process that has not imported PyTorch."""
    monkeypatch.setattr(machine, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(machine, "_PROCESSOR", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text("model name\t: One\nflags\t\t: sse avx2\nbogomips\t: 1\n")
    monkeypatch.setattr(machine, "_is_imported", lambda: False)
    return tmp_path / "processors"


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    machine.capabilities.cache_clear()


def again() -> dict[str, bool]:
    machine.capabilities.cache_clear()  # as in another process
    return machine.capabilities()


def test_pytorch_is_asked_once_for_a_processor(kept: Path) -> None:
    assert again() == SAYS
    (path,) = kept.iterdir()
    path.write_text(json.dumps({"avx512_bf16": True, "made_up": True}))
    assert again() == {"avx512_bf16": True, "made_up": True}, "it was read"
    assert numbers_on(CPU) == "bf16"
    cpuinfo = kept.with_name("cpuinfo")
    cpuinfo.write_text(cpuinfo.read_text().replace("bogomips\t: 1", "bogomips\t: 2"))
    assert "made_up" in again(), "the same processor"
    cpuinfo.write_text(cpuinfo.read_text().replace("avx2", "avx2 avx512f"))
    assert again() == SAYS, "another"
    assert len(list(kept.iterdir())) == 2


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"avx2": 1}', "\x00\xff"])
def test_damaged_answers_are_asked_for_again(kept: Path, damage: str) -> None:
    again()
    (path,) = kept.iterdir()
    path.write_text(damage)
    assert again() == SAYS
    assert json.loads(path.read_text()) == SAYS


def test_a_processor_that_says_nothing_is_asked_about_each_time(kept: Path) -> None:
    kept.with_name("cpuinfo").unlink()
    assert again() == SAYS
    assert not kept.exists()


def test_a_cache_that_cannot_be_written_to_keeps_nothing(kept: Path) -> None:
    kept.write_text("a file where the folder should be")
    assert again() == SAYS


class Driver:
    def __init__(self, answer: int) -> None:
        self.answer = answer

    def cuInit(self, flags: int) -> int:  # noqa: N802 - CUDA's name
        assert flags == 0
        return self.answer


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A computer without PyTorch imported, without driver, without devices."""
    monkeypatch.setattr(machine, "_is_imported", lambda: False)
    monkeypatch.setattr(machine.sys, "platform", "linux")
    monkeypatch.setattr(machine, "_cuda_driver", lambda: None)
    monkeypatch.setattr(machine, "_GPU_NODES", ())
    monkeypatch.setattr(machine, "_AMD_NODE", Path("/nowhere"))
    monkeypatch.setattr(machine, "version", lambda _: "2.15.0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("bare")
def test_auto_is_the_processor_where_there_is_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "choose_device", lambda _: pytest.fail("asked"))
    assert machine.surely_no_gpu()
    assert find_device("auto") == CPU
    assert choose_devices("auto") == ["cpu"]
    assert choose_devices("cpu,cpu") == ["cpu", "cpu"]


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(("answer", "sure"), [(100, True), (0, False), (3, False), (999, False)])
def test_a_driver_without_a_device_is_none(
    answer: int, sure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_cuda_driver", lambda: Driver(answer))
    assert machine.surely_no_gpu() is sure
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine.surely_no_gpu()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert machine.surely_no_gpu()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert machine.surely_no_gpu() is sure


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("_GPU_NODES", (Path(__file__),)),  # a driver's node, but no library
        ("_AMD_NODE", Path(__file__)),
        ("version", lambda _: "2.15.0+rocm7.0"),
        ("_is_imported", lambda: True),
    ],
)
def test_in_doubt_pytorch_is_asked(
    what: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, what, value)
    assert not machine.surely_no_gpu()


@pytest.mark.usefixtures("bare")
def test_a_mac_is_asked_for_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.sys, "platform", "darwin")
    assert not machine.surely_no_gpu()


def test_found_and_chosen_are_the_same() -> None:
    for name in ("auto", "cpu", "cpu:0"):
        assert str(find_device(name)) == str(choose_device(name))
        assert find_device(name).type == choose_device(name).type
    assert torch.zeros(1, device=CPU).to(CPU).device == torch.device(CPU) == choose_device("cpu")
    for precision in ("auto", "fp32", "bf16", "fp16"):
        told = number_type(choose_device("cpu"), precision)
        assert number_type(CPU, precision) == told
        assert number_name(CPU, precision) == str(told)
