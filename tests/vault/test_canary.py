"""A canary is planted in every place; after the erasure it is in no file of the home, and in no backup."""

from __future__ import annotations

import secrets
import shutil
import string
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import tantivy
from sqlalchemy import text
from sqlalchemy.orm import Session

from duecare.settings import load
from duecare.store.home import Home
from duecare.store.lake import NEW
from duecare.vault import erasure
from duecare.vault.backup import backup, restore
from duecare.vault.exports import export
from duecare.vault.places import Erasing, LakeRows, Place, SearchDocuments, Served, TableRows
from duecare.vault.records import Vault

from .park import BASIC, furnish, opened, person

CONTRACT = Served(frozenset({"pass_contract"}))
COLUMNS = "subject VARCHAR, words VARCHAR"


def documents(home: Home, folder: Path) -> None:
    """The index, made of what the lake holds."""
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("subject", stored=True, tokenizer_name="raw")
    builder.add_text_field("words", stored=True)
    writer = tantivy.Index(builder.build(), path=str(folder)).writer(15_000_000, 1)
    with home.database.session() as session:
        version = session.execute(text("SELECT version FROM lake_versions WHERE table_name = 'visits'")).scalar()
    scan = home.lake.scan("park", "visits", NEW if version is None else version, COLUMNS)
    for subject, words in home.lake.connection.execute(f"SELECT * FROM {scan}").fetchall():
        document = tantivy.Document()
        document.add_text("subject", subject)
        document.add_text("words", words)
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()


PLACES: tuple[Place, ...] = (
    TableRows("visits", "canary_visits", CONTRACT),
    TableRows("messages", "canary_messages"),
    LakeRows("lake visits", "park", "visits", COLUMNS, CONTRACT),
    SearchDocuments("search", "people-index", documents, CONTRACT),
)


def unlike_any_id(kind: str) -> str:
    """A word at random, no two of its letters alike and none of its letters of the hexadecimal digits.

    The index compresses what it stores, and would cut a word that has four letters in common with an id beside it.
    """
    letters = [each for each in string.ascii_lowercase if each not in string.hexdigits]
    secrets.SystemRandom().shuffle(letters)
    return kind + "".join(letters)


def plant(vault: Vault, subject: str, word: str) -> None:
    """The canary ``word`` in each place, and in each field."""
    home = vault.home
    with home.database.session() as session:
        for table in ("canary_visits", "canary_messages"):
            session.execute(text(f"CREATE TABLE IF NOT EXISTS {table} (subject TEXT, words TEXT)"))
            session.execute(text(f"INSERT INTO {table} VALUES (:who, :what)"), {"who": subject, "what": word * 40})
        vault.seal(session, subject, {**BASIC, "name": word, "phone": word}, ["pass_contract"], "counter")
        vault.seal(session, subject, {"photo": word.encode() * 2000}, ["pass_photo"], "counter")
        known = text("SELECT version FROM lake_versions WHERE table_name = 'visits'")
        version = session.execute(known).scalar()
    with home.writing("lake"):
        query = f"SELECT '{subject}'::VARCHAR AS subject, '{word}'::VARCHAR AS words"
        after = home.lake.write("park", "visits", NEW if version is None else version, [query])
        with home.database.session() as session:
            session.execute(text("DELETE FROM lake_versions WHERE table_name = 'visits'"))
            session.execute(text("INSERT INTO lake_versions VALUES ('park', 'visits', :it)"), {"it": after})
    folder = home.path / "people-index"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    documents(home, folder)
    export(vault, subject, "counter")


def found(folder: Path, *words: str) -> list[str]:
    """The files in ``folder`` that have one of ``words`` in them, plainly or in base64."""
    wanted = [each for word in words for each in (word.encode(), b64encode(word.encode() * 3)[:24])]
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [str(path) for path in files if any(each in path.read_bytes() for each in wanted)]


@pytest.fixture
def park(database_url: str, tmp_path: Path) -> Iterator[Vault]:
    """A vault whose SQLite database stands in the home, so that the search of the home covers it."""
    home = tmp_path / "home"
    url = f"sqlite:///{home / 'duecare.db'}" if database_url.startswith("sqlite") else database_url
    with opened(home, url, places=PLACES, witnessed_by=[]) as vault:
        furnish(vault)
        yield vault


