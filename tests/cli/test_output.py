"""How commands print: tables that break no code, whoever reads them."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from duecare.cli.output import in_short, plain, print_rows, table

CODE, WHEN, SOURCE = "91330100BAN2K2G66D", "2026-10-26 08:00", "cn-enterprise-registration-2002-2003"
SAID = "我司正常经营，从未清算。请更正。" * 8


def printed(*, terminal: bool, width: int = 80) -> str:
    """A table with a long statement, as a console of this width shows it."""
    rows = table("notice", "company", "source", "since", "statement", text=("statement",))
    rows.add_row("1", CODE, SOURCE, WHEN, SAID)
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=terminal, color_system=None, soft_wrap=True).print(rows)
    return out.getvalue()


def test_nothing_is_folded_where_no_terminal_reads() -> None:
    """In a pipe a row is one line, however long."""
    header, line = printed(terminal=False).splitlines()
    assert header.split() == ["notice", "company", "source", "since", "statement"]
    assert line.split() == ["1", CODE, SOURCE, *WHEN.split(), SAID]


@pytest.mark.parametrize("width", [20, 80, 120])
def test_a_terminal_folds_free_text_alone(width: int) -> None:
    """Codes, dates and names of sources stay whole at any width."""
    lines = printed(terminal=True, width=width).splitlines()
    assert len(lines) > 2
    for whole in (CODE, SOURCE, WHEN):
        assert whole in lines[1]
    said = "".join(line.split()[-1] for line in lines[1:])
    assert said == SAID


def test_what_steers_a_terminal_is_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    """An escape or a turn of direction in what a source says is shown, and neither obeyed nor passed on."""
    print_rows(("code", "what"), [("A\x1b[31m", "甲\u202e乙\x9b公司\tنص")])
    out = capsys.readouterr().out
    assert "A\\u001b[31m" in out
    assert "甲\\u202e乙\\u009b公司 نص" in out
    assert not {"\x1b", "\x9b", "\u202e"} & set(out)


def test_what_is_said_in_a_line_does_not_steer_it_either() -> None:
    """Any text from outside that stands in a sentence: what overwrites, colours or turns the line is written out."""
    assert plain("A\x1b[2J\r甲\u202e乙\u2066") == "A\\u001b[2J\\u000d甲\\u202e乙\\u2066"
    assert plain("first\n\tsecond") == "first\n\tsecond"
    assert plain("\u200fחברה\u200e שלום") == "חברה שלום"
    assert in_short("甲\u202e乙\r\n丙", "zh") == "甲乙 丙"
