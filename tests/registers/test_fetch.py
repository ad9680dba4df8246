"""Single look-ups at a source: robots, pace, patience, and what goes wrong on the way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from duecare.clock import SetClock
from duecare.demo.site import Manner, Site
from duecare.demo.world import World
from duecare.errors import SourceForbids, SourceUnavailable
from duecare.registers.adapters.national_register import SOURCE, NationalRegister
from duecare.registers.fetch import Fetcher, retry_after
from duecare.registers.sources import RatePolicy

FAST = replace(SOURCE, rate=RatePolicy(requests=1000, seconds=1.0, concurrent=4))
REGISTER = NationalRegister(source=FAST)


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=5, size=60)


@pytest.fixture
def site(world: World) -> Iterator[Site]:
    with Site(world) as site:
        yield site


@pytest.fixture
def fetcher() -> Iterator[Fetcher]:
    with Fetcher(FAST, "duecare/test", timeout=2.0) as fetcher:
        yield fetcher


def _answering(*responses: httpx.Response) -> Fetcher:
    """A fetcher whose site gives these answers in turn, behind an empty robots.txt."""
    answers = iter(responses)

    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(404) if request.url.path == "/robots.txt" else next(answers)

    return Fetcher(FAST, "duecare/test", transport=httpx.MockTransport(handle))


def test_a_page_comes_with_its_address_and_time(site: Site, world: World) -> None:
    """A look-up gives the page as it stands now, dated by the clock, and the adapter reads it."""
    at = datetime(2026, 10, 1, 9, tzinfo=UTC)
    code = world.cast["trading_on"]
    with Fetcher(FAST, "duecare/test", clock=SetClock(at)) as fetcher:
        page = fetcher.page(REGISTER, site.url, code)
    assert (page.entity, page.url, page.fetched_at, page.status) == (code, f"{site.url}/report/{code}", at, 200)
    assert len(REGISTER.read(page).sections["liquidation"]) == 3


def test_a_company_the_register_does_not_have_is_an_answer(site: Site, fetcher: Fetcher) -> None:
    """404 is kept as what the source said, not taken for an outage."""
    page = fetcher.page(REGISTER, site.url, "91330100NONE000000")
    assert page.status == 404
    assert "查无此企业" in page.body.decode()


def test_what_robots_txt_forbids_is_never_asked_for(site: Site, fetcher: Fetcher) -> None:
    """The request is refused here; the site saw only one request, for robots.txt."""
    for _ in range(2):
        with pytest.raises(SourceForbids, match="does not allow /admin/users"):
            fetcher.get(f"{site.url}/admin/users")
    assert [request.path for request in site.requests()] == ["/robots.txt"]
    assert site.requests()[0].user_agent == "duecare/test"


def test_without_robots_txt_to_read_nothing_is_asked() -> None:
    """A site whose robots.txt answers 500 is unavailable as a whole (RFC 9309 2.3.1.4)."""
    asked = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(500)

    with (
        Fetcher(FAST, "duecare/test", transport=httpx.MockTransport(handle)) as fetcher,
        pytest.raises(SourceUnavailable, match=r"robots\.txt answered 500"),
    ):
        fetcher.get("https://r.invalid/report/1")
    assert asked == ["/robots.txt"]


def test_the_pace_of_the_source_holds(site: Site, world: World) -> None:
    """However fast we ask, requests reach the site no closer together than its rate policy says."""
    slow = replace(SOURCE, rate=RatePolicy(requests=20, seconds=1.0))
    with Fetcher(slow, "duecare/test") as fetcher:
        for code in world.codes[:6]:
            fetcher.page(REGISTER, site.url, code)
    times = [request.at for request in site.requests()]
    assert len(times) == 7
    assert times[-1] - times[0] >= 6 * 0.05 - 0.01


def test_a_source_that_asks_us_to_wait_is_not_asked_before(site: Site, world: World, fetcher: Fetcher) -> None:
    """After 429 with Retry-After further look-ups fail at once, with the seconds left, and do not reach the site."""
    site.set_manner(Manner(limit=2, retry_after=30))
    codes = world.codes
    for code in codes[:2]:
        fetcher.page(REGISTER, site.url, code)
    with pytest.raises(SourceUnavailable, match="answered 429") as caught:
        fetcher.page(REGISTER, site.url, codes[2])
    assert caught.value.retry_after == 30
    with pytest.raises(SourceUnavailable, match="asked us to wait") as caught:
        fetcher.page(REGISTER, site.url, codes[3])
    assert caught.value.retry_after is not None
    assert 29 < caught.value.retry_after <= 30
    assert site.counts() == {200: 3, 429: 1}


def test_a_short_wait_ends(site: Site, world: World, fetcher: Fetcher) -> None:
    """When the time that the source named has passed it is asked again."""
    site.set_manner(Manner(limit=1, retry_after=1))
    fetcher.page(REGISTER, site.url, world.codes[0])
    with pytest.raises(SourceUnavailable) as caught:
        fetcher.page(REGISTER, site.url, world.codes[1])
    assert caught.value.retry_after
    time.sleep(caught.value.retry_after)
    assert fetcher.page(REGISTER, site.url, world.codes[1]).status == 200


def test_a_source_that_is_down_is_unavailable_and_comes_back(site: Site, world: World, fetcher: Fetcher) -> None:
    """A refused connection is transient; the same look-up works when the site is up again."""
    site.go_down()
    with pytest.raises(SourceUnavailable, match="could not be read"):
        fetcher.page(REGISTER, site.url, world.codes[0])
    site.come_up()
    assert fetcher.page(REGISTER, site.url, world.codes[0]).status == 200


def test_faults_of_the_site_are_transient(site: Site, world: World) -> None:
    """500, an answer cut short and one that is too slow are all unavailable; asking again succeeds."""
    site.set_manner(Manner(faults=1.0, slow=1.0))
    reasons = set()
    with Fetcher(FAST, "duecare/test", timeout=0.3) as fetcher:
        for code in world.codes[:16]:
            with pytest.raises(SourceUnavailable) as caught:
                fetcher.page(REGISTER, site.url, code)
            reasons |= {
                word for word in ("answered 500", "took longer", "could not be read") if word in str(caught.value)
            }
            assert fetcher.page(REGISTER, site.url, code).status == 200
    assert reasons == {"answered 500", "took longer", "could not be read"}


@pytest.mark.parametrize("status", [401, 403, 451])
def test_a_refusal_is_terminal(status: int) -> None:
    """A source that refuses the page forbids it; nothing tries again."""
    with _answering(httpx.Response(status)) as fetcher, pytest.raises(SourceForbids, match=str(status)):
        fetcher.get("https://r.invalid/report/1")


def test_a_redirect_is_followed_on_the_same_site_only() -> None:
    """Within the site it leads to the page; to another site it is refused, whose robots.txt is another."""
    moved = httpx.Response(302, headers={"location": "/new"})
    with _answering(moved, httpx.Response(200, content=b"here")) as fetcher:
        page = fetcher.get("https://r.invalid/old")
    assert (page.body, page.url) == (b"here", "https://r.invalid/old")
    away = httpx.Response(302, headers={"location": "https://elsewhere.invalid/"})
    with _answering(away) as fetcher, pytest.raises(SourceForbids, match="another site"):
        fetcher.get("https://r.invalid/old")
    with _answering(*[moved] * 9) as fetcher, pytest.raises(SourceUnavailable, match="from page to page"):
        fetcher.get("https://r.invalid/old")


def test_retry_after_is_read_as_seconds_or_a_date() -> None:
    """RFC 9110 10.2.3 knows both; a date that is past means now, anything else means nothing was said."""
    now = datetime(2026, 10, 1, 12, tzinfo=UTC)
    assert retry_after("120", now) == 120
    assert retry_after("Thu, 01 Oct 2026 12:01:30 GMT", now) == 90
    assert retry_after("Thu, 01 Oct 2026 11:00:00 GMT", now) == 0
    assert [retry_after(text, now) for text in ("", "soon", "-5", "１２")] == [None] * 4


def test_the_index_of_updated_pages_is_read_to_its_end(site: Site, world: World, fetcher: Fetcher) -> None:
    """All codes updated since a day, over all pages of the index, each once."""
    site.set_day(world.last_day)
    since = world.first_day + timedelta(days=3)
    days = [since + timedelta(days=number) for number in range(27)]
    assert set(REGISTER.updated(fetcher.get, site.url, since)) == {code for day in days for code in world.updated(day)}
    with pytest.raises(SourceUnavailable, match="not an index"):
        REGISTER.updated(fetcher.get, f"{site.url}/elsewhere", since)
