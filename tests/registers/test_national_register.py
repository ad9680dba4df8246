"""The national register's report page: read whole, found empty, not read, or unreadable."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duecare.demo.report import Entry, render
from duecare.demo.world import World
from duecare.errors import BadInput
from duecare.registers.adapter import Page, PageAdapter, PageRead, composite
from duecare.registers.adapters.national_register import HEADINGS, SOURCE, NationalRegister, date_fields
from duecare.registers.sections import CATALOGUE

AT = datetime(2019, 2, 20, tzinfo=UTC)
CODE = "91500000MA5U5XA02X"
NEWEST = NationalRegister()


def read(state: dict[str, list[Entry]], parser: NationalRegister = NEWEST, **how: Any) -> PageRead:
    return parser.read(Page(CODE, f"https://r/report/{CODE}", AT, render(state, **how)))


def empty() -> dict[str, list[Entry]]:
    basic = dict.fromkeys(CATALOGUE["basic"].fields) | {"code": CODE, "status": "存续（在营、开业、在册）"}
    return {name: [] for name in HEADINGS} | {"basic": [basic]}


texts = (
    st.text(st.characters(exclude_categories=("C", "Z"), max_codepoint=0x2FFFF), min_size=1, max_size=12)
    | st.sampled_from(["股东 甲", "<b>&amp;", "暂无", "2019年", '["甲"]', "、"])
).map(lambda text: " ".join(text.split()) or "甲")
dates = st.dates(date(1950, 1, 1), date(2049, 12, 31)).map(date.isoformat)


def _entry(name: str) -> st.SearchStrategy[Entry]:
    dated = date_fields(name)
    fields = CATALOGUE[name].fields
    return st.fixed_dictionaries({field: st.none() | (dates if field in dated else texts) for field in fields})


@st.composite
def states(draw: st.DrawFn) -> dict[str, list[Entry]]:
    names = st.text("甲乙丙丁戊己庚辛", min_size=1, max_size=3)
    team = draw(st.sets(st.tuples(names, st.sampled_from(["负责人", "成员"])), max_size=4))
    state: dict[str, list[Entry]] = {"basic": [dict(draw(_entry("basic"))) | {"code": CODE}]}
    for name in draw(st.sets(st.sampled_from(sorted(set(HEADINGS) - {"basic", "liquidation"})))):
        state[name] = draw(st.lists(_entry(name), max_size=4))
    if draw(st.booleans()):
        state["liquidation"] = [{"name": person, "role": role} for person, role in sorted(team)]
    return state


def _multiset(entries: Sequence[Any]) -> list[list[tuple[str, str]]]:
    return sorted(sorted((field, value or "") for field, value in entry.items()) for entry in entries)


@given(state=states())
@settings(max_examples=150, deadline=None)
def test_a_page_says_what_the_register_holds(state: dict[str, list[Entry]]) -> None:
    """Rendering any state and reading the page gives the state back, section by section, with unique keys."""
    found = read(state)
    assert not found.unreadable
    assert set(found.sections) == set(state)
    for name, entries in state.items():
        rows = found.sections[name]
        assert _multiset([row.value for row in rows]) == _multiset(entries)
        assert len({row.key for row in rows}) == len(rows)
        assert all(tuple(row.value) == CATALOGUE[name].fields for row in rows)


@given(state=states(), seed=st.integers())
@settings(max_examples=75, deadline=None)
def test_a_list_in_another_order_is_the_same_read(state: dict[str, list[Entry]], seed: int) -> None:
    """The order in which the register lists its entries changes no key and no value."""
    shuffled = {name: random.Random(seed).sample(entries, len(entries)) for name, entries in state.items()}
    assert read(shuffled) == read(state)


@given(body=st.binary(max_size=200))
@settings(max_examples=75, deadline=None)
def test_any_bytes_yield_a_read(body: bytes) -> None:
    """Bytes that are no report page make every section unreadable, each with a reason, and never raise."""
    for page in (body, body + b"</html>"):
        found = NEWEST.read(Page(CODE, "u", AT, page))
        assert not found.sections
        assert set(found.unreadable) == {section.name for section in NEWEST.sections}


def test_found_empty_not_on_the_page_and_unreadable_are_three_states() -> None:
    """The sentence 暂无…信息 reads as empty; an absent panel is not read; a panel in unknown markup is unreadable."""
    found = read(empty(), hidden=frozenset({"liquidation"}), broken=frozenset({"penalties"}))
    assert found.sections["changes"] == []
    assert "liquidation" not in found.sections
    assert "liquidation" not in found.unreadable
    assert "penalties" not in found.sections
    assert "neither a table nor" in found.unreadable["penalties"]


def test_the_parser_before_30_april_2019_does_not_know_liquidation() -> None:
    """Case 1: version 2 reads the same bytes without the liquidation section; version 3 finds three undated names."""
    state = empty()
    state["liquidation"] = [
        {"name": "成员甲", "role": "负责人"}, {"name": "成员乙", "role": "成员"}, {"name": "成员丙", "role": "成员"},
    ]  # fmt: skip
    old = NationalRegister("2")
    assert "liquidation" not in {section.name for section in old.sections}
    before, after = read(state, old), read(state)
    assert "liquidation" not in before.sections
    assert "liquidation" not in before.unreadable
    assert {row.key for row in after.sections["liquidation"]} == {
        composite("负责人", "成员甲"), composite("成员", "成员乙"), composite("成员", "成员丙"),
    }  # fmt: skip
    assert all(row.effective_on is None for row in after.sections["liquidation"])
    assert {name: rows for name, rows in after.sections.items() if name != "liquidation"} == before.sections


def test_an_unknown_parser_version_is_refused() -> None:
    """A version that never was is named, with those that are."""
    with pytest.raises(BadInput, match=r"no version '9'.*Known: 2, 3"):
        NationalRegister("9")


@pytest.mark.parametrize("shown", ["2013年08月05日", "2013年8月5日", "2013-08-05", "2013/8/5", "2013.08.05"])
def test_dates_are_read_in_the_forms_the_register_uses(shown: str) -> None:
    """Each form gives the same date, as the entry's own date."""
    state = empty()
    state["changes"] = [{"item": "住所变更", "before": "甲", "after": "乙", "date": "2013-08-05"}]
    body = render(state).replace("2013年08月05日".encode(), shown.encode())
    (row,) = NEWEST.read(Page(CODE, "u", AT, body)).sections["changes"]
    assert row.value["date"] == "2013-08-05"
    assert row.effective_on == date(2013, 8, 5)


