"""How commands print: for a person by default, JSON with ``--json``; progress and errors go to standard error."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, date, datetime, time
from itertools import chain, islice
from pathlib import Path
from shutil import which
from typing import Annotated, Any, NoReturn, TextIO, cast

import typer
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from duecare.clock import BEIJING
from duecare.errors import BadInput, DuecareError, Forbidden
from duecare.registers.field_words import shortened

_FIRST_ROWS = 200
_LEAST_TEXT = 12
_ENDLESS = 1_000_000
_TURNING = frozenset(("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"))
_MARKS = frozenset("\u061c\u200e\u200f")

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def _home_given(context: typer.Context, home: Path | None) -> Path | None:
    """``home``, or what was given before the command's name."""
    above = context.parent
    while home is None and above is not None:
        home, above = above.params.get("home"), above.parent
    return home


def filled(param: typer.CallbackParam, value: Any) -> Any:
    """``value`` as given, for what means all, or now, where it is left out. Raises ``BadInput`` where it is empty,
    as a variable of a script is that was never set: it was meant to narrow, and would not."""
    given = value if isinstance(value, (list, tuple)) else (value,)
    if any(isinstance(each, str) and not each.strip() for each in given):
        option = param.param_type_name == "option"
        name = param.opts[0] if option else param.metavar or str(param.name).upper()
        raise BadInput(
            f"{name} is empty.", hint="Give a value." if param.required else "Give a value, or leave it out."
        )
    return value


HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", help="Folder where everything lives (default: DUECARE_HOME or ~/.duecare).", callback=_home_given
    ),
]
FOR_EVER = "it is kept in the public log for ever: name no person (永久存入公开日志, 请勿写入个人信息)."
"""What is said of every free text that goes into the evidence."""
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def log_to_errors() -> None:
    """From now on, what rooms log goes to standard error; unconfigured, structlog writes to standard output."""
    import structlog

    steps = structlog.get_config()["processors"][:-1]
    structlog.configure(
        processors=[*steps, structlog.dev.ConsoleRenderer(colors=errors.is_terminal)],
        # Looked up at each line: while progress is drawn, standard error is what draws the line above it.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )


def print_json(value: Any) -> None:
    """``value`` as one JSON document, Chinese as it is."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=_plain) + "\n")


def print_json_line(value: Any) -> None:
    """``value`` on one line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=_plain) + "\n")


def say(text: str = "") -> None:
    """A line for a person; ``text`` may carry markup."""
    console.print(text)


class _Ledger(Table):
    """A table that folds its free text alone, and nothing where the output is no terminal."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        free = options.update(max_width=_ENDLESS)
        needs = Measurement.get(console, free, self)
        width = max(options.max_width, needs.minimum) if console.is_terminal else max(1, needs.maximum)
        yield from super().__rich_console__(console, options.update(max_width=width))


def table(*columns: str, text: Sequence[str] = ()) -> Table:
    """A plain table: hairlines, no box. ``text`` names the columns of free text, which may be folded at a terminal;
    the others (codes, dates, names) stand on one line however narrow it is."""
    made = _Ledger(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        if column in text:
            made.add_column(column, overflow="fold", min_width=min(_LEAST_TEXT, 4 + cell_len(column)))
        else:
            made.add_column(column, no_wrap=True, overflow="ignore")
    return made


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table of any length, each row as it comes; nothing where there is none. No cell is folded.

    The columns are as wide as the first rows need; the last one runs on.
    """
    coming = iter(rows)
    first = list(islice(coming, _FIRST_ROWS))
    if not first:
        return
    widths = [max(cell_len(_flat(cell)) for cell in column) for column in zip(columns, *first, strict=True)]
    sys.stdout.write(_line(columns, widths))
    for row in chain(first, coming):
        sys.stdout.write(_line(row, widths))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    flat = [_flat(cell) for cell in cells]
    padded = [cell + " " * (width - cell_len(cell)) for cell, width in zip(flat[:-1], widths, strict=False)]
    return "  ".join([*padded, flat[-1]]) + "\n"


