"""Crawling many pages: a real server, a real Scrapy, robots, pace, faults and kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from duecare.cli.app import app
from duecare.clock import SetClock
from duecare.demo.site import Manner, Site
from duecare.demo.world import World, uscc
from duecare.errors import BadInput, SourceUnavailable
from duecare.registers.adapters.national_register import SOURCE, NationalRegister
from duecare.registers.crawl import Crawler, read_pack
from duecare.registers.sources import RatePolicy
from duecare.registers.spider import settings

REGISTER = NationalRegister(source=replace(SOURCE, rate=RatePolicy(requests=5000, seconds=1.0, concurrent=8)))


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=7, size=450)


@pytest.fixture(scope="module")
def server(world: World) -> Iterator[Site]:
    with Site(world, process=True) as site:
        yield site


@pytest.fixture
def site(server: Site) -> Site:
    server.set_manner(Manner())
    server.come_up()
    return server


@pytest.fixture(scope="module")
def crawler(server: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crawler]:
    with Crawler(REGISTER, server.url, "duecare/test", tmp_path_factory.mktemp("packs"), timeout=5) as crawler:
        yield crawler


def test_pages_come_into_the_pack_and_one_process_serves_many_crawls(
    site: Site, world: World, crawler: Crawler
) -> None:
    """Each crawl has its own pack with every page asked for, once; the process behind it stays the same."""
    processes = set()
    for codes in (world.codes[:40], world.codes[40:50], ()):
        seen: list[tuple[int, int]] = []
        result = crawler.crawl([*codes, *codes], lambda done, total, seen=seen: seen.append((done, total)))
        pages = {page.entity: page for page in read_pack(result.pages)}
        assert (result.fetched, result.failed, result.forbidden) == (len(codes), (), ())
        assert set(pages) == set(codes)
        assert all(REGISTER.read(page).sections["basic"][0].value["code"] == code for code, page in pages.items())
        assert seen[-1] == (len(codes), len(codes))
        processes.add(crawler.process_id)
    assert len(processes) == 1


def test_a_company_the_register_does_not_have_is_kept_as_its_answer(site: Site, world: World, crawler: Crawler) -> None:
    """404 is the register's answer: it stands in the pack with its status."""
    result = crawler.crawl(["91330100NONE000000", world.codes[0]])
    assert result.failed == (("91330100NONE000000", "answered 404: the site has no such page"),)
    assert {page.entity: page.status for page in read_pack(result.pages)} == {
        "91330100NONE000000": 404, world.codes[0]: 200,
    }  # fmt: skip


def test_what_robots_txt_forbids_is_not_asked_for(world: World, tmp_path: Path) -> None:
    """Forbidden pages are told apart from failed ones, and the site never saw a request for them."""
    manner = Manner(disallow=("/admin", f"/report/{world.codes[1]}"))
    with Site(world, manner) as site, Crawler(REGISTER, site.url, "duecare/test", tmp_path) as crawler:
        result = crawler.crawl(world.codes[:3])
        asked = {request.path for request in site.requests()}
        agents = {request.user_agent for request in site.requests()}
    assert result.forbidden == (world.codes[1],)
    assert result.fetched == 2
    assert f"/report/{world.codes[1]}" not in asked
    assert agents == {"duecare/test"}


def test_the_pace_of_the_source_holds(site: Site, world: World, tmp_path: Path) -> None:
    """Requests reach the site no closer together than the rate policy says."""
    slow = NationalRegister(source=replace(SOURCE, rate=RatePolicy(requests=25, seconds=1.0, concurrent=8)))
    before = len(site.requests())
    with Crawler(slow, site.url, "duecare/slow", tmp_path) as crawler:
        crawler.crawl(world.codes[:10])
    times = [request.at for request in site.requests()[before:] if request.path.startswith("/report/")]
    assert len(times) == 10
    assert times[-1] - times[0] >= 9 * 0.04 - 0.02


