"""The vault: personal data goes in sealed, and comes out for a purpose that stands, and in no other way.

Every door does three things in this order: it asks the rules, it acts, it leaves evidence.

The rule of this module: what a caller holds is a ``Vault``. Keys, wraps and ciphertexts stay inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from duecare.consent import purposes as declared
from duecare.consent.purposes import Purpose
from duecare.errors import UseError
from duecare.evidence.cosign import RemoteWitness, witnesses
from duecare.evidence.log import Log
from duecare.rules.engine import Engine
from duecare.store.home import Home
from duecare.vault import collection, copies, openings, replay
from duecare.vault.blobs import Blobs
from duecare.vault.copies import Replays
from duecare.vault.decisions import Decisions
from duecare.vault.exports import Exports
from duecare.vault.held import Held as Held
from duecare.vault.held import held
from duecare.vault.index import Index
from duecare.vault.keys import FileMasterKeys, MasterKeys
from duecare.vault.models import VaultKey
from duecare.vault.newest import Newest
from duecare.vault.openings import Opened as Opened
from duecare.vault.openings import Opening as Opening
from duecare.vault.places import Place, registered
from duecare.vault.slots import Slots

Value = str | bytes


class Vault:
    """The vault of a home. Make one and keep it: the rules and the keys are held open."""

    def __init__(
        self,
        home: Home,
        engine: Engine | None = None,
        *,
        master: MasterKeys | None = None,
        witnessed_by: Sequence[RemoteWitness] | None = None,
        places: Sequence[Place] | None = None,
        replays: Sequence[Replays] | None = None,
    ) -> None:
        """Open the vault: what a killed process left is finished, and what a restored copy brought back is ended again.

        ``master``, ``witnessed_by``, ``places`` and ``replays`` stand in the place of the files, settings and entry
        points. Raises ``KeyLost``, ``EvidenceBroken``, ``BadInput``, ``Busy``.
        """
        self.home, self.database, self.clock = home, home.database, home.clock
        self.engine = engine or Engine.load(home.settings.policies)
        self.decisions = Decisions(self.engine)
        self.witnesses = tuple(witnesses(home.settings) if witnessed_by is None else witnessed_by)
        self.places: tuple[Place, ...] = (Exports(), *(registered() if places is None else places))
        self.replays: tuple[Replays, ...] = tuple(copies.registered() if replays is None else replays)
        with self.database.session() as session:
            sealed = session.scalar(select(VaultKey.id).limit(1)) is not None
        folder = home.path / "keys"
        self.slots = Slots(folder, master or FileMasterKeys(folder), create=not sealed)
        self.log = Log.at(home.path)
        self.blobs = Blobs(home.path / "blobs")
        self.index = Index(self.slots)
        self._purposes: dict[tuple[str, int], Purpose] = {}
        self.newest = Newest(self)
        self.recovered = replay.recover(self)

    def seal(
        self, session: Session, subject: str, values: Mapping[str, Value], purposes: Sequence[str], actor: str
    ) -> None:
        """Keep ``values`` (field → value) of a subject, sealed, for each of ``purposes``, in the caller's transaction.

        A value that is there already for a purpose is superseded. ``actor`` is a member of staff by name, or
        ``service:`` and the name of a part of the system. Raises ``NotGranted`` naming the holding, ``UnknownName``,
        ``BadInput``.
        """
        self.seal_many(session, {subject: values}, purposes, actor)

    def seal_many(
        self, session: Session, rows: Mapping[str, Mapping[str, Value]], purposes: Sequence[str], actor: str
    ) -> int:
        """Keep the values of many subjects (subject → field → value), all or none; returns how many. As ``seal``."""
        return collection.seal_many(self, session, rows, purposes, actor)

    def allow(self, session: Session, subject: str, fields: Sequence[str], purpose: str, actor: str) -> None:
        """Let values that are held already serve ``purpose`` too, in the caller's transaction.

        The rules are asked as for any use: what was collected for one purpose serves another only where the person
        agreed to that one, and it was declared with these fields. Raises ``NotGranted``, ``NeverHeld``, ``Erased``.
        """
        collection.allow(self, session, subject, fields, purpose, actor)

    def open(self, field: str, subject: str, purpose: str, actor: str, *, why: str = "") -> Value:
        """The value of ``field`` of a subject, opened for ``purpose``. Call it outside of any transaction.

        ``why`` is for the person, who can ask who opened what. Raises ``NotGranted`` naming the holding, ``Erased``,
        ``NeverHeld``, ``UnknownName``, ``KeyLost``, ``EvidenceBroken``; ``WitnessUnavailable`` where this home has
        witnesses and none vouches for it.
        """
        return openings.open_one(self, field, subject, purpose, actor, why)

    def open_many(
        self, fields: Sequence[str], subjects: Sequence[str] | None, purpose: str, actor: str, *, why: str = ""
    ) -> Opened:
        """``fields`` of many subjects (none: of all whom the purpose stands for), as one set.

        The rules are asked once for the purpose and the fields, a join says for whom they allow it, and one entry of
        evidence stands for all. Call it outside of any transaction. Raises ``NotGranted`` where the rules allow it for
        nobody, ``UnknownName``, ``KeyLost``, ``EvidenceBroken``.
        """
        return openings.open_many(self, fields, subjects, purpose, actor, why, "bulk")

    def find_all(self, field: str, value: str, purpose: str, actor: str) -> list[str]:
        """The subjects whose ``field``, held for ``purpose``, is exactly ``value``; spaces, hyphens and case aside.

        Call it outside of any transaction. Raises ``NotGranted``, ``UnknownName``, ``BadInput`` for a field without
        look-up.
        """
        return openings.find_all(self, field, value, purpose, actor)

    def find(self, field: str, value: str, purpose: str, actor: str) -> str | None:
        """The one subject whom ``find_all`` finds, or none. Raises also ``UseError`` where there are several."""
        found = self.find_all(field, value, purpose, actor)
        if len(found) > 1:
            raise UseError(
                f"{len(found)} people have this {field}.",
                hint="Ask with find_all, and tell them apart by another field.",
            )
        return found[0] if found else None

    def holds(self, session: Session, subject: str) -> list[Held]:
        """What is held of a subject, for which purpose, since and until when, and what was erased; no values."""
        return held(self, session, subject)

    def openings(self, session: Session, subject: str) -> list[Opening]:
        """Who opened what of a subject, for which purpose, when and why; oldest first."""
        return openings.openings(session, subject)

    def purpose(self, session: Session, name: str, number: int | None = None) -> Purpose:
        """A purpose in a version, or as it is declared now. Versions never change, so that each is read once."""
        if number is None:
            return declared.purpose(session, name)
        found = self._purposes.get((name, number))
        if found is None:
            found = self._purposes[name, number] = declared.purpose(session, name, number=number)
        return found

    def versions(self, session: Session, name: str) -> list[Purpose]:
        """A purpose in all versions under which grants may stand, newest first. Raises ``UnknownName``."""
        newest = declared.newest(session, name)
        return [self.purpose(session, name, number) for number in range(newest, 0, -1)]

    def close(self) -> None:
        """Close the keys. The home stays open."""
        self.slots.close()

    def __enter__(self) -> Vault:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