def _flat(cell: str) -> str:
    return _unseen(" ".join(cell.split()))


def _unseen(text: str) -> str:
    """``text`` with the characters that steer a terminal or turn the line round written out, and no more obeyed; the
    marks that texts from right to left carry with their letters are left out."""
    return "".join(f"\\u{ord(each):04x}" if _steers(each) else each for each in text if each not in _MARKS)


def _steers(character: str) -> bool:
    return unicodedata.bidirectional(character) in _TURNING or (
        unicodedata.category(character) == "Cc" and character not in "\n\t"
    )


def plain(text: object) -> str:
    """``text`` without meaning as markup, and without power over the terminal."""
    return escape(_unseen(str(text)))


def program() -> str:
    """How this program is called here: by name where the shell finds it, else by its path."""
    if which("duecare"):
        return "duecare"
    called = Path(sys.argv[0]).absolute()
    return str(called.relative_to(Path.cwd()) if called.is_relative_to(Path.cwd()) else called)


def say_if_asleep(folder: Path) -> None:
    """In the home of a demo that is over: say that its site is closed, and how to open it again."""
    from duecare.demo.reopening import asleep

    if said := asleep(folder):
        say(f"[yellow]! {plain(said)}[/]")
        say(f"  To open it again, in another terminal: [bold]{program()} demo --serve --home {plain(folder)}[/]")


def moment(at: datetime | str | None) -> str:
    """A moment for a person: the minute in Beijing. Midnight in UTC stands for a day that came without a time."""
    if at is None:
        return ""
    if isinstance(at, str):
        at = datetime.fromisoformat(at)
    at = at.astimezone(UTC)
    return f"{at:%Y-%m-%d}" if at.time() == time.min else f"{at.astimezone(BEIJING):%Y-%m-%d %H:%M}"


def dated(on: date | None, language: str) -> str:
    """The register's date for a person; one that it does not give is said to be unknown, in the language asked for."""
    return str(on) if on else ("日期不详" if language == "zh" else "not known")


def in_short(value: str, language: str) -> str:
    """A register's value for a terminal, where one that is longer than any reader takes is cut."""
    return shortened(value, language, whole=("--json 显示全文", "--json shows it whole"))


class _Output:
    """Standard output that ends the program without a fault when whoever reads it has had enough, as ``head`` does."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, text: str) -> int:
        """As a file does."""
        try:
            return self._out.write(text)
        except BrokenPipeError:
            self._end()

    def flush(self) -> None:
        """As a file does."""
        try:
            self._out.flush()
        except BrokenPipeError:
            self._end()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)

    @staticmethod
    def _end() -> NoReturn:
        # What is still in the buffer goes nowhere, or the interpreter would stumble over it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(0)


@contextmanager
def heard() -> Iterator[None]:
    """While this lasts, a reader of standard output who leaves ends the program with exit code 0."""
    out = _Output(sys.stdout)
    with redirect_stdout(cast("TextIO", out)):
        try:
            yield
        finally:
            out.flush()


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """Show what long work is doing, on standard error; call the result with each step."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    # Drawn in place, it is for a terminal alone: elsewhere it would leave nothing but blank lines.
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task(what)
        yield lambda step: progress.update(task, description=f"{what}: {step}")


@contextmanager
def counting() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """Show how much of long work is done, on standard error; call the result with its name, then with counts."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True) as progress:

        def begin(what: str) -> Callable[[int, int], None]:
            task = progress.add_task(what, total=None)
            return lambda done, of: progress.update(task, completed=done, total=of)

        yield begin


def fail(error: DuecareError) -> None:
    """Say what is wrong and what would be right."""
    errors.print(f"[bold red]error:[/] {plain(error.message)}")
    if isinstance(error, Forbidden):
        for reason in error.reasons:
            errors.print(f"  {plain(reason)}")
    if error.hint:
        errors.print(f"  {plain(error.hint)}")


def warn(said: str) -> None:
    """Say what may not be meant, and go on."""
    errors.print(f"[yellow]warning:[/] {plain(said)}")


def _plain(value: Any) -> Any:
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
