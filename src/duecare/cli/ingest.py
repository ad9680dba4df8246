"""``duecare ingest``, ``crawl`` and ``reread``: the ways in for data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duecare.cli.output import HomeOption, JsonOption, filled, moment, plain, print_json, print_json_line, say, working
from duecare.clock import parse_received
from duecare.errors import BadInput
from duecare.settings import load
from duecare.store.home import Home

if TYPE_CHECKING:
    from duecare.registers.batches import Outcome

_SHOWN = 10


def ingest(
    source: Annotated[str, typer.Argument(help="Name of the source; `duecare sources` lists them.")],
    files: Annotated[list[Path], typer.Argument(help="Files as published.", metavar="FILE...")],
    observed_at: Annotated[
        str | None,
        typer.Option(
            help="When the file was received, if not the day in its name: a day of the source, or an ISO time.",
            callback=filled,
        ),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read files of a source: snapshots are kept, facts updated, changes found. Each file is one batch.

    Example: duecare ingest us-sec-issuers-history 2025-02-27.csv 2025-02-28.csv
    """
    from duecare.registers.catalogue import adapter_for
    from duecare.registers.ingest import ingest_file, must_be_file

    at = parse_received(observed_at) if observed_at else None
    wanting = False
    with Home(load(home=home)) as opened:
        adapter = adapter_for(opened, source)
        for path in files:
            must_be_file(path)
        for path in files:
            with working(f"Ingesting {path.name}") as step:
                outcome = ingest_file(opened, adapter, path, at, step)
            wanting = wanting or outcome.state == "held" or bool(outcome.unread)
            if as_json:
                print_json_line({"file": str(path), **outcome.as_json()})
            else:
                _say_outcome(path.name, outcome)
    if wanting:
        raise typer.Exit(1)


def crawl(
    source: Annotated[str, typer.Argument(help="Name of a source that is read page by page.")],
    site: Annotated[str, typer.Option(help="Address of the site, such as http://127.0.0.1:8080.", callback=filled)],
    codes: Annotated[list[str] | None, typer.Argument(help="Company codes.", metavar="CODE...")] = None,
    codes_from: Annotated[Path | None, typer.Option(help="File with one code a line.")] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Requests a second, where the site allows more or less than declared; 0.2: one in 5 seconds."
        ),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch company pages politely (robots.txt, rate) and read them as one batch.

    Example: duecare crawl cn-national-register --site http://127.0.0.1:8080 91500000MA5U0000XN
    """
    from duecare.registers.adapter import PageAdapter
    from duecare.registers.catalogue import adapter_for
    from duecare.registers.codes import code_of
    from duecare.registers.crawl import Crawler
    from duecare.registers.ingest import ingest_pages

    wanted = list(codes or [])
    if codes_from:
        if not codes_from.is_file():
            raise BadInput(f"There is no file {codes_from}.", hint="Give a file with one code a line.")
        try:
            lines = codes_from.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise BadInput(f"{codes_from} is not text in UTF-8.", hint="Give a file with one code a line.") from None
        wanted += [line.strip() for line in lines if line.strip()]
    if not wanted:
        raise BadInput("There is nothing to crawl.", hint="Give company codes, or --codes-from FILE.")
    with Home(load(home=home)) as opened:
        adapter = adapter_for(opened, source)
        if not isinstance(adapter, PageAdapter):
            raise BadInput(f"{source} is read from files, not pages.", hint=f"duecare ingest {source} FILE")
        if rate is not None:
            adapter.source = replace(adapter.source, rate=adapter.source.rate.paced(rate))
        wanted = [code_of(adapter, each) for each in wanted]
        folder = opened.path / "incoming"
        folder.mkdir(exist_ok=True)
        with (
            working("Crawling") as step,
            Crawler(adapter, site, opened.settings.user_agent, folder) as crawler,
        ):
            result = crawler.crawl(wanted, lambda done, total: step(f"{done} of {total} pages"))
            failed = [*result.failed, *((code, "robots.txt does not allow it") for code in result.forbidden)]
            if not as_json:
                _say_crawl(result.fetched, failed)
            outcome = ingest_pages(opened, adapter, result.pages, step)
        result.pages.unlink(missing_ok=True)
    if as_json:
        print_json({**outcome.as_json(), "fetched": result.fetched, "failed": [list(each) for each in failed]})
    else:
        _say_outcome(site, outcome)
    if outcome.state == "held" or failed or outcome.unread:
        raise typer.Exit(1)


def reread(
    source: Annotated[str, typer.Argument(help="Name of the source.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read the stored snapshots again with the present parser. Dates first observations back; makes no news.

    Example: duecare reread cn-national-register
    """
    from duecare.registers import fold
    from duecare.registers.catalogue import adapter_for
    from duecare.registers.ingest import stage_arrival

    with Home(load(home=home)) as opened:
        adapter = adapter_for(opened, source)
        with working("Rereading") as step, opened.writing("lake", wait=600):
            outcome = fold.reread(opened, adapter, stage_arrival, step)
    if outcome is None:
        raise BadInput(f"Nothing of {source} is stored.", hint=f"duecare ingest {source} FILE")
    if as_json:
        print_json(outcome.as_json())
    elif outcome.state == "known":
        say(f"All snapshots of {plain(source)} have been read with parser {plain(adapter.version)} already.")
    else:
        _say_outcome(source, outcome)


