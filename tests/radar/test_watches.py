"""Members, addresses and watches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from owed import NOW, open_home, watcher
from sqlalchemy import select

from duecare.errors import BadInput, UnknownName, UseError
from duecare.radar.models import ChannelAddress
from duecare.radar.watches import (
    Reach,
    add_address,
    add_member,
    add_watch,
    end_address,
    end_watch,
    find_member,
    members,
    watches,
)
from duecare.store.home import Home
from duecare.vault.records import Vault


@pytest.fixture
def home(tmp_path: Path, database_url: str) -> Iterator[Home]:
    with open_home(tmp_path, database_url) as home:
        yield home


@pytest.fixture
def vault(home: Home) -> Iterator[Vault]:
    with Vault(home) as vault:
        yield vault


def test_everyone_has_a_message_centre_and_a_salt_of_their_own(home: Home) -> None:
    """A member without any address is still reached, and no two addresses share a commitment, the same ones neither."""
    watcher(home, "甲", [], Reach("mail", "a@example.org"))
    watcher(home, "乙", [])
    with home.database.session() as session:
        found = members(session)
        commitments = list(session.scalars(select(ChannelAddress.commitment)))
    assert [(member.name, [one.channel for one in ways]) for member, ways in found] == [
        ("乙", ["centre"]),
        ("甲", ["centre", "mail"]),
    ]
    assert len(set(commitments)) == 3


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"zone": "Peking"}, "not a time zone"),
        ({"digest_hour": 24}, "from 0 to 23"),
        ({"language": "fr"}, "zh or en"),
        ({"reach": [Reach("mail", "nobody")]}, "name@example.org"),
        ({"reach": [Reach("mail", "a@b\nBcc: all")]}, "not a mail address"),
        ({"reach": [Reach("sms", "call me")]}, "telephone number"),
        ({"reach": [Reach("webhook", "file:///etc/passwd")]}, "https://host/path"),
        ({"reach": [Reach("webhook", "https://h.example/", "whsec_short")]}, "24 to 64 bytes"),
        ({"reach": [Reach("pigeon", "north")]}, "Known: centre"),
    ],
)
def test_bad_input_is_refused_with_what_would_be_right(
    home: Home, vault: Vault, given: dict[str, object], says: str
) -> None:
    """Nothing of a member is kept whose zone, hour, language or address cannot be right."""
    with pytest.raises(UseError, match=says), home.database.session() as session:
        add_member(vault, session, "甲", at=NOW, **given)  # type: ignore[arg-type]
    with home.database.session() as session:
        assert members(session) == []


def test_one_watch_of_a_company_at_a_time(home: Home) -> None:
    """A second watch of the same company is refused; after the first has ended, there may be another."""
    watcher(home, "甲", ["A"])
    with home.database.session() as session, pytest.raises(UseError, match="already"):
        add_watch(session, find_member(session, "甲"), "A", at=NOW)
    with home.database.session() as session:
        member = find_member(session, "甲")
        end_watch(session, member, "A", at=NOW)
        add_watch(session, member, "A", at=NOW, categories=["risk"], channels=["centre"], realtime=True)
        assert [one.categories for one in watches(session, member="甲")] == [("risk",)]
        assert len(watches(session, ended=True)) == 2
        with pytest.raises(UnknownName, match="watch of 甲 on 'B'"):
            end_watch(session, member, "B", at=NOW)


def test_a_watch_names_only_what_exists(home: Home) -> None:
    """Categories, channels and members that are unknown are named with the nearest that are known."""
    watcher(home, "甲", [])
    with home.database.session() as session:
        member = find_member(session, "甲")
        with pytest.raises(UnknownName, match="Did you mean litigation"):
            add_watch(session, member, "A", at=NOW, categories=["litigations"])
        with pytest.raises(BadInput, match="no address for the channel mail"):
            add_watch(session, member, "A", at=NOW, channels=["mail"])
        with pytest.raises(UnknownName, match="member"):
            find_member(session, "丙")


def test_an_address_ends_but_is_not_forgotten(home: Home, vault: Vault) -> None:
    """An ended address is listed no more but stays a row; the message centre cannot be ended."""
    watcher(home, "甲", [], Reach("mail", "a@example.org"))
    with home.database.session() as session:
        member = find_member(session, "甲")
        (mail,) = session.scalars(select(ChannelAddress).where(ChannelAddress.channel == "mail"))
    assert add_address(vault, member, Reach("mail", " a@example.org"), at=NOW).id == mail.id
    with home.database.session() as session:
        end_address(session, session.get_one(ChannelAddress, mail.id), at=NOW)
        assert [one.channel for one in members(session)[0][1]] == ["centre"]
    again = add_address(vault, member, Reach("mail", "a@example.org"), at=NOW)
    assert again.id != mail.id
    with home.database.session() as session:
        assert session.get_one(ChannelAddress, mail.id).state == "ended"
        with pytest.raises(UseError, match="message centre"):
            end_address(session, members(session)[0][1][0], at=NOW)