@pytest.mark.parametrize("shown", ["2013年02月30日", "八月五日", "2013-08/05", "20130805", "长期"])
def test_a_date_in_no_known_form_makes_the_section_unreadable(shown: str) -> None:
    """A date that cannot be read is never taken for no date; the reason shows it."""
    state = empty()
    state["changes"] = [{"item": "住所变更", "before": "甲", "after": "乙", "date": "2013-08-05"}]
    body = render(state).replace("2013年08月05日".encode(), shown.encode())
    found = NEWEST.read(Page(CODE, "u", AT, body))
    assert "changes" not in found.sections
    assert shown in found.unreadable["changes"]


def test_an_open_ended_term_is_kept_as_the_word() -> None:
    """营业期限至 may say 长期, which is no date and no fault."""
    state = empty()
    state["basic"] = [{**state["basic"][0], "term_to": "长期"}]
    assert read(state).sections["basic"][0].value["term_to"] == "长期"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("<th>处罚决定日期</th>", "<th>日期</th>", "处罚决定日期"),
        ("<th>罚款金额</th>", "<th>处罚种类</th>", "处罚种类"),
        ("<td>罚款</td>", "<td>罚款</td><td>多</td>", "7 cells under 6 headings"),
        ('id="penalties"><h2>行政处罚', 'id="x"><h2>变更信息', "2 panels"),
    ],
)
def test_a_table_that_changed_is_unreadable_alone(old: str, new: str, reason: str) -> None:
    """A heading gone, doubled or a line of another length stops that section only, saying what was found."""
    state = empty()
    state["penalties"] = [
        {"document": "1号", "kind": "罚款", "amount": "1元", "authority": "甲局", "date": "2026-10-02"}
    ]
    found = NEWEST.read(Page(CODE, "u", AT, render(state).decode().replace(old, new).encode()))
    assert len(found.unreadable) == 1
    assert reason in next(iter(found.unreadable.values()))
    assert found.sections["personnel"] == []


