"""``duecare passes``: the pass centre at the command line, and its server.

The rule of these commands: a name or a number of a person is read from a file or from standard input, never from the
command line, where others see it.
"""

from __future__ import annotations

import typer

from duecare.cli.passes.clerks import clerks
from duecare.cli.passes.gate import gate
from duecare.cli.passes.gates import gates
from duecare.cli.passes.holder import enrol, photo, truth, withdraw
from duecare.cli.passes.missing import missing
from duecare.cli.passes.notice import answer, answers, end, publish, send
from duecare.cli.passes.sales import lost, refund, reissue, renew, sell
from duecare.cli.passes.serving import conflicts, serve

passes = typer.Typer(help="Annual passes: sale, enrolment, gates, the holder's page of truth.", no_args_is_help=True)
for command in (
    publish, sell, photo, enrol, renew, refund, lost, reissue, answer, answers, end, send, truth, withdraw, conflicts,
    missing, serve,
):  # fmt: skip
    passes.command()(command)
passes.add_typer(gate, name="gate")
passes.add_typer(clerks, name="clerks")
passes.add_typer(gates, name="gates")
