"""``duecare demo``: thirty days of a small register, from the crawl to the correction.

The rule of this module: a folder that the demo did not make is never touched.
"""

from __future__ import annotations

import shutil
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from duecare.cli.output import JsonOption, dated, errors, plain, print_json, program, say
from duecare.errors import UseError
from duecare.settings import Settings, load
from duecare.store.home import Home

if TYPE_CHECKING:
    from duecare.demo.account import Account

_MARK = "demo.json"
_SIZE, _DAYS = 20_000, 30


def demo(
    home: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the demo; one that it made before is made anew. Default: DUECARE_HOME if that is new or "
            "empty, else ./duecare-demo.",
            show_default=False,
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Run once and exit, without any question (as it always does).")
    ] = False,
    serve: Annotated[
        bool,
        typer.Option("--serve", help="Open the official site of the demo in --home again, until SIGTERM or Ctrl-C."),
    ] = False,
    size: Annotated[int, typer.Option(min=100, max=200_000, help="How many companies the register has.")] = _SIZE,
    days: Annotated[int, typer.Option(min=4, max=30, help="How many days to live through.")] = _DAYS,
    as_json: JsonOption = False,
) -> None:
    """Live through thirty days of a made-up register: open data and pages are read over HTTP, changes found, a wave of
    false liquidations held, a real one verified and mailed, an error corrected before those who were told.

    Nothing leaves this machine. The site ends with the demo; later commands in its home that look something up need
    it again: duecare demo --serve.

    Example: duecare demo --home /tmp/demo

    Example: duecare demo --serve --home /tmp/demo
    """
    if serve:
        _serve(home, as_json)
        return
    from duecare.demo.account import account
    from duecare.demo.reopening import remember
    from duecare.demo.story import CONTROLLER, Plan, tell

    del once  # both ways end without a question
    folder = _folder(home)
    plan = Plan(size=size, days=days)
    began = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, disable=as_json) as progress:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        told = tell(folder, plan, show)
    with Home(Settings(home=folder, database_url="")) as opened:
        found = account(opened, told)
    seconds = time.monotonic() - began
    remember(folder, plan, told.site, CONTROLLER, found.as_json())
    if as_json:
        print_json({"home": str(folder), "seconds": round(seconds, 1), **found.as_json()})
    else:
        _print(folder, found, seconds)


def _serve(given: Path | None, as_json: bool) -> None:
    """Keep the site of a past demo open until SIGTERM or Ctrl-C."""
    from duecare.demo.reopening import reopened

    with reopened(_named(given)) as found, suppress(KeyboardInterrupt):
        for told in (signal.SIGTERM, signal.SIGINT):
            signal.signal(told, signal.default_int_handler)
        if as_json:
            print_json({"site": found.url, "day": found.plan.end})
        else:
            say(f"The demo's official site is open again at {found.url}, as on {found.plan.end}. Ctrl-C closes it.")
        sys.stdout.flush()
        threading.Event().wait()


def _named(given: Path | None) -> Path:
    """The folder that was asked for."""
    if given is None:
        chosen = load()
        own = "home" in chosen.model_fields_set and (_free(chosen.home) or (chosen.home / _MARK).exists())
        given = chosen.home if own else Path("duecare-demo")
    return given.expanduser().absolute()