def test_another_column_and_another_order_of_columns_are_read() -> None:
    """Columns are known by their headings, so that one more, or two changed places, lose nothing."""
    body = render(empty()).decode()
    table = "<table><tr><th>职务</th><th>照片</th><th>姓名</th></tr><tr>{}</tr></table>".format(
        "<td>监事</td><td></td><td> 成员\n甲 </td>"
    )
    body = body.replace('<p class="none">暂无主要人员信息</p>', table)
    (row,) = NEWEST.read(Page(CODE, "u", AT, body.encode())).sections["personnel"]
    assert row.value == {"name": "成员 甲", "post": "监事"}


def test_a_table_without_a_line_is_not_taken_for_none() -> None:
    """Headings over nothing may be a page that failed to load its rows: unreadable, not empty."""
    body = render(empty()).decode()
    table = "<table><tr><th>姓名</th><th>职务</th></tr></table>"
    body = body.replace('<p class="none">暂无主要人员信息</p>', table)
    found = NEWEST.read(Page(CODE, "u", AT, body.encode()))
    assert "no line" in found.unreadable["personnel"]


@pytest.mark.parametrize(
    ("status", "cut", "code", "reason"),
    [(404, None, CODE, "answered 404"), (200, 900, CODE, "cut short"), (200, None, "9133", "about 9133")],
)
def test_a_page_that_is_not_the_report_asked_for_is_unreadable(
    status: int, cut: int | None, code: str, reason: str
) -> None:
    """An error page, half a page, or another company's page yields no rows whatever it shows."""
    state = empty()
    state["basic"] = [{**state["basic"][0], "code": code}]
    found = NEWEST.read(Page(CODE, "u", AT, render(state)[:cut], status))
    assert not found.sections
    assert all(reason in said for said in found.unreadable.values())
    assert len(found.unreadable) == len(NEWEST.sections)


def test_shareholders_of_one_name_are_told_apart() -> None:
    """Two shareholders of one name keep two keys; those of other names keep theirs."""
    holder = {"kind": "自然人股东", "paid_in": None, "method": None, "date": None}
    state = empty()
    state["shareholders"] = [{"name": name, "subscribed": much, **holder} for name, much in ("甲9", "甲5", "乙1")]
    rows = {row.key: row.value["subscribed"] for row in read(state).sections["shareholders"]}
    assert rows == {"甲": "5", composite("甲", "2"): "9", "乙": "1"}


def test_the_source_says_by_what_right_and_how_fast() -> None:
    """The register is authoritative for all its sections, obeys robots and states its basis; the adapter is one."""
    assert isinstance(NEWEST, PageAdapter)
    assert "企业信息公示暂行条例" in SOURCE.legal_basis
    assert SOURCE.robots
    assert set(SOURCE.authoritative_for) == {section.name for section in NEWEST.sections}
    assert NEWEST.address("https://r/", CODE) == f"https://r/report/{CODE}"
    assert NEWEST.address("https://r/", "../a?b") == "https://r/report/..%2Fa%3Fb"


def test_every_page_of_a_world_is_read_whole() -> None:
    """All sections of all companies of a world, on its last day, come back as the world has them."""
    world = World(seed=3, size=300)
    for code in world.codes:
        state = world.state(code, world.last_day)
        found = NEWEST.read(Page(code, "u", AT, render(state)))
        assert not found.unreadable
        assert {name: _multiset([row.value for row in rows]) for name, rows in found.sections.items()} == {
            name: _multiset(entries) for name, entries in state.items()
        }
