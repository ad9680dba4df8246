"""Company codes: what a well-formed one is, for one code and for a whole column.

The rule of this module: the check of one code and the check of a column agree on every text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce

from stdnum import lei as stdnum_lei
from stdnum.cn import uscc as stdnum_uscc
from stdnum.exceptions import ValidationError
from stdnum.iso7064 import mod_11_10

from duecare.errors import BadInput

_USCC_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_USCC_WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
_ALPHANUMERIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

# python-stdnum wants eight digits first, but GB 32100-2015 table 1 also gives the registering departments A, N and Y:
# every rural collective has a code that begins with N.
_USCC_PATTERN = "[1-9ANY][1-9][0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}"
_CN_OLD_PATTERN = "[0-9]{15}"
_LEI_PATTERN = "[0-9A-Z]{18}[0-9]{2}"
# Companies House: eight digits, or two letters of jurisdiction and kind with six digits. Registered societies keep
# letters of their old number at the end (IP00172R, SP1818RS).
_UK_PATTERN = "[0-9]{8}|R[0-9]{7}|[A-Z]{2}[0-9]{6}|(?:IP|SP|RS|NP|NO|NI|IC|SI)[0-9]{1,6}[A-Z]{0,4}"
# Ten digits, of which one at least is not a zero: the SEC counts from 1.
_CIK_PATTERN = "|".join(f"0{{{zeros}}}[1-9][0-9]{{{9 - zeros}}}" for zeros in range(10))
_DE_PATTERN = r"DE [^\s](?:.*[^\s])? (?:HRA|HRB|GnR|GsR|PR|VR) [0-9]+(?: [A-ZÄÖÜ]{1,4})?"


class Kind(StrEnum):
    """The kinds of codes we can check."""

    USCC = "uscc"
    CN_REGISTRATION = "cn_registration"
    LEI = "lei"
    UK_COMPANY = "uk_company"
    CIK = "cik"
    DE_REGISTER = "de_register"


@dataclass(frozen=True)
class _Rule:
    title: str
    pattern: str
    shape: str
    checks_out: Callable[[str], bool] | None = None
    checks_out_sql: Callable[[str], str] | None = None
    check_name: str = "check character"


def check(kind: Kind | str, code: str) -> str:
    """``code`` in its canonical form. Raises ``BadInput`` that says what is wrong with it."""
    kind = Kind(kind)
    rule = _RULES[kind]
    text = _compact(kind, code)
    if not re.fullmatch(rule.pattern, text):
        raise BadInput(f"{code!r} is not a {rule.title}.", hint=f"It should be {rule.shape}.")
    if kind is Kind.UK_COMPANY and len(text) != 8:
        raise BadInput(f"{code!r} is not a {rule.title}.", hint=f"It should be {rule.shape}.")
    if rule.checks_out is not None and not rule.checks_out(text):
        raise BadInput(
            f"{code!r} is not a {rule.title} (wrong {rule.check_name}).",
            hint="Compare it with the register; one character is probably mistyped.",
        )
    return text


def is_valid(kind: Kind | str, code: str) -> bool:
    """Whether ``check`` accepts ``code``."""
    try:
        check(kind, code)
    except BadInput:
        return False
    return True


def uscc(code: str) -> str:
    """A unified social credit code (统一社会信用代码), 18 characters, checked by GB 32100-2015 appendix B."""
    return check(Kind.USCC, code)


def lei(code: str) -> str:
    """A legal entity identifier, 20 characters, checked by ISO 7064 MOD 97-10 (ISO 17442)."""
    return check(Kind.LEI, code)


def uk_company_number(code: str) -> str:
    """A Companies House number, eight characters. It has no check character."""
    return check(Kind.UK_COMPANY, code)


def cik(code: str) -> str:
    """A Central Index Key of the US SEC, padded to ten digits. It has no check character."""
    return check(Kind.CIK, code)


def german_register_number(code: str) -> str:
    """A German register number with its court, as ``DE Chemnitz HRA 9941``. It has no check character."""
    return check(Kind.DE_REGISTER, code)


def normalise(code: str) -> str:
    """What a person typed or pasted, as the code is stored: full-width letters, spaces, hyphens and case are mended
    where the result is a code that checks out; any other text is only trimmed. Never raises.

    >>> normalise("９１３１０１１２-7345759975")
    '913101127345759975'
    """
    text = re.sub(r"\s+", " ", unicodedata.normalize("NFKC", code)).strip()
    for kind in (Kind.USCC, Kind.LEI, Kind.UK_COMPANY):
        if is_valid(kind, text):
            return check(kind, text)
    return text


def spellings(text: str) -> tuple[str, ...]:
    """The codes that ``text`` may be another writing of, each as it is stored, the text itself (trimmed) first: mended
    as ``normalise`` does, and with the zeros that people leave out before a CIK or a company number. Never raises.

    >>> spellings("320193")
    ('320193', '0000320193', '00320193')
    """
    mended = normalise(text)
    found = [text.strip(), mended, *(check(kind, mended) for kind in Kind if is_valid(kind, mended))]
    short = re.fullmatch("([A-Z]{2})?([0-9]+)", mended.upper())
    if short is not None:
        letters = short[1] or ""
        found.append(letters + short[2].rjust(8 - len(letters), "0"))
    return tuple(dict.fromkeys(found))


def compact_sql(kind: Kind | str, column: str) -> str:
    """A DuckDB expression: ``column`` in the form that ``fault_sql`` takes (spaces, hyphens and case mended)."""
    kind = Kind(kind)
    if kind is Kind.DE_REGISTER:
        return f"trim({column})"
    compacted = f"upper(regexp_replace({column}, '{_separators(kind)}', '', 'g'))"
    if kind is Kind.CIK:
        return f"CASE WHEN length({compacted}) BETWEEN 1 AND 10 THEN lpad({compacted}, 10, '0') ELSE {compacted} END"
    return compacted


def fault_sql(kind: Kind | str, column: str) -> str:
    """A DuckDB expression: what is wrong with the code in ``column`` (canonical text), null where nothing is."""
    kind = Kind(kind)
    rule = _RULES[kind]
    length = f" OR length({column}) <> 8" if kind is Kind.UK_COMPANY else ""
    cases = [
        f"WHEN {column} IS NULL THEN 'no {rule.title}'",
        f"WHEN NOT regexp_full_match({column}, '{rule.pattern}'){length} "
        f"THEN 'not a {rule.title} ({rule.shape}): ' || left({column}, 60)",
    ]
    if rule.checks_out_sql is not None:
        cases.append(
            f"WHEN NOT ({rule.checks_out_sql(column)}) THEN 'wrong {rule.check_name} in {rule.title}: ' || {column}"
        )
    return f"CASE {' '.join(cases)} END"


def _separators(kind: Kind) -> str:
    """What people write between the characters of a code, as a pattern. In a CIK a hyphen would be a minus."""
    return "[ ]" if kind is Kind.CIK else "[ -]"


def _compact(kind: Kind, code: str) -> str:
    if kind is Kind.DE_REGISTER:
        return code.strip(" ")
    text = re.sub(_separators(kind), "", code).upper()
    if kind is Kind.CIK and 1 <= len(text) <= 10:
        return text.rjust(10, "0")
    return text


def _uscc_checks_out(code: str) -> bool:
    return bool(stdnum_uscc.calc_check_digit(code[:17]) == code[17])


def _uscc_sql(column: str) -> str:
    total = " + ".join(
        f"(instr('{_USCC_ALPHABET}', {column}[{place}]) - 1) * {weight}"
        for place, weight in enumerate(_USCC_WEIGHTS, start=1)
    )
    return f"(31 - ({total}) % 31) % 31 = instr('{_USCC_ALPHABET}', {column}[18]) - 1"


def _lei_checks_out(code: str) -> bool:
    try:
        stdnum_lei.validate(code)
    except ValidationError:
        return False
    return True


def _lei_sql(column: str) -> str:
    def step(total: str, place: int) -> str:
        character = f"{column}[{place}]"
        shift = f"CASE WHEN {character} <= '9' THEN 10 ELSE 100 END"
        return f"(({total}) * {shift} + instr('{_ALPHANUMERIC}', {character}) - 1) % 97"

    return f"{reduce(step, range(1, 21), '0')} = 1"


def _cn_old_sql(column: str) -> str:
    def step(check: str, place: int) -> str:
        # ISO 7064 MOD 11,10 takes a remainder of 0 as 10; written so that the expression stays as short as the code.
        return f"((({check} + 9) % 10 + 1) * 2 % 11 + {column}[{place}]::INTEGER) % 10"

    return f"{reduce(step, range(1, 16), '5')} = 1"


_RULES: dict[Kind, _Rule] = {
    Kind.USCC: _Rule(
        "unified social credit code", _USCC_PATTERN, "18 digits and capital letters without I, O, S, V, Z",
        _uscc_checks_out, _uscc_sql,
    ),
    Kind.CN_REGISTRATION: _Rule(
        "registration number", _CN_OLD_PATTERN, "15 digits", mod_11_10.is_valid, _cn_old_sql, "check digit",
    ),
    Kind.LEI: _Rule(
        "LEI", _LEI_PATTERN, "18 digits and capital letters and two digits", _lei_checks_out, _lei_sql, "check digits",
    ),
    Kind.UK_COMPANY: _Rule(
        "company number", _UK_PATTERN, "8 characters, such as 08209948, SC123456 or IP00172R",
    ),
    Kind.CIK: _Rule("CIK", _CIK_PATTERN, "a number of at most 10 digits, from 1 on"),
    Kind.DE_REGISTER: _Rule(
        "German register number", _DE_PATTERN, "a court, a register and a number, such as DE Chemnitz HRA 9941",
    ),
}  # fmt: skip
