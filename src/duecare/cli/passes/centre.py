"""What the commands of the pass centre share: the opened park, and how they say what was done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duecare.cli.output import print_json, say
from duecare.settings import load
from duecare.store.home import Home

if TYPE_CHECKING:
    from duecare.systems.passes.park import Park

SubjectArgument = Annotated[str, typer.Argument(help="The holder, by the name of 32 hex digits.")]
PassArgument = Annotated[str, typer.Argument(metavar="PASS", help="The pass, by the name of 32 hex digits.")]
ByOption = Annotated[str, typer.Option("--by", help="Who does it; the name is kept.")]

SCREEN = "duecare passes"
"""By which screen things are done here; it is kept."""


@contextmanager
def opened(home: Path | None) -> Iterator[Park]:
    """The park in a home, open while the block lasts."""
    from duecare.systems.passes.park import Park

    with Home(load(home=home)) as at, Park.open(at) as park:
        yield park


def done(said: Any, words: str, as_json: bool) -> None:
    """Print what was done: ``said`` as JSON, or ``words``."""
    if as_json:
        print_json(said)
    else:
        say(words)


def owed(messages: int) -> str:
    """That so many messages wait to be sent."""
    return f"{count(messages, 'message')} {'is' if messages == 1 else 'are'} owed" if messages else "no message is owed"


def count(number: int, one: str, many: str = "") -> str:
    """``number`` with the word for that many."""
    return f"{number} {one if number == 1 else many or one + 's'}"