def holder(vault: Vault) -> str:
    return person(vault, "pass_contract", "pass_photo")


def rows(session: Session, subject: str) -> int:
    count = 0
    for table in ("canary_visits", "canary_messages"):
        mine = {"who": subject}
        count += session.execute(text(f"SELECT count(*) FROM {table} WHERE subject = :who"), mine).scalar_one()
    return count


def test_after_the_erasure_the_canary_is_nowhere(park: Vault, tmp_path: Path) -> None:
    """It was in every place; then it is in no file of the home (free pages and journals included), nor in a backup."""
    vault, home = park, park.home.path
    word, other = unlike_any_id("canary"), f"sparrow{secrets.token_hex(12)}"
    subject, stays = holder(vault), holder(vault)
    plant(vault, subject, word)
    plant(vault, stays, other)
    everywhere = {str(Path(each).relative_to(home)).split("/")[0] for each in found(home, word)}
    assert everywhere >= {"exports", "lake", "people-index"}, "the canary must be there before it can be gone"
    assert not vault.database.embedded or everywhere & {"duecare.db", "duecare.db-wal"}
    made = backup(vault.home, tmp_path / "backup")
    outcome = erasure.erase(vault, subject)
    assert found(home, word) == []
    assert found(made.folder, word) == []
    with vault.database.session() as session:
        assert rows(session, subject) == 0
        assert rows(session, stays) == 2
    if not vault.database.embedded:
        address = vault.database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        dumped = subprocess.run(["pg_dump", "--inserts", address], capture_output=True, check=True).stdout
        assert other.encode() in dumped
        assert word.encode() not in dumped
    counted = {each.purpose: each.places for each in outcome.erasures}
    assert counted["pass_contract"] == {"exports": 1, "lake visits": 1, "search": 1, "visits": 1}
    assert counted["pass_photo"] == {"exports": 1, "messages": 1}, "with the last purpose goes what serves any"
    assert found(home, other), "what is another's stays"
    assert vault.open("name", stays, "pass_contract", "gate") == other


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # test_copies restores servers
def test_a_backup_from_before_brings_no_canary_back(park: Vault, tmp_path: Path) -> None:
    """The backup is restored beside the newer log and keys: when the vault opens, what was erased is erased again."""
    vault, home = park, park.home.path
    word = unlike_any_id("canary")
    subject, stays = holder(vault), holder(vault)
    plant(vault, subject, word)
    plant(vault, stays, "sparrow")
    made = backup(vault.home, tmp_path / "backup")
    erasure.erase(vault, subject)
    vault.close()
    vault.home.close()
    for path in home.iterdir():
        if path.name not in ("keys", "log", "home.id"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    restore(load(home=home), made.folder)
    assert found(home, word), "the plain rows of the backup are back, until the vault is opened"
    with opened(home, places=PLACES, witnessed_by=[]) as again:
        assert again.recovered.erasures == 2
        assert found(home, word) == []
        assert again.open("name", stays, "pass_contract", "gate") == "sparrow"
        with again.database.session() as session:
            assert rows(session, subject) == 0


@pytest.mark.parametrize("place", PLACES[:3], ids=lambda place: place.name)  # the index is a copy of the lake's rows
def test_a_place_can_be_emptied_again(park: Vault, place: Place) -> None:
    """Emptied twice, a place is as empty, and holds what is another's."""
    vault = park
    subject, stays = holder(vault), holder(vault)
    plant(vault, subject, "canary")
    plant(vault, stays, "sparrow")
    erasing = Erasing(vault.home, "pass_contract", (subject,), frozenset({subject}))
    others = Erasing(vault.home, "pass_contract", (stays,), frozenset({stays}))
    with vault.database.session() if place.in_database else nullcontext() as session:
        assert place.count(erasing, session) == {subject: 1}
        for _ in range(2):
            place.erase(erasing, session)
            assert place.count(erasing, session) == {}
        assert place.count(others, session) == {stays: 1}
