"""The demo, run small: its account holds against the world it was told about, and against the mails on disk."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

import pytest
import typer
from sqlalchemy import select
from typer.testing import CliRunner

from duecare.cli.demo import _print_sent, demo
from duecare.demo.account import Account, account
from duecare.demo.members import joining
from duecare.demo.postbox import Postbox
from duecare.demo.story import Plan, Told, tell
from duecare.demo.world import World
from duecare.errors import BadInput, UseError
from duecare.evidence.audit import audit
from duecare.evidence.checkpoint import read_key
from duecare.radar.models import Alert, Delivery, DeliveryState
from duecare.registers.company import company
from duecare.settings import Settings
from duecare.store.home import Home

PLAN = Plan(size=400, days=6)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Told]:
    folder = tmp_path_factory.mktemp("demo")
    return folder, tell(folder, PLAN)


@pytest.fixture(scope="module")
def home(told: tuple[Path, Told]) -> Iterator[Home]:
    with Home(Settings(home=told[0], database_url="")) as opened:
        yield opened


@pytest.fixture(scope="module")
def found(home: Home, told: tuple[Path, Told]) -> Account:
    return account(home, told[1])


@pytest.fixture(scope="module")
def world() -> World:
    return PLAN.world()


@pytest.fixture(scope="module")
def mails(told: tuple[Path, Told]) -> list[EmailMessage]:
    parser = BytesParser(policy=policy.default)
    return [parser.parsebytes(path.read_bytes()) for path in sorted((told[0] / "mails").glob("*.eml"))]


def test_every_company_and_every_sampled_page_was_read(found: Account, world: World) -> None:
    """The open data brings in all companies, the crawl every page of the sample at least once, nothing is set aside."""
    sources = {each["source"]: each for each in found.sources}
    assert sources["demo-open-data"]["companies"] == world.size
    assert sources["cn-national-register"]["companies"] == len(PLAN.sample(world)) == found.told.crawled
    assert sources["cn-national-register"]["rereads"] == 1
    assert all(each["rejects"] == 0 for each in found.sources)


def test_the_wave_is_held_rejected_and_alerts_nobody(home: Home, found: Account, world: World) -> None:
    """What the mended parser brings up is every member who stood there before, and becomes no alert."""
    read = set(PLAN.sample(world))
    standing = sum(
        len(world.state(code, found.told.mended)["liquidation"])
        for code in world.codes
        if code in read and code != found.told.liquidating
    )
    assert found.wave is not None
    assert (found.wave["observed"], found.wave["state"], found.wave["alerts"]) == (standing, "rejected", 0)
    with home.database.session() as session:
        about = session.execute(select(Alert.entity).where(Alert.section == "liquidation")).scalars()
        assert set(about) == {found.told.liquidating}


def test_the_members_of_the_company_that_trades_on_are_dated_back(found: Account) -> None:
    """They are shown undated, and as seen since the first page that was stored, weeks before the parser saw them."""
    assert found.wave is not None
    example = found.wave["example"]
    assert example["effective_on"] is None
    assert len(example["members"]) == 3
    first = datetime.fromisoformat(example["first_observed"]).astimezone(UTC).date()
    assert found.told.first <= first < found.told.mended


def test_exactly_the_watchers_hear_of_the_real_liquidation(found: Account, world: World) -> None:
    """Verified at the official site and told to all who watch the company for its risks, and nobody else."""
    watched = sorted({*world.watched, *PLAN.sample(world)[:400]})
    expected = {
        one.name
        for one in joining(world, watched)
        if found.told.liquidating in one.entities and (not one.categories or "risk" in one.categories)
    }
    assert set(found.genuine["told"]) == expected
    assert found.genuine["verification"]["outcome"] == "verified"
    assert found.genuine["verification"]["address"].endswith(f"/report/{found.told.liquidating}")
    team = {entry["name"] for entry in world.state(found.told.liquidating, found.told.last)["liquidation"]}
    assert set(found.genuine["members"]) == team


def test_the_correction_reaches_those_who_were_told(home: Home, found: Account) -> None:
    """The same addresses get the correction as got the error, the one who stopped watching included."""
    assert found.correction is not None
    addresses = []
    with home.database.session() as session:
        for alert in (found.correction["alert"], found.correction["correction"]):
            rows = session.execute(
                select(Delivery.address_id).where(
                    Delivery.alert_id == alert, Delivery.state == DeliveryState.SENT.value
                )
            )
            addresses.append(set(rows.scalars()))
    assert addresses[0] == addresses[1] != set()
    assert found.correction["had_stopped_watching"] in found.correction["corrected"]


def test_the_mails_on_disk_are_those_that_were_sent(found: Account, mails: list[EmailMessage]) -> None:
    """One file for each mail that the database calls sent, each with text and HTML, each under its own id."""
    assert len(mails) == found.mails == found.sent["channels"]["mail"]
    assert set(found.sent["states"]) == {"sent"}
    kinds, channels = found.sent["messages"], found.sent["channels"]
    assert sum(kinds.values()) == sum(channels.values()) == found.sent["states"]["sent"]
    assert kinds["digest"] == found.sent["digests"] > 0
    assert kinds["alone"] > 0
    assert len({mail["Message-ID"] for mail in mails}) == len(mails)
    for mail in mails:
        assert mail["Subject"]
        assert mail.get_body(("plain",)) is not None
        assert mail.get_body(("html",)) is not None


def test_what_was_sent_adds_up_for_a_reader(found: Account, capsys: pytest.CaptureFixture[str]) -> None:
    """The messages that carry the alerts are as many by kind as by channel."""
    _print_sent(found)
    alerts, messages, mail_or_centre, other, digests, alone = map(int, re.findall(r"\d+", capsys.readouterr().out))
    assert alerts == found.sent["alerts"]
    assert messages == mail_or_centre + other == digests + alone


def test_the_day_of_approval_is_the_registers_date(mails: list[EmailMessage]) -> None:
    """A mail that shows 核准日期 move gives that day as the register's, and never calls it unknown."""
    texts = [part.get_content() for mail in mails if (part := mail.get_body(("plain",))) is not None]
    rows = re.findall(r"核准日期：\S+ → (\S+)\s+登记日期：(\S+)", "\n".join(texts))
    assert rows
    assert {said for _, said in rows} == {f"{day}（核准日期）" for day, _ in rows}


