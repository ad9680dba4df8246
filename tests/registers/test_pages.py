"""A stored page is found by its hash, byte for byte, with where and when it was received."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from duecare.clock import SetClock
from duecare.demo.report import render
from duecare.demo.world import World
from duecare.errors import BadInput
from duecare.registers.adapter import adapter
from duecare.registers.adapters.national_register import NationalRegister
from duecare.registers.company import company
from duecare.registers.ingest import ingest_file, ingest_pages, observed_in_name, release
from duecare.registers.pages import find_page, full_hash
from duecare.registers.tables import Tables
from duecare.settings import load
from duecare.store.home import Home
from duecare.store.packs import PackWriter

from .listing import ListAdapter, day, write_list

REGISTER = NationalRegister()


@pytest.fixture(scope="module")
def world() -> World:
    """A few companies."""
    return World(seed=7, size=450)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """An empty home."""
    with Home(load(home=tmp_path / "home"), SetClock(day(2000))) as opened:
        yield opened


def address(code: str) -> str:
    """Where the page of a company is."""
    return f"https://register.invalid/report/{code}"


def crawl(home: Home, folder: Path, pages: dict[str, bytes], at: datetime) -> str:
    """Read a crawl of ``pages`` a second apart; the name of the batch."""
    pack = folder / f"{at:%Y%m%dT%H%M%S}.pack"
    with PackWriter(pack) as writer:
        for number, (code, body) in enumerate(pages.items()):
            writer.add(code, address(code), at + timedelta(seconds=number), 200, body)
    return ingest_pages(home, REGISTER, pack).batch


def bodies(world: World, on: date) -> dict[str, bytes]:
    """The pages of the first companies as of a day."""
    return {code: render(world.state(code, on)) for code in world.codes[:60]}


def test_a_fact_leads_to_the_page_that_shows_it(home: Home, world: World, tmp_path: Path) -> None:
    """The snapshot that a fact names is the page as received, with its address and time."""
    pages = bodies(world, date(2026, 10, 1))
    crawl(home, tmp_path, pages, day(0))
    for number, (code, body) in enumerate(pages.items()):
        (basic,) = company(home, code)["sources"][0]["sections"]["basic"]["facts"]
        page = find_page(home, basic["snapshot"])
        assert page is not None
        assert (page.body, page.entity, page.address) == (body, code, address(code))
        assert page.fetched_at == page.last_fetched_at == day(0) + timedelta(seconds=number)
        assert page.source == REGISTER.source.name


def test_a_page_that_stays_the_same_is_one_page(home: Home, world: World, tmp_path: Path) -> None:
    """The same bytes received again, even in a crawl that arrives late, widen the time and change nothing else."""
    pages = bodies(world, date(2026, 10, 1))
    code = world.codes[0]
    for at in (day(3), day(9), day(6), day(1)):
        crawl(home, tmp_path, {code: pages[code]}, at)
    (basic,) = company(home, code)["sources"][0]["sections"]["basic"]["facts"]
    page = find_page(home, basic["snapshot"])
    assert page is not None
    assert (page.fetched_at, page.last_fetched_at, page.body) == (day(1), day(9), pages[code])


def test_a_file_is_found_as_well(home: Home, tmp_path: Path) -> None:
    """The snapshot of a list is the whole file; it is called by its name, for its address is not known."""
    path = write_list(tmp_path, "list", [("basic", "A", "", "Alpha")])
    ingest_file(home, ListAdapter(), path, day(0))
    (basic,) = company(home, "A")["sources"][0]["sections"]["basic"]["facts"]
    page = find_page(home, basic["snapshot"])
    assert page is not None
    assert (page.body, page.address, page.entity, page.fetched_at) == (path.read_bytes(), "list.json", "", day(0))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (bytes(range(256)) * 8, "no HTML page"),
        ("<html><body>请输入验证码</body></html>".encode(), "none of the panels of a report."),
        ("<html><body><h2>基本信息</h2></body></html>".encode("gbk"), "byte 16 is not UTF-8"),
        (None, "the page is about {other}"),
    ],
    ids=["random bytes", "captcha", "GBK", "another company"],
)
def test_a_saved_page_that_is_not_the_companys_is_refused(
    home: Home, world: World, tmp_path: Path, body: bytes | None, says: str
) -> None:
    """What is no report, or of another company, is said to be that, by its file's name; nothing of it is kept."""
    code, other = world.codes[:2]
    path = tmp_path / f"{code}-2026-10-01.html"
    path.write_bytes(body or render(world.state(other, date(2026, 10, 1))))
    with pytest.raises(BadInput, match=f"{code}-2026-10-01.html cannot be read as the page about {code}") as raised:
        ingest_file(home, REGISTER, path)
    assert says.format(other=other) in raised.value.message
    assert not list(home.snapshots.root.rglob("*.*"))


