"""All commands, in one place."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from duecare.cli import cases, company, demo, ingest, snapshot, sources, witness
from duecare.cli.backup import backup, restore
from duecare.cli.certificate import certificate
from duecare.cli.consent import consent
from duecare.cli.correct import correct
from duecare.cli.deliver import deliver
from duecare.cli.digest import digest
from duecare.cli.erase import erase
from duecare.cli.held import held
from duecare.cli.keys import keys
from duecare.cli.notices import notices
from duecare.cli.output import HomeOption
from duecare.cli.passes import passes
from duecare.cli.policies import policies
from duecare.cli.proof import proof
from duecare.cli.receipt import receipt
from duecare.cli.retention import retention
from duecare.cli.screen import screen
from duecare.cli.tidy import tidy
from duecare.cli.verify import verify
from duecare.cli.watch import watch

app = typer.Typer(
    name="duecare",
    help="Data services with due care (注意义务): official registers, real differences, careful alerts, proof.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=False,
)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"duecare {version('duecare')}")
        raise typer.Exit


@app.callback()
def every(
    home: HomeOption = None,
    told: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """What can be given before any command: ``--home`` counts for all of them."""


app.add_typer(sources.app, name="sources")
app.command()(ingest.ingest)
app.command()(ingest.crawl)
app.command()(ingest.reread)
app.command()(tidy)
app.command()(company.changes)
app.command()(company.company)
app.command()(company.search)
app.command()(snapshot.snapshot)
app.command()(demo.demo)
app.command()(cases.cases)
for name, command in (
    ("screen", screen),
    ("watch", watch),
    ("deliver", deliver),
    ("digest", digest),
    ("correct", correct),
    ("consent", consent),
    ("notices", notices),
    ("receipt", receipt),
    ("held", held),
    ("erase", erase),
    ("certificate", certificate),
    ("retention", retention),
    ("keys", keys),
    ("backup", backup),
    ("restore", restore),
    ("proof", proof),
    ("verify", verify),
    ("witness", witness.app),
    ("passes", passes),
    ("policies", policies),
):
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    else:
        app.command(name=name)(command)
