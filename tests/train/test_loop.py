"""The training loop: it learns, stops, and goes on to the identical state."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from slidemask.base.errors import TrainingError
from slidemask.data.augment import Augment
from slidemask.models.build import ModelSpec
from slidemask.models.losses import LossSpec
from slidemask.train.checkpoint import Progress
from slidemask.train.loop import Task, fit

MakeTask = Callable[..., Task]
CPU = torch.device("cpu")


def nothing(_progress: Progress) -> None:
    """What to do on a best epoch, in tests that do not care."""


def weights(task: Task) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in task.segmenter.state_dict().items()}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


class CutShort:
    """Training batches with Ctrl-C pressed after some batches of some epoch."""

    def __init__(self, loader: object, epoch: int, batches: int) -> None:
        self._loader, self._epoch, self._batches = loader, epoch, batches

    def __len__(self) -> int:
        return len(self._loader)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)

    def __setattr__(self, name: str, value: object) -> None:
        if name == "hard":
            self._loader.hard = value  # type: ignore[attr-defined]
        else:
            super().__setattr__(name, value)

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        for place, batch in enumerate(self._loader.epoch(number)):  # type: ignore[attr-defined]
            if number == self._epoch and place == self._batches:
                raise KeyboardInterrupt
            yield batch


def cut_short(task: Task, epoch: int, batches: int) -> Task:
    return replace(task, training=CutShort(task.training, epoch, batches))  # type: ignore[arg-type]


def test_discs_are_learned_and_every_epoch_is_on_record(make_task: MakeTask, run: Path) -> None:
    best: list[int] = []
    progress = fit(
        make_task(ModelSpec(width=4, depth=2), epochs=8, batch=2, learning_rate=2e-2),
        run,
        CPU,
        lambda progress: best.append(progress.best_epoch),
    )
    losses = [row["loss"] for row in progress.history]
    assert losses[-1] < 0.5 * losses[0]
    assert progress.best > 0.9
    assert best[-1] == progress.best_epoch
    dice = [row["tiles dice slides"] for row in progress.history]
    assert progress.best == max(dice) == dice[progress.best_epoch - 1]

    with (run / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 9))
    for row, told in zip(rows, progress.history, strict=True):
        assert {name: float(value) for name, value in row.items()} == told
    picture = cv2.imread(str(run / "curves.png"))
    assert picture is not None
    assert min(picture.shape[:2]) > 200


def test_tensorboard_holds_every_epoch_once_also_after_a_resume(
    make_task: MakeTask, run: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(cut_short(make_task(epochs=3), epoch=3, batches=1), run, CPU, nothing)
    progress = fit(make_task(epochs=3), run, CPU, nothing)
    board = EventAccumulator(str(run / "tensorboard"))
    board.Reload()
    assert {"loss", "learning_rate", "tiles/dice/slides", "tiles/dice/pooled"} <= set(
        board.Tags()["scalars"]
    )
    events = board.Scalars("loss")
    assert [event.step for event in events] == [1, 2, 3]
    assert [event.value for event in events] == pytest.approx(
        [row["loss"] for row in progress.history], rel=1e-6
    )


@pytest.mark.parametrize("optimiser", ["adamw", "adam", "sgd"])
def test_two_and_two_epochs_are_four_bit_by_bit(
    make_task: MakeTask, tmp_path: Path, optimiser: str
) -> None:
    straight, halves = tmp_path / "straight", tmp_path / "halves"
    straight.mkdir()
    halves.mkdir()
    whole = make_task(optimiser=optimiser)
    at_once = fit(whole, straight, CPU, nothing)
    fit(cut_short(make_task(optimiser=optimiser), epoch=3, batches=0), halves, CPU, nothing)
    second = make_task(optimiser=optimiser)
    resumed = fit(second, halves, CPU, nothing)
    assert_same(weights(whole), weights(second))
    assert resumed == at_once
    assert (straight / "history.csv").read_bytes() == (halves / "history.csv").read_bytes()
    assert (straight / "curves.png").read_bytes() == (halves / "curves.png").read_bytes()
    assert_same(load_file(straight / "last.safetensors"), load_file(halves / "last.safetensors"))


def test_ctrl_c_in_mid_epoch_leaves_the_last_whole_epoch(make_task: MakeTask, run: Path) -> None:
    stopped = fit(cut_short(make_task(), epoch=3, batches=2), run, CPU, nothing)
    assert stopped.epoch == 2
    assert (run / "history.csv").read_text().count("\n") == 3
    assert (run / "curves.png").exists()
    task = make_task()
    resumed = fit(task, run, CPU, nothing)
    assert resumed.epoch == 4

    straight = make_task()
    (run / "straight").mkdir()
    assert fit(straight, run / "straight", CPU, nothing) == resumed
    assert_same(weights(straight), weights(task))


def test_ctrl_c_while_the_best_is_saved_saves_it_again(make_task: MakeTask, run: Path) -> None:
    """What `on_best` could not finish must not count as done."""

    def pressed(_progress: Progress) -> None:
        raise KeyboardInterrupt

    saved: list[int] = []
    fit(make_task(epochs=1), run, CPU, pressed)
    progress = fit(make_task(epochs=1), run, CPU, lambda p: saved.append(p.best_epoch))
    assert saved == [progress.best_epoch] == [1]


def test_a_stop_before_the_first_epoch_ends_leaves_nothing(make_task: MakeTask, run: Path) -> None:
    progress = fit(cut_short(make_task(), epoch=1, batches=1), run, CPU, nothing)
    assert progress == Progress()
    assert not (run / "last.safetensors").exists()
    assert not (run / "history.csv").exists()


def test_a_finished_run_is_not_trained_again(make_task: MakeTask, run: Path) -> None:
    first = fit(make_task(epochs=2), run, CPU, nothing)
    before = (run / "last.safetensors").read_bytes()
    again = fit(make_task(epochs=2), run, CPU, nothing)
    assert again == first
    assert (run / "last.safetensors").read_bytes() == before


def test_early_stop_waits_as_long_as_it_was_told(make_task: MakeTask, run: Path) -> None:
    """With next to no learning rate nothing improves on the first epoch by much."""
    task = make_task(epochs=50, early_stop_epochs=2, learning_rate=1e-30, optimiser="sgd")
    task.segmenter.network = nn.Conv2d(3, 2, 1)  # no batch norm: it never changes
    progress = fit(task, run, CPU, nothing)
    assert (progress.best_epoch, progress.epoch) == (1, 3)


def plain_task(make_task: MakeTask, **schedule: object) -> Task:
    """A network without batch norm under SGD, whose steps depend on gradients alone."""
    task = make_task(
        epochs=1, optimiser="sgd", learning_rate=0.05, rate="constant", warmup_epochs=0,
        clip=0, augment=Augment.off(), **schedule,
    )  # fmt: skip
    torch.manual_seed(3)
    task.segmenter.network = nn.Conv2d(3, 2, 3, padding=1)
    return replace(task, loss=LossSpec(terms={"ce": 1.0}))


def test_accumulated_batches_are_one_large_batch(make_task: MakeTask, tmp_path: Path) -> None:
    found = []
    for batch, accumulate in ((4, 2), (8, 1)):
        run = tmp_path / str(batch)
        run.mkdir()
        task = plain_task(make_task, batch=batch, accumulate=accumulate)
        fit(task, run, CPU, nothing)
        found.append(weights(task))
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=1e-5, atol=1e-6)


def test_a_left_over_batch_counts_as_the_whole_of_its_step(
    make_task: MakeTask, tmp_path: Path
) -> None:
    """24 tiles in batches of 8, two to a step: the third batch is a step of its own."""
    task = plain_task(make_task, batch=8, accumulate=2)
    assert len(task.training) == 3
    expected = plain_task(make_task, batch=8).segmenter
    optimiser = torch.optim.SGD(expected.parameters(), 0.05, 0.9, nesterov=True, weight_decay=0.01)
    batches = list(task.training.epoch(1))
    for group in (batches[:2], batches[2:]):
        for tiles, labels in group:
            logits = expected(tiles)
            value = nn.functional.cross_entropy(logits, labels.long(), ignore_index=255)
            (value / len(group)).backward()
        optimiser.step()
        optimiser.zero_grad()
    fit(task, tmp_path, CPU, nothing)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(weights(task)[name], value, rtol=1e-5, atol=1e-6)


def test_a_resting_encoder_keeps_weights_and_statistics(make_task: MakeTask, run: Path) -> None:
    spec = ModelSpec(architecture="Unet", encoder="resnet18", depth=3, decoder_channels=(16, 8, 8))

    def task(epochs: int) -> Task:
        return make_task(spec, epochs=epochs, freeze_encoder_epochs=1, batch=8)

    def encoder(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {n: v for n, v in state.items() if n.startswith("network.encoder.")}

    resting = task(2)
    before = weights(resting)
    fit(cut_short(resting, epoch=2, batches=0), run, CPU, nothing)
    after = weights(resting)
    assert len(encoder(before)) > 60
    assert_same(encoder(before), encoder(after))
    changed = [n for n in before if "decoder" in n and not torch.equal(before[n], after[n])]
    assert any("running_mean" in name for name in changed)
    assert any("weight" in name for name in changed)

    awake = task(2)
    fit(awake, run, CPU, nothing)
    now = encoder(weights(awake))
    moved = [name for name, value in now.items() if not torch.equal(value, before[name])]
    assert any("running_mean" in name for name in moved)
    assert any("conv1.weight" in name for name in moved)


def test_the_device_s_number_is_obeyed(
    make_task: MakeTask, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    class AskedError(Exception):
        pass

    def fabric(**options: object) -> None:
        asked.update(options)
        raise AskedError

    monkeypatch.setattr("slidemask.train.loop.Fabric", fabric)
    with pytest.raises(AskedError):
        fit(make_task(), run, torch.device("cuda:1"), nothing)
    assert asked["accelerator"] == "cuda"
    assert asked["devices"] == [1]


def test_a_loss_that_is_no_number_stops_with_what_to_do(make_task: MakeTask, run: Path) -> None:
    task = make_task(epochs=2, learning_rate=1e30, clip=0, rate="constant", warmup_epochs=0)
    with pytest.raises(TrainingError, match=r"loss of epoch \d is .*schedule\.learning_rate"):
        fit(task, run, torch.device("cpu"), nothing)