def test_a_saved_page_is_named_by_a_code(home: Home, world: World, tmp_path: Path) -> None:
    """A code in the name is taken as it may be written, and refused where it is none."""
    code, body = world.codes[0], render(world.state(world.codes[0], date(2026, 10, 1)))
    path = tmp_path / f"{code[:17]}{'0' if code[17] != '0' else '1'}-2026-10-01.html"
    path.write_bytes(body)
    with pytest.raises(BadInput, match=f"{path.name} is not named by its company") as raised:
        ingest_file(home, REGISTER, path)
    assert "one character is probably mistyped" in raised.value.hint
    ingest_file(home, REGISTER, path.rename(tmp_path / f"{code.lower()}-2026-10-01.html"))
    assert company(home, code)["sources"][0]["sections"]["basic"]["state"] == "read"


class Uncoded:
    """The register's adapter, as one that does not say of what kind its codes are."""

    source, version, sections = REGISTER.source, REGISTER.version, REGISTER.sections
    read, address = REGISTER.read, REGISTER.address


def test_what_cannot_be_a_code_names_no_page(home: Home, tmp_path: Path) -> None:
    """Where any text may be a code, a name without one, or one that no column takes, is refused as in a crawl."""
    for name, code in (("-2026-10-01.html", ""), (f"{'x' * 120}{chr(7)}.html", f"{'x' * 60}")):
        path = tmp_path / name
        path.write_bytes(b"<html></html>")
        with pytest.raises(BadInput, match=f"is not named by its company: '{code}' is no code"):
            ingest_file(home, Uncoded(), path)


def test_a_crawl_says_what_of_it_is_unreadable(home: Home, world: World, tmp_path: Path) -> None:
    """Each page of which nothing could be read is named with the reason; of a section, how many have it, and one."""
    pages = bodies(world, date(2026, 10, 1))
    first, second, third = sorted(pages)[:3]
    pages = {code: pages[code] for code in (first, second, third)}
    for code in (first, third):
        pages[code] = (
            pages[code]
            .replace("职务".encode(), "职位".encode())
            .replace('<p class="none">暂无主要人员信息</p>'.encode(), b"")
        )
    pages[second] = b"<html>wait</html>"
    pack = tmp_path / "crawl.pack"
    with PackWriter(pack) as writer:
        for code, page in pages.items():
            writer.add(code, address(code), day(0), 200, page)
    outcome = ingest_pages(home, REGISTER, pack)
    assert outcome.state == "committed"
    assert [(each.entity, each.section, each.entities) for each in outcome.unreadable] == [
        (second, "", 1),
        (first, "personnel", 2),
    ]
    assert outcome.unread == outcome.unreadable[:1]
    said = outcome.as_json()["unreadable"]
    assert said[0] == {
        "entity": second, "section": None, "reason": "the page has none of the panels of a report", "entities": 1,
    }  # fmt: skip
    assert (said[1]["entity"], said[1]["section"]) == (first, "personnel")


@pytest.mark.parametrize("name", ["2025-02-31.csv", "list-2025-13-01.csv", "20250231.csv", "A-2025-00-10.html"])
def test_a_day_that_there_is_not_is_refused(name: str) -> None:
    """A misspelt day in a file's name is no reason to take it as received now."""
    with pytest.raises(BadInput, match=f"{name} names a day that there is not"):
        observed_in_name(name)
    assert observed_in_name("20259999.csv") is None


