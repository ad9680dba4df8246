"""Company codes: the check of one code, the check of a column, and what a person may paste."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum import lei as stdnum_lei
from stdnum.cn import uscc as stdnum_uscc
from stdnum.iso7064 import mod_11_10, mod_97_10

from duecare import identifiers
from duecare.errors import BadInput
from duecare.identifiers import Kind, check, compact_sql, fault_sql, is_valid, normalise, spellings

_CONNECTION = duckdb.connect()
_USCC = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@st.composite
def _uscc(draw: st.DrawFn) -> str:
    body = (
        draw(st.sampled_from("159ANY"))
        + draw(st.sampled_from("129"))
        + draw(st.text("0123456789", min_size=6, max_size=6))
    )
    body += draw(st.text(_USCC, min_size=9, max_size=9))
    return body + stdnum_uscc.calc_check_digit(body + "0")


@st.composite
def _lei(draw: st.DrawFn) -> str:
    body = draw(st.text(_LETTERS, min_size=18, max_size=18))
    return body + mod_97_10.calc_check_digits(body)


@st.composite
def _cn_old(draw: st.DrawFn) -> str:
    body = draw(st.text("0123456789", min_size=14, max_size=14))
    return body + mod_11_10.calc_check_digit(body)


_GOOD: dict[Kind, st.SearchStrategy[str]] = {
    Kind.USCC: _uscc(),
    Kind.CN_REGISTRATION: _cn_old(),
    Kind.LEI: _lei(),
    Kind.UK_COMPANY: st.from_regex(r"\A(?:[0-9]{8}|SC[0-9]{6}|IP[0-9]{5}R|SP[0-9]{4}RS)\Z"),
    Kind.CIK: st.integers(0, 9_999_999_999).map(str),
    Kind.DE_REGISTER: st.sampled_from(
        ["DE Chemnitz HRA 9941", "DE Berlin (Charlottenburg) HRB 23780 B", "DE Tostedt (Altgericht Buxtehude) HRB 1"]
    ),
}


@st.composite
def _mangled(draw: st.DrawFn, good: st.SearchStrategy[str]) -> str:
    """A good code, or one with a character changed, dropped or added, in any case, with blanks and hyphens."""
    code = draw(good)
    kind = draw(st.integers(0, 5))
    place = draw(st.integers(0, len(code) - 1))
    other = draw(st.sampled_from(_LETTERS + "-_é中'\" "))
    if kind == 1:
        code = code[:place] + other + code[place + 1 :]
    elif kind == 2:
        code = code[:place] + code[place + 1 :]
    elif kind == 3:
        code = code[:place] + other + code[place:]
    elif kind == 4:
        code = code.lower()
    elif kind == 5:
        code = f" {code[:place]} - {code[place:]} "
    return code


@pytest.mark.parametrize("kind", list(Kind))
def test_one_code_and_a_column_agree(kind: Kind) -> None:
    """On every text the scalar check and the check of a column say the same, and give the same canonical form."""

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.one_of(_mangled(_GOOD[kind]), st.text(max_size=24)), min_size=1, max_size=20))
    def agree(codes: list[str]) -> None:
        codes = [code.replace("\0", "") for code in codes]
        found = _CONNECTION.execute(
            f"SELECT given, compact, {fault_sql(kind, 'compact')} FROM "
            f"(SELECT given, {compact_sql(kind, 'given')} AS compact FROM (SELECT unnest(?::VARCHAR[]) AS given))",
            [codes],
        ).fetchall()
        for given_code, compact, fault in found:
            assert is_valid(kind, given_code) == (fault is None), (given_code, compact, fault)
            if fault is None:
                assert check(kind, given_code) == compact

    agree()


@settings(max_examples=50)
@given(_uscc(), _lei())
def test_good_codes_are_those_of_python_stdnum(uscc: str, lei: str) -> None:
    """What python-stdnum accepts is accepted."""
    assert identifiers.lei(lei) == stdnum_lei.validate(lei)
    assert identifiers.uscc(uscc) == uscc
    if uscc[0].isdigit():
        assert stdnum_uscc.validate(uscc) == uscc


@settings(max_examples=50)
@given(_uscc(), st.integers(0, 17), st.sampled_from(_USCC))
def test_one_wrong_character_is_noticed(code: str, place: int, other: str) -> None:
    """GB 32100-2015: any single wrong character breaks the check character."""
    wrong = code[:place] + other + code[place + 1 :]
    assert is_valid(Kind.USCC, wrong) == (wrong == code)


def test_rural_collectives_have_codes() -> None:
    """Codes of the department N (GB 32100-2015, table 1), which python-stdnum refuses, are codes."""
    body = "N2110101MF0000012"
    assert identifiers.uscc(body + stdnum_uscc.calc_check_digit(body + "0")).startswith("N2")


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [
        (Kind.USCC, "91310112734575997X", "wrong check character"),
        (Kind.USCC, "9131011273457599", "It should be 18"),
        (Kind.LEI, "52990000EXAMPLE00109", "wrong check digits"),
        (Kind.UK_COMPANY, "8209948", "It should be 8 characters"),
        (Kind.CIK, "12x", "at most 10 digits"),
        (Kind.CIK, "-5", "at most 10 digits"),
        (Kind.CIK, "0", "from 1 on"),
        (Kind.CIK, "0000000000", "from 1 on"),
        (Kind.DE_REGISTER, "HRB 1", "such as DE Chemnitz HRA 9941"),
        (Kind.CN_REGISTRATION, "310106000012345", "check digit"),
    ],
)  # fmt: skip
def test_an_error_says_what_is_wrong(kind: Kind, code: str, said: str) -> None:
    """A refused code is named with what is wrong and what would be right."""
    with pytest.raises(BadInput) as raised:
        check(kind, code)
    assert said in str(raised.value)
    assert repr(code) in str(raised.value)


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("９１３１０１１２ 7345759975", "913101127345759975"),
        ("9131 0112-7345759975", "913101127345759975"),
        (" 52990000example00108 ", "52990000EXAMPLE00108"),
        ("sc123456", "SC123456"),
        ("DE  Chemnitz HRA 9941", "DE Chemnitz HRA 9941"),
        ("NK-56Edov9bas9puzaChH5pBy", "NK-56Edov9bas9puzaChH5pBy"),
        ("", ""),
    ],
)
def test_pasted_codes_are_mended(typed: str, stored: str) -> None:
    """Width, blanks, hyphens and case do not keep anybody from a company; other texts stay as they are."""
    assert normalise(typed) == stored


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("320193", ["320193", "0000320193", "00320193"]),
        ("8209948", ["8209948", "0008209948", "08209948"]),
        ("sc1234", ["sc1234", "SC001234"]),
        ("０000320193", ["０000320193", "0000320193"]),
        ("9131 0112-7345759975", ["9131 0112-7345759975", "913101127345759975"]),
        (" Alpha Ltd ", ["Alpha Ltd"]),
        ("", [""]),
    ],
)
def test_what_a_text_may_be_a_writing_of(typed: str, meant: list[str]) -> None:
    """The zeros that people leave out are put back, for each kind of code that has them."""
    assert list(spellings(typed)) == meant
