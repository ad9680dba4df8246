"""``duecare snapshot``: a stored page, as received.

The rule of this module: the bytes are written as they are, and over no file that is there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from duecare.cli.output import HomeOption, JsonOption, moment, plain, print_json, say
from duecare.errors import BadInput
from duecare.settings import load
from duecare.store.home import Home


def snapshot(
    name: Annotated[
        str,
        typer.Argument(metavar="HASH", help="Its SHA-256 in hex (8 digits or more), or an alert's link to it."),
    ],
    out: Annotated[Path | None, typer.Option(help="Write the bytes, as received, to this new file.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show where and when a stored official page was received, and write its bytes to a file.

    Facts, changes and alerts name it as their snapshot.

    Example: duecare snapshot 5feceb66ffc86f38 --out page.html
    """
    from duecare.radar.pages import stored_page

    with Home(load(home=home)) as opened:
        page = stored_page(opened, name)
    if out is not None:
        _write(out, page.body)
    if as_json:
        print_json({**page.as_json(), "file": str(out) if out else None})
        return
    say(f"官网快照 (snapshot)    {page.sha256}")
    say(f"来源 (from)          {plain(page.address)}")
    say(f"数据来源 (source)      {plain(page.source)}{f'  {plain(page.entity)}' if page.entity else ''}")
    again = f", last {moment(page.last_fetched_at)}" if page.last_fetched_at > page.fetched_at else ""
    say(f"接收时间 (received)     {moment(page.fetched_at)} UTC{again}")
    say(f"大小 (size)          {len(page.body):,} bytes")
    say(f"Written to {plain(out)}." if out else "--out FILE writes the bytes.")


def _write(out: Path, body: bytes) -> None:
    try:
        with out.open("xb") as file:
            file.write(body)
    except FileExistsError:
        raise BadInput(f"{out} is there already.", hint="Give the name of a new file; nothing was written.") from None
    except OSError as error:
        raise BadInput(f"{out} cannot be written: {error.strerror}.", hint="Give the name of a new file.") from None
