"""Case 1, replayed: two homes, one with due care and one without, are given the same pages.

The rule of this module: nothing is decided here. Both homes run the service's own code; the second merely has its
screen switched off, which shows that the checks can fail.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from duecare.cases.ant_v_langdong.findings import Findings, weigh
from duecare.cases.ant_v_langdong.world import JudgmentRegister, facts
from duecare.cases.court import Court, ServedSite, Verdict
from duecare.clock import SetClock
from duecare.errors import DuecareError
from duecare.evidence.log import Log
from duecare.evidence.outbox import sequence
from duecare.radar import corrections, holds, notices
from duecare.radar.delivery import deliver
from duecare.radar.models import Alert, Delivery, Watch, of_alert
from duecare.radar.walk import walk
from duecare.radar.watches import Reach, add_member
from duecare.registers.adapters.national_register import NationalRegister
from duecare.registers.catalogue import states
from duecare.registers.changes import query
from duecare.registers.company import company
from duecare.registers.crawl import Crawler
from duecare.registers.fetch import Fetcher
from duecare.registers.ingest import ingest_pages
from duecare.registers.sources import RatePolicy, Source
from duecare.rules.engine import Engine
from duecare.settings import load
from duecare.store.home import Home
from duecare.store.packs import PackWriter
from duecare.vault.records import Vault

_PACE = RatePolicy(1000, 1.0, 8)
"""The site of the replay is our own machine: it may be asked faster than the real one."""

_CONTROLLER = {
    "controller_name": "某企业信息查询服务公司",
    "controller_code": "91000000000000000X",
    "controller_address": "某市某区某路1号",
    "controller_contact": "privacy@service.example",
}


def replay(court: Court) -> Verdict:
    """Run the case. Raises what the service raises; a check that fails is a verdict, not an error."""
    said = facts()
    register = JudgmentRegister(said)
    with court.serve(register) as site:
        ours = _with_care(court, register, site, said)
        theirs = _without_care(court, register, site, said)
    return Verdict(said["case"]["name"], said["case"]["title"], said["case"]["holding"], weigh(said, ours, theirs))


class _Service:
    """A home with its clock, rules and mail: what an operator of the service has."""

    def __init__(self, court: Court, name: str, smtp: str, site: ServedSite) -> None:
        self.court, self.site = court, site
        self.clock = SetClock(datetime(2019, 2, 20, 2, tzinfo=UTC))
        settings = load(home=court.folder / name, smtp_url=smtp, database_url="", **_CONTROLLER)
        self.home = Home(settings, self.clock)
        self.engine = Engine.load()

    def adapter(self, version: str) -> NationalRegister:
        """The parser of the given version, at the pace of the replay."""
        made = NationalRegister(version=version)
        made.source = replace(made.source, rate=_PACE)
        return made

    def fetcher(self, source: Source) -> Fetcher:
        """A polite fetcher at the pace of the replay."""
        return Fetcher(replace(source, rate=_PACE), self.home.settings.user_agent, timeout=5.0, clock=self.clock)

    def stored(self, register: JudgmentRegister, day: date, codes: Iterable[str], version: str) -> None:
        """What the service had stored of ``day``: the pages as they stood, read by the parser of the time."""
        at = datetime.combine(day, time(2), tzinfo=UTC)
        self.clock.set(at + timedelta(hours=1))
        pack = self.court.folder / f"{self.home.path.name}-{day}.pack"
        with PackWriter(pack) as writer:
            for code in codes:
                body = self.court.render(register.state(code, day))
                writer.add(entity=code, url=f"/report/{code}", fetched_at=at, status=200, body=body)
        ingest_pages(self.home, self.adapter(version), pack)
        self.walk()

    def crawl(self, day: date, codes: Iterable[str], version: str, *, reread_first: bool = True) -> None:
        """Crawl the site on ``day``."""
        self.clock.set(datetime.combine(day, time(2), tzinfo=UTC))
        self.site.set_day(day)
        adapter = self.adapter(version)
        folder = self.court.folder / f"{self.home.path.name}-{day}"
        folder.mkdir()
        with Crawler(adapter, self.site.url, self.home.settings.user_agent, folder, clock=self.clock) as crawler:
            result = crawler.crawl(
                list(codes), lambda done, total: self.court.progress(f"crawling {day}: {done} of {total} pages")
            )
        if result.failed or result.forbidden:
            raise DuecareError(f"{len(result.failed) + len(result.forbidden)} pages could not be crawled.")
        ingest_pages(self.home, adapter, result.pages, self.court.progress, reread_first=reread_first)

    def walk(self, *, screening: bool = True) -> None:
        """Screen, verify, raise alerts."""
        sites = {"cn-national-register": self.site.url}
        walk(self.home, self.engine, self.fetcher, sites=sites, screening=screening)

    def watch(self, name: str, codes: Iterable[str], *reach: Reach, realtime: bool = True) -> None:
        """A member who watches ``codes`` and is told at once."""
        now = self.clock.now()
        with Vault(self.home, self.engine) as vault, self.home.database.session() as session:
            member = add_member(vault, session, name, at=now, reach=reach, screen="replay")
            rows = [{"member_id": member.id, "entity": code, "realtime": realtime, "created_at": now} for code in codes]
            session.execute(insert(Watch), rows)

    def prove(self) -> None:
        """Put the evidence into the log."""
        sequence(self.home.database, Log.at(self.home.path))


def _watchers(service: _Service, register: JudgmentRegister) -> None:
    service.watch("radar", register.codes)
    service.watch("lender", [register.subject, register.genuine], Reach("mail", "lender@example.com"))
    service.watch("press", [register.subject], Reach("mail", "press@example.com"))


def _with_care(court: Court, register: JudgmentRegister, site: ServedSite, said: dict[str, Any]) -> Findings:
    push, snapshots, parser = said["push"], said["snapshots"], said["parser"]
    mails = court.folder / "mails-with-care"
    with court.mail(mails) as smtp:
        service = _Service(court, "with-care", smtp, site)
        home, clock = service.home, service.clock
        with home:
            court.progress("with care: the snapshots stored before")
            service.stored(register, snapshots["oldest"], register.codes, parser["before"])
            service.stored(register, snapshots["last_before"], register.codes, parser["before"])
            _watchers(service, register)
            court.progress("with care: the first day of the wave")
            service.crawl(push["first_day"], [*register.first, register.genuine], parser["after"])
            # The official site is down when the one genuine change wants to be verified: nobody is told unchecked.
            site.go_down()
            service.walk()
            unchecked = _sensitive_alerts(home)
            site.come_up()
            clock.advance(timedelta(hours=6))
            service.walk()
            court.progress("with care: the second day")
            service.crawl(push["second_day"], register.second, parser["after"])
            service.walk()
            deliver(home)
            clock.set(datetime.combine(push["quiet_until"], time(2), tzinfo=UTC))
            service.walk()
            deliver(home)
            notice = notices.open_notice(
                home, register.subject, "liquidation", "存续经营，从未清算。", claimant="the company"
            )
            disputed = company(home, register.subject)
            service.prove()
            with home.database.session() as session:
                alerts = list(session.execute(select(Alert).order_by(Alert.id)).scalars())
            found = Findings(
                register=register,
                alerts=alerts,
                unchecked=unchecked,
                holds=holds.waiting(home),
                changes=list(query(home, entity=register.subject)),
                first_observations=sum(1 for _ in query(home, kind="first_observation", since=None)),
                page=disputed,
                sources=[state.as_json() for state in states(home)],
                mails=_mails(mails),
                notice=notice,
            )
            clock.advance(timedelta(days=60))
            return replace(found, sources_later=[state.as_json() for state in states(home)])


def _without_care(court: Court, register: JudgmentRegister, site: ServedSite, said: dict[str, Any]) -> Findings:
    """The system of the judgment: no re-reading, no screen; every difference is news of the day it was seen."""
    push, snapshots, parser = said["push"], said["snapshots"], said["parser"]
    mails = court.folder / "mails-without-care"
    wave = [*register.first, *register.second]
    with court.mail(mails) as smtp:
        service = _Service(court, "without-care", smtp, site)
        with service.home as home:
            court.progress("without care: the snapshots stored before")
            service.stored(register, snapshots["last_before"], wave, parser["before"])
            _watchers(service, register)
            for day, codes in ((push["first_day"], register.first), (push["second_day"], register.second)):
                court.progress(f"without care: {day}")
                service.crawl(day, codes, parser["after"], reread_first=False)
                service.walk(screening=False)
            deliver(home)
            with home.database.session() as session:
                alerts = list(session.execute(select(Alert).order_by(Alert.id)).scalars())
                wrong = next(alert for alert in alerts if alert.entity == register.subject)
                told = _told(session, wrong.id)
            service.clock.advance(timedelta(hours=12))
            court.progress("without care: the wrong alert is taken back")
            correction = corrections.retract(home, wrong.id, "登记并无该日期，公司存续经营。", "operator")
            deliver(home)
            with home.database.session() as session:
                heard = _told(session, correction.correction or 0)
            return Findings(register=register, alerts=alerts, told=told, heard=heard, mails=_mails(mails))


def _sensitive_alerts(home: Home) -> int:
    with home.database.session() as session:
        sensitive = select(func.count()).select_from(Alert).where(Alert.section == "liquidation")
        return session.execute(sensitive).scalar_one()


def _told(session: Session, alert: int) -> set[tuple[int, str]]:
    rows = session.execute(select(Delivery).where(of_alert(alert), Delivery.state == "sent")).scalars()
    return {(row.member_id, row.channel) for row in rows}


def _mails(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*.eml"))]
