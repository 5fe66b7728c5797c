"""Settings are frozen and refuse what they do not know; digests follow every value."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from slidemask.base.settings import Settings, digest

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


class Inner(Settings):
    share: float = 0.5


class Outer(Settings):
    name: str = "a"
    inner: Inner = Inner()
    pair: tuple[int, int] = (1, 2)


@given(st.dictionaries(st.text(), plain, max_size=5))
def test_digest_knows_no_order_of_keys(table: dict[str, object]) -> None:
    backwards = dict(reversed(table.items()))
    assert digest(table) == digest(backwards)
    assert len(digest(table)) == 16
    assert digest({**table, "one more": 1}) != digest({**table, "one more": 2})


def test_digest_follows_nested_values_and_not_how_they_were_written() -> None:
    assert digest(Outer()) == digest(Outer(inner=Inner(share=0.5)))
    assert digest(Inner(share=1)) == digest(Inner(share=1.0))
    assert digest(Outer()) != digest(Outer(inner=Inner(share=0.25)))
    assert digest(Outer()) != digest(Outer(pair=(2, 1)))
    assert digest(Outer()) == digest(json.loads(Outer().model_dump_json()))


def test_digest_is_the_same_in_another_process() -> None:
    code = "from slidemask.base.settings import digest; print(digest({'b': [1, 'ü'], 'a': None}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest({"a": None, "b": [1, "ü"]})


def test_settings_are_frozen_and_finite_and_know_their_names() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Inner().share = 1.0
    with pytest.raises(ValidationError, match="Extra inputs"):
        Inner.model_validate({"shares": 1.0})
    with pytest.raises(ValidationError, match="finite"):
        Inner(share=float("inf"))
