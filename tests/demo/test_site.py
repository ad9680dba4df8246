"""The demo's official site: pages, index, open data, limits, faults and outages over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from duecare.demo.report import render
from duecare.demo.site import Manner, Site
from duecare.demo.world import World
from duecare.errors import SourceUnavailable, UnknownName
from duecare.registers.adapter import Page
from duecare.registers.adapters.national_register import NationalRegister


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=13, size=1200)


@pytest.fixture(params=[False, True], ids=["thread", "process"], scope="module")
def server(request: pytest.FixtureRequest, world: World) -> Iterator[Site]:
    with Site(world, process=request.param) as site:
        yield site


@pytest.fixture
def site(server: Site, world: World) -> Site:
    server.set_manner(Manner())
    server.set_day(world.first_day)
    server.come_up()
    return server


@pytest.fixture
def client(site: Site) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.url, trust_env=False) as client:
        yield client


def test_the_page_shows_the_day_that_it_is(site: Site, world: World, client: httpx.Client) -> None:
    """The report is the world's state of the site's day, and changes when the day does."""
    code = world.cast["liquidating"]
    site.set_day(world.liquidation_day - timedelta(days=1))
    before = client.get(f"/report/{code}")
    site.set_day(world.liquidation_day)
    after = client.get(f"/report/{code}")
    assert before.content == render(world.state(code, world.liquidation_day - timedelta(days=1)))
    assert after.content == render(world.state(code, world.liquidation_day))
    assert "清算组备案" in after.text
    assert before.headers["content-type"] == "text/html; charset=utf-8"


def test_unknown_addresses_are_answered_as_such(site: Site, client: httpx.Client) -> None:
    """404 for what is not there, 405 for what may not be done, 400 for a question that cannot be read."""
    assert client.get("/report/9133").status_code == 404
    assert client.get("/nothing").status_code == 404
    assert client.post("/report/9133").status_code == 405
    assert client.get("/updates?since=yesterday").status_code == 400
    assert client.head("/").content == b""


def test_the_index_lists_what_was_updated_page_by_page(site: Site, world: World, client: httpx.Client) -> None:
    """Codes updated since a day until the site's day, none from the days to come."""
    site.set_day(world.first_day + timedelta(days=2))
    index = client.get(f"/updates?since={world.first_day + timedelta(days=1)}").json()
    expected = {code for number in (1, 2) for code in world.updated(world.first_day + timedelta(days=number))}
    assert index["codes"] == sorted(expected)
    assert index["pages"] == 1
    assert client.get(f"/updates?since={world.first_day}&page=2").json()["codes"] == []


def test_open_data_is_published_day_by_day(site: Site, world: World, client: httpx.Client) -> None:
    """The file of a day that has come is there with every company; that of tomorrow is not."""
    today = client.get(f"/opendata/companies-{world.first_day}.csv")
    assert today.text.count("\n") == world.size + 1
    assert client.get(f"/opendata/companies-{world.first_day + timedelta(days=1)}.csv").status_code == 404


def test_robots_txt_says_what_is_disallowed(site: Site, client: httpx.Client) -> None:
    """The file names what the site was told to disallow, at once."""
    assert client.get("/robots.txt").text == "User-agent: *\nDisallow: /admin\nDisallow: /internal/\n"
    site.set_manner(Manner(disallow=("/report/1",)))
    assert client.get("/robots.txt").text == "User-agent: *\nDisallow: /report/1\n"


def test_a_section_can_change_its_markup_or_leave_the_page(site: Site, world: World, client: httpx.Client) -> None:
    """Only that section becomes unreadable or unread, on every page, until it is mended."""
    register, code = NationalRegister(), world.cast["trading_on"]

    def read() -> tuple[set[str], set[str]]:
        body = client.get(f"/report/{code}").content
        found = register.read(Page(code, "u", datetime(2026, 10, 1, tzinfo=UTC), body))
        return set(found.sections), set(found.unreadable)

    every = {section.name for section in register.sections}
    assert read() == (every, set())
    site.break_section("liquidation")
    site.hide_section("penalties")
    assert read() == (every - {"liquidation", "penalties"}, {"liquidation"})
    site.mend_section("liquidation")
    site.mend_section("penalties")
    assert read() == (every, set())
    with pytest.raises(UnknownName, match="Did you mean penalties"):
        site.break_section("penaltys")


def test_a_hasty_client_is_told_to_wait(site: Site, world: World, client: httpx.Client) -> None:
    """Above the limit the answer is 429 with Retry-After; the counts say how often."""
    before = site.counts()
    site.set_manner(Manner(limit=5, retry_after=7))
    answers = [client.get(f"/report/{code}") for code in world.codes[:8]]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 3
    assert answers[-1].headers["retry-after"] == "7"
    assert site.counts() - before == {200: 5, 429: 3}


def test_faults_fall_by_seed_and_pass(site: Site, world: World, client: httpx.Client) -> None:
    """The same pages go wrong for the same seed; asking a second time succeeds."""
    site.set_manner(Manner(faults=0.5, slow=0.001, seed=4))
    wrong = []
    for code in world.codes[300:340]:
        try:
            wrong += [code] if client.get(f"/report/{code}").status_code != 200 else []
        except httpx.RemoteProtocolError:
            wrong.append(code)
        assert client.get(f"/report/{code}").status_code == 200
    assert 3 < len(wrong) < 37


def test_a_site_that_is_down_refuses_and_comes_back_at_its_address(site: Site, client: httpx.Client) -> None:
    """Nothing listens while it is down; afterwards the same address serves again."""
    assert client.get("/").status_code == 200
    site.go_down()
    with pytest.raises(httpx.TransportError):
        httpx.get(site.url, trust_env=False)
    site.come_up()
    assert client.get("/").status_code == 200


def test_requests_are_on_record(site: Site, client: httpx.Client) -> None:
    """Who asked for what, when, and what came of it."""
    client.get("/robots.txt", headers={"user-agent": "someone"})
    last = site.requests()[-1]
    assert (last.path, last.status, last.user_agent) == ("/robots.txt", 200, "someone")


def test_a_site_that_was_stopped_says_so(world: World) -> None:
    """Stopping twice is harmless; telling it anything afterwards is an error."""
    site = Site(world)
    site.start()
    site.stop()
    site.stop()
    with pytest.raises(SourceUnavailable, match="not running"):
        site.set_day(world.first_day)
