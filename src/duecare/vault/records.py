"""The vault: personal data goes in sealed, and comes out by ``open`` alone.

Every way out does three things in this order: it asks the rules, it opens, it leaves evidence; what was opened is
handed over only after the evidence has committed.

The rule of this module: without a grant that stands for the purpose, and a key that was made for it, nothing opens.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import Row, and_, bindparam, delete, exists, insert, select, update
from sqlalchemy.orm import Session

from duecare.consent import purposes as declared
from duecare.consent import subjects as people
from duecare.consent.models import GrantEnd, GrantRow, PurposeVersion, SubjectRow
from duecare.consent.purposes import Activity, PersonalField, Purpose
from duecare.errors import BadInput, DuecareError, Erased, NeverHeld, NotGranted, UnknownName, UseError
from duecare.evidence.commitment import SALT_SIZE, commit
from duecare.evidence.cosign import RemoteWitness, witnesses
from duecare.evidence.log import Log
from duecare.evidence.outbox import record
from duecare.rules.decision import Decision
from duecare.rules.engine import Engine
from duecare.store.database import alone
from duecare.store.home import Home
from duecare.vault import erasure
from duecare.vault import fields as sealing
from duecare.vault.blobs import Blobs
from duecare.vault.decisions import ENDED, NEVER, Decisions, Situation, standing
from duecare.vault.fields import Context
from duecare.vault.index import Index, look_up
from duecare.vault.keys import FileMasterKeys, MasterKeys, Slot, Slots, purpose_key, unwrap_data_key, wrap_data_key
from duecare.vault.models import (
    KeyState,
    OpeningSubject,
    ValueState,
    VaultErasure,
    VaultKey,
    VaultLookup,
    VaultOpening,
    VaultValue,
    VaultWrap,
)
from duecare.vault.places import Place, registered

Value = str | bytes
_PART = 5000  # subjects named in one statement
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Opened:
    """What a bulk opening gave: ``rows`` of subject, field and value, by subject; ``entry`` of evidence.

    ``unopened``: the subjects that were asked for and of whom nothing was opened.
    """

    rows: list[tuple[str, str, Value]]
    entry: int
    unopened: tuple[str, ...]


class Vault:
    """The vault of a home. Make one and keep it: the engine and the keys are held open."""

    def __init__(
        self,
        home: Home,
        engine: Engine | None = None,
        *,
        master: MasterKeys | None = None,
        witnessed_by: Sequence[RemoteWitness] | None = None,
        places: Sequence[Place] | None = None,
    ) -> None:
        """Open the vault: what a killed process left is finished, and what a restored copy brought back is erased.

        ``master``, ``witnessed_by`` and ``places`` stand in the place of the files, settings and entry points. Raises
        ``KeyLost``, ``EvidenceBroken``, ``BadInput``, ``Busy``.
        """
        self.home, self.database, self.clock = home, home.database, home.clock
        self.decisions = Decisions(engine or Engine.load(home.settings.policies))
        self.log = Log.at(home.path)
        self.witnesses = tuple(witnesses(home.settings) if witnessed_by is None else witnessed_by)
        with self.database.session() as session:
            sealed = session.scalar(select(VaultKey.id).limit(1)) is not None
        folder = home.path / "keys"
        self.slots = Slots(folder, master or FileMasterKeys(folder), create=not sealed)
        self.blobs = Blobs(home.path / "blobs")
        self.index = Index(self.slots)
        self.places: tuple[Place, ...] = tuple(registered() if places is None else places)
        self._purposes: dict[tuple[str, int], Purpose] = {}
        erasure.finish(self, certify=False)

    def seal(
        self, session: Session, subject: str, values: Mapping[str, Value], purposes: Sequence[str], actor: str
    ) -> None:
        """Keep ``values`` (field → value) of a subject, sealed, for each of ``purposes``, in the caller's transaction.

        A value that is there already for a purpose is superseded. Raises ``NotGranted`` naming the holding,
        ``UnknownName``, ``BadInput``.
        """
        self.seal_many(session, {subject: values}, purposes, actor)

    def seal_many(
        self, session: Session, rows: Mapping[str, Mapping[str, Value]], purposes: Sequence[str], actor: str
    ) -> int:
        """Keep the values of many subjects (subject → field → value), all or none; returns how many. As ``seal``."""
        names = sorted({name for values in rows.values() for name in values})
        if not names or not purposes or len(set(purposes)) < len(purposes):
            raise BadInput(
                f"There is nothing to seal: fields {names}, purposes {list(purposes)}.",
                hint="Name at least one value, and each purpose once.",
            )
        _one_line("actor", actor)
        at = self.clock.now()
        known = {each.name: each for each in declared.fields(session)}
        for name in names:
            if name not in known:
                raise UnknownName("field", name, sorted(known))
        keys, reasons = {}, dict[str, None]()
        for purpose in sorted(purposes):
            granted, decisions = self._collectable(session, purpose, names, sorted(rows), actor)
            reasons.update((reason.id, None) for each in decisions for reason in each.reasons)
            keys[purpose] = self._keys(session, purpose, granted, at)
        sealed = self._write(session, rows, known, keys, at)
        committed = {row.id: commit(row.id, bytes.fromhex(row.salt)).text for row in _salts(session, list(rows))}
        one = len(rows) == 1
        body = {
            "by": actor,
            "fields": names,
            "purposes": sorted(purposes),
            "values": len(sealed),
            "digest": _digest(sealed),
            "reasons": list(reasons),
            **({"subject": committed[next(iter(rows))]} if one else _many(committed.values())),
        }
        record(session, "field:seal", f"purpose:{'+'.join(sorted(purposes))}", body, at)
        return len(sealed)

    def open(self, field: str, subject: str, purpose: str, actor: str, *, why: str = "") -> Value:
        """The value of ``field`` of a subject, opened for ``purpose``. Call it outside of any transaction.

        ``why`` is for the person, who can ask who opened what. Raises ``NotGranted`` naming the holding, ``Erased``,
        ``NeverHeld``, ``UnknownName``, ``KeyLost``, ``EvidenceBroken``.
        """
        _one_line("actor", actor)
        at = self.clock.now()
        with self.database.session() as session:
            row = self._found(session, field, subject, purpose)
            failed, reasons = self._allows(session, row, field, subject, purpose, actor)
            value: Value = b""
            if failed is None:
                try:
                    value = self._unsealed(row, subject, purpose, self.slots.key(Slot(row.slot, row.key_id)))
                except Erased as error:
                    failed = error
            if failed is None:
                self._opened(session, "open", [subject], purpose, [field], actor, why, reasons, [row.salt], at)
            elif row.salt is not None:
                body = {
                    "by": actor,
                    "field": field,
                    "purpose": purpose,
                    "subject": commit(subject, bytes.fromhex(row.salt)).text,
                    "error": type(failed).__name__,
                    "reasons": reasons,
                }
                record(session, "field:refuse", f"purpose:{purpose}", body, at)
        if failed is not None:
            raise failed
        return value

    def open_many(
        self, fields: Sequence[str], subjects: Sequence[str] | None, purpose: str, actor: str, *, why: str = ""
    ) -> Opened:
        """``fields`` of many subjects (none: of all whom the purpose stands for), as one set.

        The rules are asked once for the purpose and the fields, a join says for whom they allow it, and one entry of
        evidence stands for all. Call it outside of any transaction. Raises ``NotGranted`` where the rules allow it for
        nobody, ``UnknownName``, ``KeyLost``, ``EvidenceBroken``.
        """
        return self._bulk("bulk", fields, subjects, purpose, actor, why)

    def find_all(self, field: str, value: str, purpose: str, actor: str) -> list[str]:
        """The subjects whose ``field``, held for ``purpose``, is exactly ``value``; spaces, hyphens and case aside.

        Call it outside of any transaction. Raises ``NotGranted``, ``UnknownName``, ``BadInput`` for a field without
        look-up.
        """
        _one_line("actor", actor)
        at = self.clock.now()
        with self.database.session() as session:
            if not declared.field(session, field).lookup:
                raise BadInput(
                    f"Nobody is found by {field}: the field was declared without lookup.",
                    hint="Declare it with lookup, and seal it anew.",
                )
            condition, decisions = self._allowed(session, purpose, Activity.USE, [field], actor)
            found: dict[str, str] = {}
            for generation, key in self.index.live(session):
                rows = session.execute(
                    select(GrantRow.subject, SubjectRow.salt)
                    .join(VaultKey, _serves(VaultKey))
                    .join(VaultWrap, and_(VaultWrap.key_id == VaultKey.id, VaultWrap.field == field))
                    .join(VaultLookup, VaultLookup.value_id == VaultWrap.value_id)
                    .join(SubjectRow, SubjectRow.id == GrantRow.subject)
                    .where(
                        VaultLookup.field == field,
                        VaultLookup.digest == look_up(key, field, value),
                        VaultLookup.generation == generation,
                        GrantRow.purpose == purpose,
                        GrantRow.ended_at.is_(None),
                        condition,
                    )
                )
                found.update((row.subject, row.salt) for row in rows)
            who = sorted(found)
            reasons = _reasons(decisions, allowed=True)
            salts = [found[each] for each in who]
            self._opened(session, "find", who, purpose, [field], actor, "", reasons, salts, at)
        return who

    def find(self, field: str, value: str, purpose: str, actor: str) -> str | None:
        """The one subject whom ``find_all`` finds, or none. Raises also ``UseError`` where there are several."""
        found = self.find_all(field, value, purpose, actor)
        if len(found) > 1:
            raise UseError(
                f"{len(found)} people have this {field}.",
                hint="Ask with find_all, and tell them apart by another field.",
            )
        return found[0] if found else None

    def allow(self, session: Session, subject: str, fields: Sequence[str], purpose: str, actor: str) -> None:
        """Let values that are held already serve ``purpose`` too, in the caller's transaction.

        The rules are asked as for any use: what was collected for one purpose serves another only where the person
        agreed to that one, and it was declared with these fields. Raises ``NotGranted``, ``NeverHeld``, ``Erased``.
        """
        _one_line("actor", actor)
        at = self.clock.now()
        granted, decisions = self._collectable(session, purpose, sorted(fields), [subject], actor, Activity.USE)
        (key,) = self._keys(session, purpose, granted, at).values()
        key_id, kek = key
        for name in fields:
            source = session.execute(
                select(VaultKey.id, VaultKey.slot, VaultKey.purpose, VaultWrap.wrapped, VaultWrap.value_id)
                .join(VaultWrap, VaultWrap.key_id == VaultKey.id)
                .where(VaultKey.subject == subject, VaultWrap.field == name, VaultKey.state == KeyState.LIVE)
                .limit(1)
            ).first()
            if source is None:
                raise self._missing(session, name, subject, purpose)
            other = purpose_key(self.slots.key(Slot(source.slot, source.id)), source.id, subject, source.purpose)
            wrapped = wrap_data_key(kek, unwrap_data_key(other, source.wrapped))
            self._place(
                session, [{"key_id": key_id, "field": name, "value_id": source.value_id, "wrapped": wrapped}], at
            )
        body = {
            "by": actor,
            "fields": sorted(fields),
            "purpose": purpose,
            "subject": people.commitment(session, subject),
            "reasons": _reasons(decisions, allowed=True),
        }
        record(session, "field:allow", f"purpose:{purpose}", body, at)

    def purpose(self, session: Session, name: str, number: int | None = None) -> Purpose:
        """A purpose in a version, or as it is declared now. Versions never change, so that each is read once."""
        if number is None:
            return declared.purpose(session, name)
        found = self._purposes.get((name, number))
        if found is None:
            found = self._purposes[name, number] = declared.purpose(session, name, number=number)
        return found

    def close(self) -> None:
        """Close the keys. The home stays open."""
        self.slots.close()

    def __enter__(self) -> Vault:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What follows is the inside of the door.

    def _found(self, session: Session, field: str, subject: str, purpose: str) -> Row[*tuple[Any, ...]]:
        row = session.execute(_ONE, {"subject": subject, "purpose": purpose, "field": field}).first()
        if row is None:
            raise UnknownName("subject", subject, [])
        if row.grant_id is not None and row.key_id is not None and row.key_grant != row.grant_id:
            follow(session, purpose, [subject])
            return session.execute(_ONE, {"subject": subject, "purpose": purpose, "field": field}).one()
        return row

    def _allows(
        self, session: Session, row: Row[*tuple[Any, ...]], field: str, subject: str, purpose: str, actor: str
    ) -> tuple[DuecareError | None, list[str]]:
        """Why ``field`` is not opened, none where it is; and the ids of the policies that decided."""
        situation = self._situation(session, row, subject, purpose)
        decision = self.decisions.process(
            self.purpose(session, purpose, row.version), Activity.USE, [field], situation, actor
        )
        reasons = [each.id for each in decision.reasons]
        if not decision.allowed:
            gone = self._gone(session, field, subject, purpose)
            return gone or _not_granted(purpose, decision, self.home.settings.language), reasons
        if row.value_id is None or row.key_grant != row.grant_id:
            return self._missing(session, field, subject, purpose), reasons
        return None, reasons

    def _situation(self, session: Session, row: Row[*tuple[Any, ...]], subject: str, purpose: str) -> Situation:
        if row.grant_id is not None:
            return standing(separate=row.separate)
        once = exists().where(GrantRow.subject == subject, GrantRow.purpose == purpose)
        return ENDED if session.scalar(select(once)) else NEVER

    def _gone(self, session: Session, field: str, subject: str, purpose: str) -> Erased | None:
        """The error that says when ``field`` was erased, where it had been held for ``purpose``."""
        key = session.execute(
            select(VaultKey.act, VaultKey.state)
            .where(VaultKey.subject == subject, VaultKey.purpose == purpose)
            .order_by(VaultKey.grant_id.desc())
            .limit(1)
        ).first()
        if key is None or key.state == KeyState.LIVE:
            return None
        held = exists().where(VaultValue.subject == subject, VaultValue.field == field)
        return self._erased(session, field, subject, key.act) if session.scalar(select(held)) else None

    def _missing(self, session: Session, field: str, subject: str, purpose: str) -> DuecareError:
        """Why there is nothing to open for a purpose that stands."""
        rows = session.execute(
            select(VaultValue.state, VaultValue.act, VaultKey.purpose)
            .join(VaultWrap, VaultWrap.value_id == VaultValue.id, isouter=True)
            .join(VaultKey, VaultKey.id == VaultWrap.key_id, isouter=True)
            .where(VaultValue.subject == subject, VaultValue.field == field)
            .order_by(VaultValue.sealed_at.desc())
        ).all()
        others = sorted({row.purpose for row in rows if row.state == ValueState.HELD and row.purpose != purpose})
        if others:
            return NotGranted(
                f"{field} is held for {', '.join(others)}, not for {purpose}.",
                hint=f"What was collected for one purpose serves no other: seal it for {purpose}, or allow it.",
            )
        erased = next((row.act for row in rows if row.state == ValueState.ERASED), None)
        if erased is not None:
            return self._erased(session, field, subject, erased)
        return NeverHeld(
            f"No {field} of the subject {subject} was ever sealed for {purpose}.",
            hint="duecare held SUBJECT lists what is held.",
        )

    def _erased(self, session: Session, field: str, subject: str, act: str | None) -> Erased:
        row = session.scalar(select(VaultErasure).where(VaultErasure.act == act, VaultErasure.subject == subject))
        when = f" on {row.begun_at:%Y-%m-%d} ({row.reason}, certificate {row.id})" if row else ""
        return Erased(
            f"{field} of the subject {subject} was erased{when}.",
            hint="Nothing brings it back; if the person agrees anew, it is collected anew.",
            erasure=row.id if row else "",
            at=row.begun_at if row else None,
        )

    def _allowed(
        self, session: Session, purpose: str, activity: Activity, fields: Sequence[str], actor: str
    ) -> tuple[Any, list[Decision]]:
        """The condition on standing grants under which ``activity`` is allowed. Raises ``NotGranted`` for nobody."""
        numbers = session.scalars(select(PurposeVersion.number).where(PurposeVersion.name == purpose)).all()
        versions = [self.purpose(session, purpose, number) for number in sorted(numbers)]
        if not versions:
            declared.purpose(session, purpose)  # says which purposes there are
        condition, decisions = self.decisions.allowed(versions, activity, fields, actor)
        if not any(each.allowed for each in decisions):
            raise _not_granted(purpose, decisions[-2], self.home.settings.language)
        return condition, decisions

    def _collectable(
        self,
        session: Session,
        purpose: str,
        fields: Sequence[str],
        subjects: Sequence[str],
        actor: str,
        activity: Activity = Activity.COLLECT,
    ) -> tuple[dict[str, int], list[Decision]]:
        """The standing grants (subject → id) under which ``fields`` are taken in. Raises ``NotGranted`` if one lacks.

        The grants are locked: one that is withdrawn meanwhile waits until the caller has committed, and then erases.
        """
        condition, decisions = self._allowed(session, purpose, activity, fields, actor)
        granted: dict[str, int] = {}
        for part in _parts(subjects):
            standing_ = select(GrantRow.subject, GrantRow.id).where(
                GrantRow.purpose == purpose, GrantRow.ended_at.is_(None), GrantRow.subject.in_(part), condition
            )
            granted.update(
                (row.subject, row.id) for row in session.execute(standing_.with_for_update(read=True, of=GrantRow))
            )
        lacking = [subject for subject in subjects if subject not in granted]
        if lacking:
            raise self._denial(session, purpose, activity, fields, lacking, actor)
        return granted, decisions

    def _denial(
        self,
        session: Session,
        purpose: str,
        activity: Activity,
        fields: Sequence[str],
        lacking: Sequence[str],
        actor: str,
    ) -> DuecareError:
        """What the rules say to the first of those for whom they do not allow it."""
        row = session.execute(_ONE, {"subject": lacking[0], "purpose": purpose, "field": fields[0]}).first()
        if row is None:
            return UnknownName("subject", lacking[0], [])
        situation = self._situation(session, row, lacking[0], purpose)
        version = self.purpose(session, purpose, row.version)
        decision = self.decisions.process(version, activity, fields, situation, actor)
        error = _not_granted(purpose, decision, self.home.settings.language)
        if len(lacking) > 1:
            error.message += f" So it is for {len(lacking)} subjects; nothing was sealed."
        return error

    def _keys(
        self, session: Session, purpose: str, granted: Mapping[str, int], at: datetime
    ) -> dict[str, tuple[str, bytes]]:
        """The id and purpose key of each subject; made where there is none yet."""
        found = self._live_keys(session, purpose, granted)
        if len(found) < len(granted):
            alone(session, f"vault:keys:{purpose}")
            follow(session, purpose, [subject for subject in granted if subject not in found])
            found = self._live_keys(session, purpose, granted)
        lacking = [subject for subject in granted if subject not in found]
        ids = [secrets.token_hex(16) for _ in lacking]
        slots = self.slots.make(ids)
        rows = [
            {
                "id": slot.key,
                "subject": subject,
                "purpose": purpose,
                "grant_id": granted[subject],
                "slot": slot.number,
                "state": KeyState.LIVE.value,
                "made_at": at,
            }
            for subject, slot in zip(lacking, slots, strict=True)
        ]
        if rows:
            session.execute(insert(VaultKey), rows)
        found.update(zip(lacking, slots, strict=True))
        slot_keys = self.slots.keys(list(found.values()))
        made = {}
        for (subject, slot), key in zip(found.items(), slot_keys, strict=True):
            if key is None:
                raise Erased(f"The key {slot.key} was erased.", hint="Open the vault again: it finishes the erasure.")
            made[subject] = (slot.key, purpose_key(key, slot.key, subject, purpose))
        return made

    def _live_keys(self, session: Session, purpose: str, granted: Mapping[str, int]) -> dict[str, Slot]:
        found = dict[str, Slot]()
        for part in _parts(list(granted)):
            rows = session.execute(
                select(VaultKey.subject, VaultKey.id, VaultKey.slot, VaultKey.grant_id)
                .where(VaultKey.purpose == purpose, VaultKey.state == KeyState.LIVE, VaultKey.subject.in_(part))
                .with_for_update(read=True)
            )
            found.update((row.subject, Slot(row.slot, row.id)) for row in rows if row.grant_id == granted[row.subject])
        return found

    def _write(
        self,
        session: Session,
        rows: Mapping[str, Mapping[str, Value]],
        known: Mapping[str, PersonalField],
        keys: Mapping[str, Mapping[str, tuple[str, bytes]]],
        at: datetime,
    ) -> list[str]:
        """Seal and store; returns the commitments of the values."""
        values, wraps, lookups, blobs, committed = [], [], [], dict[str, bytes](), []
        index: tuple[int, bytes] | None = None
        for subject, given in rows.items():
            for name, value in given.items():
                declared_field = known[name]
                context = Context(secrets.token_hex(16), subject, name, declared_field.form)
                sealed = sealing.seal(context, value)
                blob = declared_field.form == "bytes" or len(sealed.ciphertext) > sealing.BLOB_FROM
                if blob:
                    blobs[context.value] = sealed.ciphertext
                salt = secrets.token_bytes(SALT_SIZE)
                committed.append(commit(sealing.described(context, sealed.digest), salt).text)
                values.append(
                    {
                        "id": context.value,
                        "subject": subject,
                        "field": name,
                        "form": context.form,
                        "ciphertext": None if blob else sealed.ciphertext,
                        "blob": blob,
                        "digest": sealed.digest,
                        "salt": salt.hex(),
                        "state": ValueState.HELD.value,
                        "sealed_at": at,
                    }
                )
                for of_purpose in keys.values():
                    key_id, key = of_purpose[subject]
                    wrapped = wrap_data_key(key, sealed.data_key)
                    wraps.append({"key_id": key_id, "field": name, "value_id": context.value, "wrapped": wrapped})
                if declared_field.lookup and isinstance(value, str):
                    index = index or self.index.newest(session, at)
                    digest = look_up(index[1], name, value)
                    lookups.append({"value_id": context.value, "field": name, "digest": digest, "generation": index[0]})
        self.blobs.put(blobs)
        session.execute(insert(VaultValue), values)
        self._place(session, wraps, at)
        if lookups:
            session.execute(insert(VaultLookup), lookups)
        return committed

    def _place(self, session: Session, wraps: list[dict[str, Any]], at: datetime) -> None:
        """Put ``wraps`` in the place of those of the same keys and fields; values that nothing wraps are superseded."""
        replaced: set[str] = set()
        for part in _parts(sorted({each["key_id"] for each in wraps})):
            names = {each["field"] for each in wraps}
            old = session.execute(
                select(VaultWrap.key_id, VaultWrap.field, VaultWrap.value_id).where(
                    VaultWrap.key_id.in_(part), VaultWrap.field.in_(names)
                )
            ).all()
            wanted = {(each["key_id"], each["field"]) for each in wraps}
            gone = [row for row in old if (row.key_id, row.field) in wanted]
            if gone:
                session.connection().execute(
                    _DROP_WRAP, [{"wrap_key": row.key_id, "wrap_field": row.field} for row in gone]
                )
            replaced.update(row.value_id for row in gone)
        session.execute(insert(VaultWrap), wraps)
        for part in _parts(sorted(replaced)):
            unwrapped = VaultValue.id.in_(part) & ~exists().where(VaultWrap.value_id == VaultValue.id)
            session.execute(delete(VaultLookup).where(VaultLookup.value_id.in_(select(VaultValue.id).where(unwrapped))))
            session.execute(
                update(VaultValue)
                .where(unwrapped)
                .values(state=ValueState.SUPERSEDED.value, ciphertext=None, gone_at=at)
                .execution_options(synchronize_session=False)
            )

    def _unsealed(self, row: Row[*tuple[Any, ...]], subject: str, purpose: str, slot_key: bytes) -> Value:
        """The plaintext of one row. The only place where a plaintext comes to be."""
        data_key = unwrap_data_key(purpose_key(slot_key, row.key_id, subject, purpose), row.wrapped)
        ciphertext = self.blobs.get(row.value_id) if row.blob else row.ciphertext
        return sealing.unseal(Context(row.value_id, subject, row.field, row.form), ciphertext, data_key)

    def _bulk(
        self, kind: str, fields: Sequence[str], subjects: Sequence[str] | None, purpose: str, actor: str, why: str
    ) -> Opened:
        _one_line("actor", actor)
        if not fields or len(set(fields)) < len(fields):
            raise BadInput(f"The fields are {list(fields)}.", hint="Name at least one, and each once.")
        at = self.clock.now()
        with self.database.session() as session:
            try:
                condition, decisions = self._allowed(session, purpose, Activity.USE, fields, actor)
            except NotGranted as error:
                refused: NotGranted | None = error
                body = {"by": actor, "fields": sorted(fields), "purpose": purpose, "error": "NotGranted"}
                record(session, "field:refuse", f"purpose:{purpose}", body, at)
            else:
                refused = None
                found = self._sets(session, fields, subjects, purpose, condition)
                if any(row.key_grant != row.grant_id for row in found):
                    follow(session, purpose, [row.subject for row in found if row.key_grant != row.grant_id])
                    again = self._sets(session, fields, subjects, purpose, condition)
                    found = [row for row in again if row.key_grant == row.grant_id]
                rows, who = self._unsealed_all(found, purpose)
                reasons = _reasons(decisions, allowed=True)
                salts = list(who.values())
                entry = self._opened(session, kind, list(who), purpose, fields, actor, why, reasons, salts, at)
        if refused is not None:
            raise refused
        return Opened(rows, entry, tuple(each for each in subjects or () if each not in who))

    def _sets(
        self, session: Session, fields: Sequence[str], subjects: Sequence[str] | None, purpose: str, condition: Any
    ) -> list[Row[*tuple[Any, ...]]]:
        asked = (
            select(*_SEALED, SubjectRow.salt, GrantRow.subject, GrantRow.id.label("grant_id"))
            .select_from(GrantRow)
            .join(VaultKey, _serves(VaultKey))
            .join(VaultWrap, and_(VaultWrap.key_id == VaultKey.id, VaultWrap.field.in_(fields)))
            .join(VaultValue, VaultValue.id == VaultWrap.value_id)
            .join(SubjectRow, SubjectRow.id == GrantRow.subject)
            .where(GrantRow.purpose == purpose, GrantRow.ended_at.is_(None), condition)
            .order_by(GrantRow.subject, VaultWrap.field)
        )
        if subjects is None:
            return list(session.execute(asked))
        parts = _parts(sorted(set(subjects)))
        return [row for part in parts for row in session.execute(asked.where(GrantRow.subject.in_(part)))]

    def _unsealed_all(
        self, found: Sequence[Row[*tuple[Any, ...]]], purpose: str
    ) -> tuple[list[tuple[str, str, Value]], dict[str, str]]:
        """The plaintexts, and the salts of the subjects; one whose key is being erased is passed over."""
        slots = {row.key_id: Slot(row.slot, row.key_id) for row in found}
        keys = dict(zip(slots, self.slots.keys(list(slots.values())), strict=True))
        rows, who = list[tuple[str, str, Value]](), dict[str, str]()
        for row in found:
            key = keys[row.key_id]
            if key is not None:
                rows.append((row.subject, row.field, self._unsealed(row, row.subject, purpose, key)))
                who[row.subject] = row.salt
        return rows, who

    def _opened(
        self,
        session: Session,
        kind: str,
        subjects: Sequence[str],
        purpose: str,
        fields: Sequence[str],
        actor: str,
        why: str,
        reasons: Sequence[str],
        salts: Sequence[str],
        at: datetime,
    ) -> int:
        """Leave evidence of an opening, and let its subjects know of it; the id of the entry."""
        committed = [commit(each, bytes.fromhex(salt)).text for each, salt in zip(subjects, salts, strict=True)]
        about = {"subject": committed[0]} if kind == "open" else _many(committed)
        body = {"by": actor, "fields": sorted(fields), "purpose": purpose, "reasons": list(reasons), **about}
        entry = record(session, f"field:{kind}", f"purpose:{purpose}", body, at).id
        connection = session.connection()
        opening = {
            "entry": entry,
            "kind": kind,
            "purpose": purpose,
            "fields": ",".join(sorted(fields)),
            "by": actor,
            "why": why,
            "subjects": len(subjects),
            "opened_at": at,
        }
        connection.execute(insert(VaultOpening), opening)
        if subjects:
            connection.execute(insert(OpeningSubject), [{"subject": each, "entry": entry} for each in subjects])
        return entry


def follow(session: Session, purpose: str, subjects: Sequence[str]) -> None:
    """Let keys serve the grant that superseded theirs: the person agreed anew, and nothing was withdrawn between."""
    newer = select(GrantRow.id).where(
        GrantRow.subject == VaultKey.subject, GrantRow.purpose == VaultKey.purpose, GrantRow.ended_at.is_(None)
    )
    broken = (
        exists()
        .where(GrantRow.subject == VaultKey.subject, GrantRow.purpose == VaultKey.purpose)
        .where(GrantRow.id >= VaultKey.grant_id, GrantEnd.grant_id == GrantRow.id, GrantEnd.kind != "superseded")
    )
    for part in _parts(sorted(set(subjects))):
        session.execute(
            update(VaultKey)
            .where(VaultKey.purpose == purpose, VaultKey.subject.in_(part), VaultKey.state == KeyState.LIVE)
            .where(newer.exists(), ~broken)
            .values(grant_id=newer.scalar_subquery())
            .execution_options(synchronize_session=False)
        )


_SEALED = (
    VaultKey.id.label("key_id"),
    VaultKey.slot,
    VaultKey.grant_id.label("key_grant"),
    VaultWrap.field,
    VaultWrap.wrapped,
    VaultValue.id.label("value_id"),
    VaultValue.form,
    VaultValue.blob,
    VaultValue.ciphertext,
)

_ONE = (
    select(
        *_SEALED,
        SubjectRow.salt,
        GrantRow.id.label("grant_id"),
        GrantRow.separate,
        GrantRow.purpose_version.label("version"),
    )
    .select_from(SubjectRow)
    .join(
        GrantRow,
        and_(GrantRow.subject == SubjectRow.id, GrantRow.purpose == bindparam("purpose"), GrantRow.ended_at.is_(None)),
        isouter=True,
    )
    .join(
        VaultKey,
        and_(
            VaultKey.subject == SubjectRow.id, VaultKey.purpose == bindparam("purpose"), VaultKey.state == KeyState.LIVE
        ),
        isouter=True,
    )
    .join(VaultWrap, and_(VaultWrap.key_id == VaultKey.id, VaultWrap.field == bindparam("field")), isouter=True)
    .join(VaultValue, VaultValue.id == VaultWrap.value_id, isouter=True)
    .where(SubjectRow.id == bindparam("subject"))
)

_DROP_WRAP = delete(VaultWrap).where(
    VaultWrap.key_id == bindparam("wrap_key"), VaultWrap.field == bindparam("wrap_field")
)


def _serves(key: type[VaultKey]) -> Any:
    return and_(key.subject == GrantRow.subject, key.purpose == GrantRow.purpose, key.state == KeyState.LIVE)


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[at : at + _PART] for at in range(0, len(names), _PART))


def _salts(session: Session, subjects: Sequence[str]) -> list[Row[*tuple[Any, ...]]]:
    return [
        row
        for part in _parts(subjects)
        for row in session.execute(select(SubjectRow.id, SubjectRow.salt).where(SubjectRow.id.in_(part)))
    ]


def _digest(commitments: Sequence[str]) -> str:
    return sha256("".join(f"{each}\n" for each in sorted(commitments)).encode()).hexdigest()


def _many(commitments: Any) -> dict[str, Any]:
    """What stands for many subjects: how many, and SHA-256 over their commitments, sorted, a line each."""
    found = list(commitments)
    return {"subjects": len(found), "subjects_digest": _digest(found)}


def _reasons(decisions: Sequence[Decision], *, allowed: bool) -> list[str]:
    return list(dict.fromkeys(each.id for one in decisions if one.allowed is allowed for each in one.reasons))


def _not_granted(purpose: str, decision: Decision, language: str) -> NotGranted:
    named = ", ".join(reason.id for reason in decision.reasons)
    return NotGranted(f"The rules do not allow this for {purpose} ({named}).", reasons=decision.sentences(language))


def _one_line(name: str, text: str) -> None:
    if not text.strip() or len(text) > _LONGEST_NAME or any(character < " " for character in text):
        raise BadInput(f"{name} is {text!r}.", hint=f"Say it in one line of at most {_LONGEST_NAME} characters.")
