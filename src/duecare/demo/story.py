"""The demo: thirty days of a small register, lived through by the very code that runs on real ones.

Open data and report pages come in over HTTP, changes are found, screened, verified and mailed. For three weeks the
parser overlooks the liquidation section, as the operator's of case 1 did; then it is mended, on the day on which one
company really goes into liquidation.

The rule of this module: it only plays the people and the days. Whatever is found, held, verified, sent or corrected is
done by the rooms that do it for everyone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from random import Random
from typing import Any

import httpx
from sqlalchemy import func, select

from duecare.clock import BEIJING, SetClock, SystemClock
from duecare.demo.members import join, joining
from duecare.demo.postbox import Postbox
from duecare.demo.site import Manner, Site
from duecare.demo.world import DAYS, START, World
from duecare.errors import BadInput, SourceUnavailable
from duecare.evidence.log import Log
from duecare.evidence.outbox import sequence
from duecare.radar import holds, notices
from duecare.radar.delivery import deliver
from duecare.radar.models import Alert, AlertState, Delivery, DeliveryState, Member, of_alert
from duecare.radar.walk import walk
from duecare.radar.watches import end_watch
from duecare.registers.adapters.national_register import SOURCE, NationalRegister
from duecare.registers.catalogue import add_mapping
from duecare.registers.crawl import Crawler
from duecare.registers.fetch import Fetcher
from duecare.registers.ingest import ingest_file, ingest_pages
from duecare.registers.sources import RatePolicy, Source
from duecare.settings import Settings
from duecare.store.home import Home
from duecare.vault.records import Vault

SIZE = 20_000
_OPERATOR = "值班员"
_PACE = RatePolicy(requests=1_000, seconds=1.0, concurrent=16)
_MANNER = Manner(limit=1_500, faults=0.002, slow=0.2)
CONTROLLER: dict[str, Any] = {
    "controller_name": "演示数据服务有限公司",
    "controller_code": "91000000000000000X",
    "controller_address": "演示市演示路1号",
    "controller_contact": "privacy@demo.example",
}
_OPEN_DATA = Path(__file__).with_name("open_data.toml")

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Told:
    """What the story did that the database does not say by itself.

    ``liquidating`` and ``trading_on`` are the codes of the two companies that it is about; ``first`` and ``last`` the
    first and last day of the register that was read; ``mended`` the day the parser was mended; ``corrected`` the alert
    that was taken back, none where nobody had been told anything that could be; ``site`` where the official site was.
    """

    liquidating: str
    trading_on: str
    first: date
    last: date
    mended: date
    crawled: int
    watches: int
    requests: int
    corrected: int | None
    left: str
    site: str = ""


@dataclass(frozen=True)
class Plan:
    """How large and how long: ``size`` companies, ``days`` days of which the last is ``last`` (a calendar date)."""

    size: int = SIZE
    days: int = DAYS
    last: date | None = None
    seed: int = 20190501

    def __post_init__(self) -> None:
        if not 4 <= self.days <= DAYS:
            raise BadInput(f"{self.days} days cannot be told.", hint=f"Give 4 to {DAYS}.")

    @property
    def end(self) -> date:
        """The last day of the register: the day before yesterday in Beijing, so that all that is told of it, the
        digest of the morning after included, is past by the machine's clock."""
        return self.last or SystemClock().now().astimezone(BEIJING).date() - timedelta(days=2)

    def world(self) -> World:
        """The world whose liquidation falls between the first and the last day of the story."""
        # The company that is wound up does so on the 22nd of the world's thirty days.
        skipped = max(0, min(21 - self.days // 2, DAYS - self.days))
        shift = (self.end - timedelta(days=skipped + self.days - 1)) - START
        return World(self.seed, self.size, START + shift)

    def sample(self, world: World) -> list[str]:
        """The companies whose pages are read: all that may be watched, and a share of the rest."""
        rest = Random(self.seed + 4).sample(world.codes, min(self.size, max(400, self.size // 7)))
        return list(dict.fromkeys([*world.watched, *rest]))


def tell(path: Path, plan: Plan, progress: Progress = lambda what, done, total: None) -> Told:
    """Live through the days in the home at ``path``, which must be new; mails go to ``path/mails``."""
    progress("making the world", 0, 1)
    world = plan.world()
    progress("making the world", 1, 1)
    with ExitStack() as stack:
        site = stack.enter_context(Site(world, _MANNER, process=True))
        post = stack.enter_context(Postbox(path / "mails"))
        settings = Settings(home=path, database_url="", smtp_url=post.url, sites={SOURCE.name: site.url}, **CONTROLLER)
        clock = SetClock(_at(world.first_day, 7))
        home = stack.enter_context(Home(settings, clock))
        vault = stack.enter_context(Vault(home))
        return _Story(home, vault, clock, world, site, plan, progress).run()


class _Story:
    """One telling."""

    def __init__(
        self, home: Home, vault: Vault, clock: SetClock, world: World, site: Site, plan: Plan, progress: Progress
    ) -> None:
        self.home, self.vault, self.clock = home, vault, clock
        self.world, self.site, self.plan, self.progress = world, site, plan, progress
        self.engine = vault.engine
        self.sample = plan.sample(world)
        self.source = replace(SOURCE, rate=_PACE)
        self.incoming = home.path / "incoming"
        self.incoming.mkdir(parents=True, exist_ok=True)

    def run(self) -> Told:
        """All of it, in order."""
        days = [self.plan.end - timedelta(days=back) for back in range(self.plan.days - 1, -1, -1)]
        mended = self.world.liquidation_day
        self._morning(days[0])
        self._read_open_data(days[0])
        register = NationalRegister("2", self.source)
        site, agent = self.site.url, self.home.settings.user_agent
        with Crawler(register, site, agent, self.incoming, clock=self.clock) as crawler:
            self._read_pages(crawler, register, self.sample, f"crawling {len(self.sample):,} pages")
            self._walk()
            watched = sorted({*self.world.watched, *self.sample[: max(400, len(self.world.watched))]})
            watches = join(self.vault, joining(self.world, watched), self.clock.now())
            for number, day in enumerate(days[1:], 1):
                self.progress("living through the days", number, len(days) - 1)
                if day == mended:
                    # The engineers find that the liquidation section was overlooked, and mend the parser.
                    register = NationalRegister("3", self.source)
                self._day(day, crawler, register)
                if day == mended:
                    self._look_at_holds()
        self._morning(days[-1])
        self._read_open_data(days[-1])
        self._walk()
        self._deliver(9)
        corrected, left = self._correct()
        self._sequence()
        return Told(
            self.world.cast["liquidating"], self.world.cast["trading_on"], days[0], days[-1], mended,
            len(self.sample), watches, sum(self.site.counts().values()), corrected, left,
            self.site.url,
        )  # fmt: skip

    def _morning(self, day: date) -> None:
        """The morning after ``day``, before anyone is up: what the register says of it is all there."""
        self.site.set_day(day)
        self.clock.set(_at(day + timedelta(days=1), 6))

    def _day(self, day: date, crawler: Crawler, register: NationalRegister) -> None:
        self._morning(day)
        with self._fetcher(self.source) as fetcher:
            listed = set(register.updated(fetcher.get, self.site.url, day))
        known = [code for code in self.sample if code in listed]
        if known:
            self._read_pages(crawler, register, known)
        self._walk()
        self._deliver(7)  # what is told at once
        self._deliver(8, 5)  # the digests

    def _read_open_data(self, day: date) -> None:
        name = f"companies-{day.isoformat()}.csv"
        self.progress("reading the open data", 0, 1)
        answer = httpx.get(f"{self.site.url}/opendata/{name}", trust_env=False, timeout=60)
        if answer.status_code != 200:
            raise SourceUnavailable(f"{self.site.url}/opendata/{name} answered {answer.status_code}.")
        path = self.incoming / name
        path.write_bytes(answer.content)
        ingest_file(self.home, add_mapping(self.home, _OPEN_DATA), path, self.clock.now())
        path.unlink()
        self.progress("reading the open data", 1, 1)

    def _read_pages(self, crawler: Crawler, register: NationalRegister, codes: Sequence[str], what: str = "") -> None:
        crawler.adapter = register
        shown = (lambda done, total: self.progress(what, done, total)) if what else None
        result = crawler.crawl(codes, shown)
        self.clock.advance(timedelta(minutes=20))
        if what:
            self.progress("finding what the pages say", 0, 1)
        ingest_pages(self.home, register, result.pages)
        result.pages.unlink()
        if what:
            self.progress("finding what the pages say", 1, 1)

    def _walk(self) -> None:
        walk(self.home, self.engine, self._fetcher)

    def _deliver(self, hour: int, minute: int = 0) -> None:
        """Send what is due at that hour of the day that it is in Beijing."""
        today = self.clock.now().astimezone(BEIJING).date()
        self.clock.set(max(self.clock.now(), _at(today, hour, minute)))
        deliver(self.home, vault=self.vault)

    def _look_at_holds(self) -> None:
        """An operator looks at what was held: it is what a mended parser sees for the first time, and no news."""
        self.clock.advance(timedelta(hours=1))
        for hold in holds.waiting(self.home):
            if hold["what"] == "hold" and hold["section"] == "liquidation" and hold["kind"] == "first_observation":
                reason = (
                    "解析程序由第2版改为第3版后首次读到清算信息; 已存快照表明这些信息早已存在, 不是新发生的变更。 "
                    "The mended parser reads these for the first time; the stored snapshots had them all along."
                )
                holds.reject(self.home, self.engine, hold["id"], by=_OPERATOR, reason=reason)
        self._sequence()

    def _correct(self) -> tuple[int | None, str]:
        """A company objects to what was told of it; it is right; those who were told hear so, and nobody else.

        Returns the alert and the member who had stopped watching before.
        """
        self.progress("correcting an error", 0, 1)
        self.clock.advance(timedelta(hours=1))
        chosen = self._told_of_something_ordinary()
        if chosen is None:
            return None, ""
        alert, members = chosen
        with self.home.database.session() as session:
            end_watch(session, members[-1], alert.entity, at=self.clock.now())
        notice = notices.open_notice(
            self.home, alert.entity, alert.section, "登记机关误将他人的登记事项记入我公司名下, 附登记机关的更正函。",
            claimant=alert.name, key=alert.key, source=alert.source,
        )  # fmt: skip
        notices.look_up(self.home, self._fetcher)
        self.clock.advance(timedelta(hours=2))
        notices.decide(
            self.home, notice, "upheld", by=_OPERATOR,
            reason="登记机关来函确认: 该条登记系误记, 属于另一家企业。",
            reason_en="The registrar confirmed in writing that the entry was made by mistake; it is another company's.",
        )  # fmt: skip
        deliver(self.home, vault=self.vault)
        self.progress("correcting an error", 1, 1)
        return alert.id, members[-1].name

    def _told_of_something_ordinary(self) -> tuple[Alert, list[Member]] | None:
        """The alert of an ordinary change that most members were told of, and who they are."""
        with self.home.database.session() as session:
            told = func.count(Delivery.member_id.distinct())
            row = session.execute(
                select(Alert.id)
                .join(Delivery, Delivery.alert_id == Alert.id)
                .where(
                    Alert.kind == "event",
                    Alert.verification == "none",
                    Alert.state == AlertState.SENT.value,
                    Alert.entity.not_in(tuple(self.world.cast.values())),
                    Delivery.state == DeliveryState.SENT.value,
                )
                .group_by(Alert.id)
                .order_by(Alert.section == "changes", told.desc(), Alert.id.desc())
                .limit(1)
            ).scalar()
            if row is None:
                return None
            members = session.execute(
                select(Member).where(Member.id.in_(select(Delivery.member_id).where(of_alert(row)))).order_by(Member.id)
            ).scalars()
            return session.get_one(Alert, row), list(members)

    def _sequence(self) -> None:
        sequence(self.home.database, Log.at(self.home.path))

    def _fetcher(self, source: Source) -> Fetcher:
        return Fetcher(replace(source, rate=_PACE), self.home.settings.user_agent, clock=self.clock)


def _at(day: date, hour: int, minute: int = 0) -> datetime:
    return datetime.combine(day, time(hour, minute), tzinfo=BEIJING)
