"""``duecare passes photo``, ``enrol``, ``truth`` and ``withdraw``: what is held of one holder, and how it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from duecare.cli.files import read_bytes
from duecare.cli.output import FOR_EVER, HomeOption, JsonOption, plain, print_json
from duecare.cli.passes.centre import SCREEN, ByOption, SubjectArgument, done, opened
from duecare.cli.passes.page import say_truth


def photo(
    subject: SubjectArgument,
    file: Annotated[Path, typer.Argument(help="The photo.")],
    by: ByOption = "clerk",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a photo for the pass, with the holder's consent to that alone.

    Example: duecare passes photo 3c2d86b824444c2cff36b859f0b09aba photo.jpg
    """
    from duecare.systems.passes import enrolment

    with opened(home) as park:
        enrolment.take_photo(park, subject, read_bytes(file), screen=SCREEN, actor=by)
    done({"subject": subject, "purpose": "pass_photo"}, "The photo is kept for the pass, for nothing else.", as_json)


def enrol(
    subject: SubjectArgument,
    way: Annotated[str, typer.Argument(help="card_fingerprint or card_face.")],
    template: Annotated[Path, typer.Argument(help="The template that the device made.")],
    by: ByOption = "clerk",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a holder's template, with the separate consent that is given with it.

    Example: duecare passes enrol 3c2d86b824444c2cff36b859f0b09aba card_fingerprint finger.template
    """
    from duecare.systems.passes import enrolment

    with opened(home) as park:
        enrolment.enrol(park, subject, way, read_bytes(template), screen=SCREEN, actor=by)
    done({"subject": subject, "way": way}, f"From now on: {way}, and card_id_card as before.", as_json)


def truth(subject: SubjectArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show a holder's page of truth: what is held, for what, until when, who opened it and why, and what was erased.

    Example: duecare passes truth 3c2d86b824444c2cff36b859f0b09aba --json
    """
    from duecare.systems.passes.truth import truth as page

    with opened(home) as park:
        shown = page(park, subject)
        zh = park.home.settings.language == "zh"
    if as_json:
        print_json(shown)
    else:
        say_truth(shown, 0 if zh else 1)


def withdraw(
    subject: SubjectArgument,
    purpose: Annotated[str, typer.Argument(help="The purpose whose consent is taken back.")],
    how: Annotated[str, typer.Option("--how", help=f"How they said it; {FOR_EVER}")] = "at the counter",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a holder's consent back, in effect at once; what was held for it alone is erased.

    Example: duecare passes withdraw 3c2d86b824444c2cff36b859f0b09aba fingerprint_entry
    """
    from duecare.systems.passes.truth import withdraw as take_back

    with opened(home) as park:
        ended = take_back(park, subject, purpose, how=how, screen=SCREEN)
    ids = [each.id for each in ended.erasures]
    said = f"Withdrawn and erased: {plain(', '.join(ids)) or 'nothing was held'}."
    done({"erasures": ids, "held": list(ended.held)}, said, as_json)