@pytest.mark.parametrize(("rate", "delay"), [(0.2, 5.0), (0.75, 4 / 3), (1, 1.0), (2.5, 0.4), (20, 0.05)])
def test_a_pace_below_one_a_second_reaches_the_spider(tmp_path: Path, rate: float, delay: float) -> None:
    """Another pace moves the delay between two requests, and how many go at once stays as the source declares."""
    register = NationalRegister(source=replace(SOURCE, rate=SOURCE.rate.paced(rate)))
    with Crawler(register, "http://127.0.0.1:9", "duecare/slow", tmp_path) as crawler:
        told = settings(crawler.job([], tmp_path / "a.pack"))
    assert told["DOWNLOAD_DELAY"] == pytest.approx(delay)
    assert told["DOWNLOAD_DELAY_JITTER"] == 0
    assert (told["CONCURRENT_REQUESTS"], told["CONCURRENT_REQUESTS_PER_DOMAIN"]) == (1, 1)


def test_the_command_asks_at_the_rate_it_is_given(site: Site, world: World, tmp_path: Path) -> None:
    """``crawl --rate 0.8`` leaves a second and a quarter between two pages."""
    before = len(site.requests())
    command = ["crawl", SOURCE.name, "--site", site.url, "--rate", "0.8", "--home", str(tmp_path), *world.codes[:3]]
    assert CliRunner().invoke(app, command).exit_code == 0
    times = [request.at for request in site.requests()[before:] if request.path.startswith("/report/")]
    assert len(times) == 3
    assert min(later - earlier for earlier, later in pairwise(times)) >= 1.2


def test_a_page_the_site_does_not_have_is_a_failure_of_the_command(site: Site, world: World, tmp_path: Path) -> None:
    """What was asked for and did not come is named, and the exit code tells a script so; the rest is read."""
    absent = uscc("330100", 10**8 - 1)
    codes = tmp_path / "codes.txt"
    codes.write_text(f"{world.codes[0].lower()}\n{absent}\n", encoding="utf-8-sig")
    command = ["crawl", SOURCE.name, "--site", site.url, "--home", str(tmp_path), "--codes-from", str(codes)]
    done = CliRunner().invoke(app, [*command, "--rate", "50", "--json"])
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert (told["fetched"], told["failed"]) == (2, [[absent, "answered 404: the site has no such page"]])
    assert told["rows"] > 0
    said = CliRunner().invoke(app, [*command, "--rate", "50"])
    assert said.exit_code == 1
    assert "1 failed" in said.stdout
    assert absent in said.stdout


@pytest.mark.parametrize("code", ["NOTACODE", "../../admin", "9144030020PAWFD59E", "a\x00", "\xff", ""], ids=ascii)
def test_what_is_no_code_is_never_asked_for(code: str, site: Site, world: World, tmp_path: Path) -> None:
    """A code that is mistyped, or no code at all, is refused before anything is fetched."""
    before = len(site.requests())
    codes = tmp_path / "codes.txt"
    codes.write_bytes(f"{world.codes[0]}\n{code}\n".encode("latin-1"))
    command = ["crawl", SOURCE.name, "--site", site.url, "--home", str(tmp_path)]
    given = ["--codes-from", str(codes)] if code else [""]
    with pytest.raises(BadInput):
        CliRunner().invoke(app, [*command, *given], catch_exceptions=False)
    assert len(site.requests()) == before


def test_a_site_that_asks_for_patience_gets_it(site: Site, world: World, crawler: Crawler) -> None:
    """429 with Retry-After stops the whole crawl for that time; in the end every page is there."""
    site.set_manner(Manner(limit=60, retry_after=1))
    before = site.counts()
    result = crawler.crawl(world.codes[100:200])
    refused = site.counts()[429] - before[429]
    assert (result.fetched, result.failed) == (100, ())
    # No more than the requests that were on their way when the site first said so, each time it did.
    assert 1 <= refused <= 3 * REGISTER.source.rate.concurrent


def test_broken_answers_are_asked_for_again(site: Site, world: World, crawler: Crawler) -> None:
    """500s, bodies cut short and slow answers cost a second request, not a page."""
    site.set_manner(Manner(faults=0.3, slow=0.05))
    before = site.counts()
    result = crawler.crawl(world.codes[:150])
    after = site.counts() - before
    assert (result.fetched, result.failed) == (150, ())
    assert after[500] > 3
    assert after[0] > 3
    assert all(page.body.rstrip().endswith(b"</html>") for page in read_pack(result.pages))


