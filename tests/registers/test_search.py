"""Tests of how a text finds the names that it may mean."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from duecare.clock import SetClock
from duecare.registers.catalogue import adapter_for
from duecare.registers.ingest import ingest_file
from duecare.registers.search import search
from duecare.settings import load
from duecare.store.home import Home

NAMES = [
    "深圳凯德置业公司",
    "凯德深圳投资有限公司",
    "凯德 深圳商业管理（上海）有限公司",
    "上海凯德置业有限公司",
    "深圳市德凯实业有限公司",
    "Exxon Mobil Corp",
    "Corp Exxon Mobil",
    "Exxcorp Mobilon Ltd",
]
AT = datetime(2025, 2, 27, tzinfo=UTC)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home that has read a list with these names, and many that have one word of two."""
    folder = tmp_path_factory.mktemp("search")
    path = folder / "2025-02-27.csv"
    names = [*NAMES, *(f"凯德{number}号店" for number in range(300))]
    rows = "".join(f"{number:010},T{number},{name},NYSE\n" for number, name in enumerate(names, 1))
    path.write_text("CIK,Ticker,Name,Exchange\n" + rows)
    with Home(load(home=folder / "home"), SetClock(AT)) as opened:
        ingest_file(opened, adapter_for(opened, "us-sec-issuers-history"), path, AT)
        yield opened


def found(home: Home, text: str, limit: int = 20) -> list[str]:
    """The names, best first."""
    return [hit.name for hit in search(home, text, limit)]


@pytest.mark.parametrize("text", ["凯德 深圳", "凯德　深圳", " 凯德  深圳 "])
def test_words_are_found_in_another_order_too(home: Home, text: str) -> None:
    """Each word must be in the name; the names that have the text as it stands, or but for blanks, come first."""
    assert found(home, text) == [NAMES[2], NAMES[1], NAMES[0]]
    assert found(home, text, limit=1) == [NAMES[2]]


def test_a_word_that_a_name_has_not_is_not_left_out(home: Home) -> None:
    """The single characters of a word, or one word of two, are not enough; nor is a word that is asked for twice."""
    assert found(home, "凯德 北京") == []
    assert found(home, "深圳 凯德 凯德") == []
    assert found(home, "德凯 深圳") == [NAMES[4]]


def test_a_longer_text_is_found_in_its_words_alone(home: Home) -> None:
    """In any order, but not in pieces of words; the order that was asked for comes first."""
    assert found(home, "exxon mobil corp") == ["Exxon Mobil Corp", "Corp Exxon Mobil"]
    assert found(home, "mobil exxon") == ["Exxon Mobil Corp", "Corp Exxon Mobil"]


def test_a_text_without_blanks_is_found_as_it_stands(home: Home) -> None:
    """Without blanks nothing says where a word begins."""
    assert found(home, "凯德深圳") == [NAMES[1], NAMES[2]]