def _folder(given: Path | None) -> Path:
    """An empty folder for the demo, with its mark in it. Raises ``UseError`` where it holds what is not the demo's."""
    folder = _named(given)
    if (folder / _MARK).is_file() and not folder.is_symlink():
        shutil.rmtree(folder)
    elif not _free(folder):
        raise UseError(
            f"{folder} holds something that the demo did not make.",
            hint="Name a new or empty folder with --home; nothing was touched.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).write_text('{"made_by": "duecare demo"}\n', encoding="utf-8")
    return folder


def _free(folder: Path) -> bool:
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def _print(folder: Path, found: Account, seconds: float) -> None:
    """The account, for a person."""
    told = found.told
    say(f"\n[bold]{told.first} to {told.last}[/], lived through in {seconds:.0f} s\n")
    for source in found.sources:
        pages = f", {source['pages']:,} report pages" if source["pages"] else ""
        say(
            f"[bold]Read[/]       {source['source']}: {source['companies']:,} companies{pages}, "
            f"{source['batches']} batches, {source['rejects']} rows set aside"
        )
    kinds = ", ".join(f"{found.found.get(kind, 0):,} {words}" for kind, words in _KINDS.items())
    say(f"[bold]Found[/]      {kinds}")
    _print_wave(found)
    looks = ", ".join(f"{number} {outcome}" for outcome, number in sorted(found.verified.items()))
    say(f"[bold]Verified[/]   looked up anew at the official site: {looks or 'nothing'}")
    if found.waiting:
        say(f"           {found.waiting} sensitive changes of the open data wait for a second list: nobody is told yet")
    _print_genuine(found)
    _print_sent(found)
    _print_correction(found)
    entries = found.evidence
    say(f"[bold]Proof[/]      {entries['in_the_log']:,} of {entries['entries']:,} acts are in the signed log")
    wave = f"screen show {found.wave['hold']}" if found.wave else "screen list"
    home = f"{plain(program())} {{}} --home {plain(folder)}"
    say("\n[bold]Where to look next[/]")
    for what, command in (
        ("the mails", f"ls {plain(folder / 'mails')}"),
        ("the company that was held back", home.format(f"company {told.trading_on}")),
        ("the company that closes", home.format(f"company {told.liquidating}")),
        ("what was held, and why", home.format(wave)),
        ("check all of the evidence", home.format("verify --all")),
        ("the judgment, replayed", f"{plain(program())} cases"),
    ):
        say(f"  {what:<32} {command}")


_KINDS = {
    "event": "events", "first_observation": "first observations", "lapse": "no longer shown",
    "correction": "corrections by the source",
}  # fmt: skip


def _print_wave(found: Account) -> None:
    others = [hold for hold in found.holds if not found.wave or hold["id"] != found.wave["hold"]]
    wave = found.wave
    if wave:
        example = wave["example"]
        day = example["first_observed"][:10] if example["first_observed"] else "?"
        say(
            f"[bold]Held[/]       {found.told.mended}: the mended parser brings up {wave['observed']:,} liquidation "
            f"rows where {wave['expected']:.1f} were expected (p = {wave['tail']:.0e}).\n"
            f"           Hold {wave['hold']}, {wave['state']} by the operator; alerts raised of it: {wave['alerts']}. "
            f"{plain(example['name'])} is {plain(example['status'])};\n"
            f"           its {len(example['members'])} liquidation members are dated back to the stored snapshot of "
            f"{day}, register's date: {dated(example['effective_on'], 'en')}"
        )
    if others:
        rest = sum(hold["observed"] for hold in others)
        say(f"           {len(others)} other holds of {rest:,} changes, {_states(others)}")


def _states(held: list[dict[str, object]]) -> str:
    states = [str(hold["state"]) for hold in held]
    return ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))


def _print_genuine(found: Account) -> None:
    genuine = found.genuine
    if not genuine["alerts"]:
        say("           the real liquidation is not confirmed yet: nobody is told")
        return
    look = genuine["verification"]
    told = ", ".join(map(plain, genuine["told"])) or "nobody, for nobody watches it"
    say(
        f"           {plain(genuine['name'])} really goes into liquidation: {look['outcome']} at "
        f"{plain(look['address'])},\n           told to {told}"
    )


def _print_sent(found: Account) -> None:
    alerts, messages, channels = (found.sent[part] for part in ("alerts", "messages", "channels"))
    ways = ", ".join(f"{number:,} by {channel}" for channel, number in sorted(channels.items()))
    say(
        f"[bold]Sent[/]       {alerts:,} alerts, carried by {sum(messages.values()):,} messages ({ways}):\n"
        f"           {messages['digest']:,} daily digests, {messages['alone']:,} alerts and corrections at once"
    )


def _print_correction(found: Account) -> None:
    correction = found.correction
    if correction is None:
        say("[bold]Corrected[/]  nothing")
        return
    say(
        f"[bold]Corrected[/]  alert {correction['alert']} about {plain(correction['name'])} ({correction['section']}): "
        f"{len(correction['told'])} were told, the same {len(correction['corrected'])} heard the correction\n"
        f"           ({', '.join(map(plain, correction['corrected']))}), among them "
        f"{plain(correction['had_stopped_watching'])}, who had stopped watching"
    )
