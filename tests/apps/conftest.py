"""The command line, run in this process as the installed program runs it."""

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from journey import save_dark_bundle
from slidemask.apps.cli import main


class Done(NamedTuple):
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture
def slidemask(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Run `slidemask` with arguments; an error that escapes `main` fails the test."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def command(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["slidemask", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
        out, err = capsys.readouterr()
        return Done(code, out, err)

    root = logging.getLogger()
    before = list(root.handlers)
    yield command
    root.handlers[:] = before


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that marks what is dark, at 1 µm per pixel."""
    return save_dark_bundle(tmp_path_factory.mktemp("model") / "dark", downsample=None, mpp=1.0)