def test_a_list_of_today_is_taken_from_midnight_on(tmp_path: Path) -> None:
    """Early in the day in Beijing, when it is yesterday in UTC, a file of today was received, and none of tomorrow."""
    now = datetime(2026, 11, 27, 20, tzinfo=UTC)
    with Home(load(home=tmp_path / "home"), SetClock(now)) as home:
        paths = [write_list(tmp_path, f"2026-11-{day}", [("basic", "A", "", "Alpha")]) for day in (28, 29)]
        assert ingest_file(home, ListAdapter(), paths[0]).observed_at == now
        with pytest.raises(BadInput, match="cannot have been received on 2026-11-29"):
            ingest_file(home, ListAdapter(), paths[1])


def test_of_a_refused_file_nothing_is_kept(home: Home, tmp_path: Path) -> None:
    """A file of another kind leaves no bytes; one that was kept before stays, though another source refuses it."""
    sec, path = adapter("us-sec-issuers-history"), tmp_path / "2001-01-02.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(BadInput, match="CIK"):
        ingest_file(home, sec, path)
    assert not list(home.snapshots.root.rglob("*.*"))
    path = write_list(tmp_path, "list", [("basic", "A", "", "Alpha")])
    kept = ingest_file(home, ListAdapter(), path, day(0))
    with pytest.raises(BadInput):
        ingest_file(home, sec, path, day(0))
    (basic,) = company(home, "A")["sources"][0]["sections"]["basic"]["facts"]
    assert basic["batch"] == kept.batch
    assert home.snapshots.get(basic["snapshot"]) == path.read_bytes()


def test_a_hash_may_be_given_by_its_beginning_or_as_a_link(home: Home, world: World, tmp_path: Path) -> None:
    """Eight digits are enough where no other hash begins so; a link of an alert ends in the hash."""
    code = world.codes[0]
    crawl(home, tmp_path, {code: render(world.state(code, date(2026, 10, 1)))}, day(0))
    name = company(home, code)["sources"][0]["sections"]["basic"]["facts"][0]["snapshot"]
    for given in (name[:8], name.upper(), f"https://duecare.invalid/snapshots/{name}", f"/snapshots/{name}/"):
        page = find_page(home, given)
        assert page is not None, given
        assert page.sha256 == name
    assert find_page(home, "0" * 64) is None


def test_hashes_that_begin_alike_are_told_apart() -> None:
    """Where two begin with what was given, both are named and none is shown."""
    alike = ["0123abcd" + "0" * 56, "0123abcd" + "1" * 56]
    with pytest.raises(BadInput, match="2 snapshots begin with 0123abcd") as raised:
        full_hash("0123abcd", [*alike, *alike])
    assert all(name in raised.value.hint for name in alike)


@pytest.mark.parametrize("given", ["", "abc", "not a hash", "../../etc/passwd", "g" * 64, "0" * 65, "%" * 8])
def test_what_is_no_hash_is_refused(home: Home, given: str) -> None:
    """Only hex digits reach the store, and enough of them to mean one page."""
    with pytest.raises(BadInput, match="no snapshot's hash"):
        find_page(home, given)


def test_a_held_crawl_places_no_page(home: Home, world: World, tmp_path: Path) -> None:
    """What was not applied does not exist: pages of a batch that is held are not found, until it is released."""
    pages = bodies(world, date(2026, 10, 1))
    crawl(home, tmp_path, pages, day(0))
    emptied = {code: render({**world.state(code, date(2026, 10, 1)), "basic": []}) for code in pages}
    batch = crawl(home, tmp_path, emptied, day(1))

    def placed() -> int:
        scan = Tables(home, REGISTER.source.name).scan("snapshots")
        return len(home.lake.connection.execute(f"SELECT 1 FROM {scan} WHERE batch = ?", [batch]).fetchall())

    assert placed() == 0
    assert release(home, batch, "tester", "the register was emptied").state == "committed"
    assert placed() == len(pages)