def test_a_site_that_is_down_is_left_alone(site: Site, world: World, crawler: Crawler) -> None:
    """Every page is reported failed, most without being asked for; the next crawl works when the site is up."""
    site.go_down()
    result = crawler.crawl(world.codes[:400])
    assert result.fetched == 0
    assert {entity for entity, _ in result.failed} == set(world.codes[:400])
    assert sum(reason == "the site is down" for _, reason in result.failed) > 300
    site.come_up()
    assert crawler.crawl(world.codes[:5]).fetched == 5


def test_a_site_that_was_never_up_is_unavailable(world: World, tmp_path: Path) -> None:
    """Without its robots.txt nothing is crawled."""
    with Site(world) as site:
        url = site.url
    with Crawler(REGISTER, url, "duecare/test", tmp_path) as crawler, pytest.raises(SourceUnavailable):
        crawler.crawl(world.codes[:3])


def test_pages_are_dated_by_the_clock_that_was_given(site: Site, world: World, tmp_path: Path) -> None:
    """A crawl replayed for another day is dated that day."""
    at = datetime(2019, 5, 5, 2, tzinfo=UTC)
    with Crawler(REGISTER, site.url, "duecare/test", tmp_path, clock=SetClock(at)) as crawler:
        result = crawler.crawl(world.codes[:3])
    for page in read_pack(result.pages):
        assert at <= page.fetched_at < at + timedelta(minutes=1)


@pytest.mark.parametrize("after", [1, 200])
def test_a_killed_crawl_is_gone_on_with(site: Site, world: World, tmp_path: Path, after: int) -> None:
    """kill -9 in the middle: whole pages stay, and the same crawl asks only for the rest."""

    def kill(done: int, total: int) -> None:
        if done >= after and not killed and crawler.process_id:
            killed.append(done)
            os.kill(crawler.process_id, signal.SIGKILL)

    killed: list[int] = []
    with Crawler(REGISTER, site.url, "duecare/test", tmp_path) as crawler:
        with pytest.raises(SourceUnavailable, match="ended in the middle"):
            crawler.crawl(world.codes, kill, name="first")
        kept = [page.entity for page in read_pack(tmp_path / "first.pack")]
        assert killed[0] <= len(kept) < len(world.codes)
        result = crawler.crawl(world.codes, name="first")
    assert result.fetched == len(world.codes) - len(kept)
    pages = [page.entity for page in read_pack(result.pages)]
    assert sorted(pages) == sorted(world.codes)


def test_the_crawling_process_ends_with_whoever_started_it(site: Site, world: World, tmp_path: Path) -> None:
    """kill -9 of the parent: the child sees its input end and is gone; the pack has whole pages."""
    code = (
        "import sys; from pathlib import Path; from dataclasses import replace\n"
        "from duecare.registers.adapters.national_register import SOURCE, NationalRegister\n"
        "from duecare.registers.crawl import Crawler; from duecare.registers.sources import RatePolicy\n"
        "slow = NationalRegister(source=replace(SOURCE, rate=RatePolicy(requests=50, seconds=1.0, concurrent=2)))\n"
        "crawler = Crawler(slow, sys.argv[1], 'duecare/test', Path(sys.argv[2]))\n"
        "tell = lambda done, total: print(crawler.process_id, flush=True)\n"
        "crawler.crawl(sys.argv[3].split(), tell, name='orphan')\n"
    )
    command = [sys.executable, "-c", code, site.url, str(tmp_path), " ".join(world.codes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}/cmdline").exists() and b"spider" in Path(f"/proc/{child}/cmdline").read_bytes():
        assert time.monotonic() < deadline, "the crawling process is still there"
        time.sleep(0.05)
    pages = list(read_pack(tmp_path / "orphan.pack"))
    assert 0 < len(pages) < len(world.codes)


def test_whoever_stops_listening_stops_the_crawl(site: Site, world: World, tmp_path: Path) -> None:
    """An interrupt while a crawl runs ends its process; nothing goes on behind."""

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with Crawler(REGISTER, site.url, "duecare/test", tmp_path) as crawler:
        with pytest.raises(KeyboardInterrupt):
            crawler.crawl(world.codes, interrupt, name="stopped")
        assert crawler.process_id is None
    assert len(list(read_pack(tmp_path / "stopped.pack"))) < len(world.codes)