def _say_crawl(fetched: int, failed: list[tuple[str, str]]) -> None:
    say(f"Fetched {fetched:,} pages, {len(failed):,} failed.")
    for code, reason in failed[:_SHOWN]:
        say(f"  [yellow]{plain(code)}[/]: {plain(reason)}")
    if len(failed) > _SHOWN:
        say(f"  and {len(failed) - _SHOWN:,} more; --json names them all.")


def _say_outcome(name: str, outcome: Outcome) -> None:
    title = f"[bold]{plain(name)}[/] · received {moment(outcome.observed_at)} · batch {outcome.batch[:8]}"
    if outcome.state == "known":
        say(f"{title}: known already, nothing to do.")
        return
    if outcome.state == "rejected":
        say(f"{title}: [yellow]rejected before[/]: it stays put aside. {plain(outcome.reason)}")
        return
    if outcome.state == "held":
        say(f"{title}: [yellow]held[/]. {plain(outcome.reason)}")
        say(f"  Look at it, then: duecare screen release {outcome.batch[:8]} --by NAME --reason WHY")
        _say_set_aside(outcome)
        _say_unreadable(outcome)
        return
    found = ", ".join(f"{number:,} {kind.replace('_', ' ')}" for kind, number in sorted(outcome.changes.items()))
    late = " It is older than what was held: it found its place, and makes no news." if outcome.late else ""
    say(f"{title}: {outcome.rows:,} rows; {found or 'no change'}.{late}")
    _say_set_aside(outcome)
    if outcome.partial:
        say("  So the list has holes: what it does not show may stand on, and nothing was closed by it.")
    _say_unreadable(outcome)


def _say_set_aside(outcome: Outcome) -> None:
    if outcome.rejects:
        rows = "1 row" if outcome.rejects == 1 else f"{outcome.rejects:,} rows"
        say(f"  [yellow]{rows} set aside[/]: {plain(outcome.rejects_file)}")


def _say_unreadable(outcome: Outcome) -> None:
    sections = [each for each in outcome.unreadable if each.section]
    for each in (*outcome.unread[:_SHOWN], *sections):
        what = f"{each.section} of {each.entities:,} companies is unreadable" if each.section else "unreadable"
        say(f"  [yellow]{plain(what)}[/]: {plain(each.entity)}: {plain(each.reason)}")
    if len(outcome.unread) > _SHOWN:
        say(f"  and {len(outcome.unread) - _SHOWN:,} more pages; --json names them all.")
    if outcome.unreadable:
        say("  What could not be read says nothing: what was known of it stands.")