def test_no_file_but_the_mails_has_a_members_address(told: tuple[Path, Told], world: World) -> None:
    """Whoever gets hold of the home, its database and journal included, learns nobody's address from it."""
    files = [path for path in told[0].rglob("*") if path.is_file() and path.parent != told[0] / "mails"]
    assert {path.suffix for path in files} >= {".db", ".slots"}
    addresses = [one.mail.encode() for one in joining(world, world.watched)]
    for path in files:
        data = path.read_bytes()
        assert not [address for address in addresses if address in data], path


def test_what_was_told_is_past_by_the_clock_of_the_machine(home: Home, found: Account) -> None:
    """Commands that run after the demo see nothing from the future."""
    with home.database.session() as session:
        newest = session.execute(select(Alert.created_at).order_by(Alert.created_at.desc()).limit(1)).scalar_one()
    assert newest < datetime.now(UTC)
    assert company(home, found.told.liquidating)["sources"]


def test_all_of_it_is_proved(home: Home, found: Account) -> None:
    """Every act is in the log, and the log re-derives."""
    assert found.evidence["entries"] == found.evidence["in_the_log"] > 0
    assert all(check.holds for check in audit(home.path / "log", read_key(home.path / "keys" / "log.pub")))


def test_a_folder_that_the_demo_did_not_make_is_refused(tmp_path: Path) -> None:
    """Nothing in it is touched."""
    (tmp_path / "thesis.txt").write_text("years of work")
    app = typer.Typer()
    app.command()(demo)
    result = CliRunner().invoke(app, ["--home", str(tmp_path), "--size", "100"])
    assert isinstance(result.exception, UseError)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_story_ends_the_day_before_yesterday_and_has_the_liquidation_in_it() -> None:
    """Whatever the number of days; too few or too many are refused."""
    for days in (4, 10, 30):
        plan = Plan(size=100, days=days)
        world = plan.world()
        assert plan.end - timedelta(days=days - 1) < world.liquidation_day <= plan.end <= world.last_day
    with pytest.raises(BadInput, match="cannot be told"):
        Plan(days=31)


def test_the_postbox_keeps_what_it_is_given(tmp_path: Path) -> None:
    """Each recipient gets a file with the very lines that were sent, those that begin with a dot included."""
    with Postbox(tmp_path / "mails") as post:
        host, _, port = post.url.removeprefix("smtp://").partition(":")
        with smtplib.SMTP(host, int(port)) as client:
            client.sendmail("a@example.org", ["b@example.org", "../c@example.org"], "Subject: x\r\n\r\n.dot\r\n..\r\n")
            assert client.docmd("DATA")[0] == 503
            assert client.docmd("TURN")[0] == 502
    kept = sorted((tmp_path / "mails").iterdir())
    assert [path.name for path in kept] == ["00001-b@example.org.eml", "00002-.._c@example.org.eml"]
    assert all(path.read_bytes() == b"Subject: x\r\n\r\n.dot\r\n..\r\n" for path in kept)
