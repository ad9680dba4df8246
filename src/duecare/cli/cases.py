"""``duecare cases``: the judgments, replayed against the service's own code."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from duecare.cases.court import Court, ServedRegister, Verdict
from duecare.cli.output import HomeOption, JsonOption, filled, plain, print_json, say, working


def cases(
    name: Annotated[
        str | None, typer.Argument(help="Name of the case; all of them by default.", callback=filled)
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Keep the homes and mails of the replay in this new folder.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replay the cases: what happened then, what happens here, and whether the holding holds. Exit code 1 if not.

    A replay builds homes of its own and touches no other.

    Example: duecare cases ant_v_langdong --json
    """
    from duecare.cases.court import replay, replays
    from duecare.errors import BadInput

    del home  # every command takes it; a replay has homes of its own
    chosen = {name: replay(name)} if name else replays()
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise BadInput(f"{keep} is not empty.", hint="Give a folder that is not there yet.")
    verdicts: list[Verdict] = []
    for case, run in chosen.items():
        folder = (keep / case).absolute() if keep else Path(tempfile.mkdtemp(prefix="duecare-case-"))
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with working(f"Replaying {case}") as step:
                verdicts.append(run(court(folder, step)))
        finally:
            if keep is None:
                shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        documents = [verdict.as_json() for verdict in verdicts]
        print_json(documents[0] if name else documents)
    else:
        for verdict in verdicts:
            _say(verdict)
    if not all(verdict.holds for verdict in verdicts):
        raise typer.Exit(1)


def court(folder: Path, progress: Callable[[str], None] = lambda step: None) -> Court:
    """The means of a replay: the demo's site, postbox, SMS gateway and witness, all that they keep in ``folder``."""
    from duecare.demo.gateway import gateway
    from duecare.demo.onlooker import onlooker
    from duecare.demo.postbox import Postbox
    from duecare.demo.report import render
    from duecare.demo.site import Site

    @contextmanager
    def serve(register: ServedRegister) -> Iterator[Site]:
        site = Site(register)
        site.start()
        try:
            yield site
        finally:
            site.stop()

    @contextmanager
    def mail(mails: Path) -> Iterator[str]:
        with Postbox(mails) as box:
            yield box.url

    return Court(serve, render, mail, gateway, onlooker, folder, progress)


def _say(verdict: Verdict) -> None:
    say(f"[bold]{plain(verdict.title)}[/]")
    say(f"Held: {plain(verdict.holding)}\n")
    for number, check in enumerate(verdict.checks, 1):
        sign = "[green]✓ holds[/]" if check.holds else "[red]✗ does not hold[/]"
        say(f"{number}. {plain(check.requirement)}  {sign}")
        say(f"   [dim]then[/]  {plain(check.then)}")
        say(f"   [dim]now[/]   {plain(check.now)}\n")
    kept = sum(check.holds for check in verdict.checks)
    say(f"{kept} of {len(verdict.checks)} hold.\n")
