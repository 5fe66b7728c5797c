"""Open cases, kept at hand as long as memory allows."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from slidemask.base.classes import ClassMap
from slidemask.data.case import Case
from slidemask.data.truth import Truth, open_truth
from slidemask.io.open import FileSlide, open_slide

_HANDLE_BYTES = 32 << 20  # an open pyramid with its caches, at a guess


class OpenCase(NamedTuple):
    """A slide and what is known of it."""

    slide: FileSlide
    truth: Truth

    @property
    def nbytes(self) -> int:
        """Memory held, roughly; a file of one level is taken for a picture decoded whole."""
        width, height = self.slide.size
        picture = len(self.slide.downsamples) == 1
        return self.truth.nbytes + (3 * width * height if picture else _HANDLE_BYTES)


class Shelf:
    """The cases used last, at most so many bytes of them, but always one.

    Parameters
    ----------
    cases : tuple of Case
        What may be asked for.
    classes : ClassMap
        What their annotations mean.
    budget_bytes : int
        When more is open, what was used longest ago is closed.
    """

    def __init__(
        self, cases: tuple[Case, ...], classes: ClassMap, budget_bytes: int = 512 << 20
    ) -> None:
        self._cases, self._classes, self._budget = cases, classes, budget_bytes
        self._open: OrderedDict[int, OpenCase] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def get(self, number: int) -> OpenCase:
        """Return a case, opened now or before."""
        if number not in self._open:
            self._open[number] = _opened(self._cases[number], self._classes)
            self._make_room()
        self._open.move_to_end(number)
        return self._open[number]

    def close(self) -> None:
        """Close all slides."""
        while self._open:
            self._open.popitem()[1].slide.close()

    def _make_room(self) -> None:
        held = sum(case.nbytes for case in self._open.values())
        while held > self._budget and len(self._open) > 1:
            _, oldest = self._open.popitem(last=False)
            held -= oldest.nbytes
            oldest.slide.close()


@contextmanager
def open_case(case: Case, classes: ClassMap) -> Iterator[OpenCase]:
    """Open one case for a while."""
    opened = _opened(case, classes)
    try:
        yield opened
    finally:
        opened.slide.close()


def _opened(case: Case, classes: ClassMap) -> OpenCase:
    slide = open_slide(case.slide, mpp=case.mpp)
    try:
        return OpenCase(slide, open_truth(case, slide, classes))
    except BaseException:
        slide.close()
        raise
