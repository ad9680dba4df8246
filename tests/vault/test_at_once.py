"""Many at work on the same people at once: nobody is thrown out, nothing is left half, and what was agreed is so."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

from sqlalchemy import func, select

from duecare.consent import grants
from duecare.errors import Erased, NotGranted
from duecare.vault import erasure, rotation
from duecare.vault.models import ValueState, VaultLookup, VaultValue, VaultWrap
from duecare.vault.records import Vault

from ..at_once import at_once
from ..consent import world
from .park import AT, BASIC, opened


def people(vault: Vault, count: int, *purposes: str) -> list[str]:
    """New people who agreed to ``purposes``, each by an act of its own, and whose telephone numbers are held."""
    with vault.database.session() as session:
        found = [world.holder(session) for _ in range(count)]
        for subject in found:
            for purpose in purposes:
                world.agree(session, subject, purpose)
        if "pass_contract" in purposes:
            vault.seal_many(session, dict.fromkeys(found, BASIC), ["pass_contract"], "counter")
        if "news" in purposes:
            for each in found:
                vault.allow(session, each, ["phone"], "news", "counter")
    return found


def end_set(vault: Vault, purpose: str, subjects: list[str]) -> None:
    """End the grants of ``subjects`` and erase, as one act."""
    with vault.database.session() as session:
        grants.end_all(session, purpose, "expired", reason="test", at=AT, subjects=subjects)
        act, _ = erasure.begin(vault, session, purpose, subjects, "schedule", at=AT)
    if act is not None:
        erasure.complete(vault, act)


def test_agreeing_anew_while_the_grants_of_all_are_ended(vault: Vault) -> None:
    """Who takes a consent back and gives it anew in one transaction stands in nobody's way who ends it for all."""
    found = people(vault, 6, "face_entry")

    def renew() -> None:
        for _ in range(5):
            for subject in random.sample(found, len(found)):
                with vault.database.session() as session:
                    grants.withdraw(session, subject, "face_entry", how="a", screen="b", at=AT)
                    world.agree(session, subject, "face_entry")

    def end() -> None:
        for _ in range(30):
            with vault.database.session() as session:
                grants.end_all(session, "face_entry", "expired", reason="test", at=AT)

    at_once(renew, renew, end, end)
    with vault.database.session() as session:
        for subject in found:
            assert len(grants.standing(session, subject)) <= 1


def test_sealing_for_many_while_their_grants_are_ended_and_given(vault: Vault) -> None:
    """A batch is sealed whole or refused whole; whoever ends the grants of some of its people waits, or it does."""
    found = people(vault, 8, "pass_contract")
    sealed = []

    def seal() -> None:
        for number in range(10):
            batch = {each: {"phone": f"{number}"} for each in random.sample(found, len(found))}
            try:
                with vault.database.session() as session:
                    vault.seal_many(session, batch, ["pass_contract"], "counter")
                sealed.append(number)
            except (NotGranted, Erased):
                pass

    def end() -> None:
        for _ in range(6):
            some = random.sample(found, 5)
            end_set(vault, "pass_contract", some)
            for each in found:
                with vault.database.session() as session:
                    world.agree(session, each, "pass_contract")

    at_once(seal, seal, end)
    with vault.database.session() as session:
        vault.seal_many(session, dict.fromkeys(found, BASIC), ["pass_contract"], "counter")
    assert vault.open("phone", found[0], "pass_contract", "gate") == BASIC["phone"]


def test_what_served_two_purposes_goes_when_both_end_at_once(vault: Vault) -> None:
    """Neither erasure leaves the value to the other: its ciphertext and what it is found by are gone."""
    for _ in range(4):
        found = people(vault, 6, "pass_contract", "news")

        def news(found: list[str] = found) -> None:
            for subject in found:
                erasure.withdraw(vault, subject, "news", how="a", screen="b")

        def contract(found: list[str] = found) -> None:
            end_set(vault, "pass_contract", found)

        at_once(news, contract)
    with vault.database.session() as session:
        assert set(session.scalars(select(VaultValue.state))) == {ValueState.ERASED.value}
        assert session.scalar(select(func.count()).select_from(VaultLookup)) == 0
        assert session.scalar(select(func.count()).select_from(VaultWrap)) == 0


def test_what_is_allowed_for_one_more_purpose_while_it_is_erased(vault: Vault) -> None:
    """It serves the other purpose, or was erased: never a value that is gone with a key that is there."""
    for _ in range(4):
        found = people(vault, 5, "pass_contract")
        with vault.database.session() as session:
            for subject in found:
                world.agree(session, subject, "news")

        def allow(found: list[str] = found) -> None:
            for subject in found:
                try:
                    with vault.database.session() as session:
                        vault.allow(session, subject, ["phone"], "news", "counter")
                except (NotGranted, Erased):
                    pass

        def erase(found: list[str] = found) -> None:
            for subject in found:
                erasure.erase(vault, subject, ["pass_contract"])

        at_once(allow, erase)
        for subject in found:
            with suppress(NotGranted, Erased):
                assert vault.open("phone", subject, "news", "gate") == BASIC["phone"]


def test_a_rotation_while_people_are_sealed_found_and_erased(vault: Vault, database_url: str, tmp_path: Path) -> None:
    """Nobody waits for a rotation, and everybody who is there is found afterwards, under the newest index key."""
    numbers = {each: f"139{at:08d}" for at, each in enumerate(people(vault, 12, "pass_contract"))}
    leaving, staying = list(numbers)[:4], list(numbers)[4:]

    def seal(chance: int) -> None:
        for _ in range(5):
            with vault.database.session() as session:
                order = random.Random(chance).sample(staying, len(staying))
                vault.seal_many(
                    session, {each: {"phone": numbers[each]} for each in order}, ["pass_contract"], "counter"
                )

    def rotate() -> None:
        with opened(tmp_path / "home", database_url) as other:
            for _ in range(3):
                rotation.rotate(other)

    def erase() -> None:
        for subject in leaving:
            erasure.erase(vault, subject)

    def find() -> None:
        for subject in staying * 2:
            vault.find_all("phone", numbers[subject], "pass_contract", "gate")

    at_once(lambda: seal(1), lambda: seal(2), rotate, erase, find)
    for subject in staying:
        assert vault.find("phone", numbers[subject], "pass_contract", "gate") == subject
    with vault.database.session() as session:
        assert len(set(session.scalars(select(VaultLookup.generation)))) == 1
