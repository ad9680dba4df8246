"""What alerts say is proved by the log: each of them, told or not, and against a database that was changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from owed import LIQUIDATION, NOW, alert, open_home, passed, watcher
from sqlalchemy import insert, select, text, update
from typer.testing import CliRunner, Result

from duecare.cli.proof import proof
from duecare.cli.verify import verify
from duecare.errors import DuecareError, EvidenceBroken, UnknownName
from duecare.evidence.check import all_hold
from duecare.evidence.log import Log
from duecare.evidence.outbox import adopt, record, sequence
from duecare.evidence.proof import verify_bundle
from duecare.radar.alerts import Part, raise_alerts
from duecare.radar.contents import NAMES, all_logged, parse_text
from duecare.radar.corrections import retract
from duecare.radar.delivery import deliver
from duecare.radar.models import Alert, Screening
from duecare.radar.raisings import commit_contents, raising_of
from duecare.store.database import Database
from duecare.store.home import Home

app = typer.Typer()
app.command()(verify)
app.command()(proof)


@pytest.fixture
def home(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A home with three alerts: A was told to one who watches it, B and C to nobody."""
    monkeypatch.setenv("DUECARE_DATABASE_URL", database_url)
    with open_home(tmp_path, database_url) as opened:
        watcher(opened, "甲", ["A"])
        alert(opened, [passed("A"), passed("B", **LIQUIDATION), passed("C", name='甲\n"乙"\\ 公司', key="一\n二")])
        deliver(opened)
        yield opened


def run(home: Home, *arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--home", str(home.path)])


def proofs(home: Home, about: str) -> list[Path]:
    """The files that ``duecare proof`` writes."""
    made = run(home, "proof", about, "--out", home.path / "proofs", "--json")
    assert made.exit_code == 0, made.exception
    return [Path(each["file"]) for each in json.loads(made.stdout)]


def refusal(result: Result) -> DuecareError:
    assert isinstance(result.exception, DuecareError), result.output
    return result.exception


def change(home: Home, statement: str) -> None:
    with home.database.session() as session:
        session.execute(text(statement))


def alerts_check(home: Home) -> tuple[bool, str]:
    """What ``verify --all`` says of the alerts."""
    with Home(home.settings, home.clock) as other:
        sequence(other.database, Log.at(other.path))
    result = run(home, "verify", "--all", "--json")
    found = next(each for each in json.loads(result.stdout)["checks"] if each["name"] == "alerts")
    assert result.exit_code == (0 if found["holds"] else 1)
    return found["holds"], found["detail"]


def test_what_nobody_was_told_is_proved(home: Home, tmp_path: Path) -> None:
    """The proof of an alert told to nobody holds for who has the file and the key alone, and says what it says."""
    (path,) = proofs(home, "alert:2")
    result = CliRunner().invoke(
        app, ["verify", str(path), "--key", str(home.path / "keys" / "log.pub"), "--home", str(tmp_path / "none")]
    )
    assert result.exit_code == 0, result.output
    for words in ("内容属实", "B 有限公司：清算信息 新增", "成员甲", "日期不详", "B 有限公司: liquidation added"):
        assert words in result.stdout, result.stdout
    told = json.loads(run(home, "verify", path, "--json").stdout)
    assert [check["name"] for check in told["checks"]] == ["form", "signature", "inclusion", "content", "growth"]
    assert (told["content"]["alert"]["id"], told["content"]["alert"]["entity"]) == (2, "B")


def test_what_was_told_has_both_proofs(home: Home) -> None:
    """An alert that was delivered has the entry of its sending, and that which commits to what it says."""
    sent, raised = proofs(home, "alert:1")
    kinds = [json.loads(json.loads(path.read_text())["leaf"])["kind"] for path in (sent, raised)]
    assert kinds == ["alert:send", "batch:contents"]
    assert "content" not in json.loads(sent.read_text())
    assert "新街 2 号" in json.loads(raised.read_text())["content"]["text"]


@pytest.mark.parametrize(
    "changed",
    [
        """after = '{"name": "成员乙", "role": "负责人"}'""",
        "effective_on = '2019-05-05'",
        "not_before = NULL",
        "risk = 'high'",
        "verification = 'none'",
        "before = after, after = NULL",
        "name = name || ' '",
        "reasons = '[1]'",
        "created_at = '2019-05-05 00:00:00+00:00'",
        "batch_id = 'batch-2'",
        "id = 77",
    ],
)
def test_a_changed_alert_is_refused(home: Home, changed: str) -> None:
    """Whatever is altered in the database of what an alert says, no proof is made of it and the whole does not hold."""
    assert alerts_check(home) == (True, "3 alerts")
    change(home, f"UPDATE alerts SET {changed} WHERE id = 2")
    number = 77 if "77" in changed else 2
    error = refusal(run(home, "proof", f"alert:{number}", "--out", home.path / "proofs"))
    assert isinstance(error, EvidenceBroken)
    assert "batch-" in error.message
    assert "changed afterwards" in str(error)
    holds, detail = alerts_check(home)
    assert not holds
    assert "batch-1" in detail


def test_what_changes_later_is_no_part_of_it(home: Home) -> None:
    """That an alert was withdrawn since changes nothing of what it said."""
    retract(home, 2, "该企业并未清算", "Zhang")
    assert alerts_check(home) == (True, "3 alerts")
    assert len(proofs(home, "alert:2")) == 2


def test_one_more_or_one_less_is_refused(home: Home) -> None:
    """An alert that was deleted, and one that was never raised, are found; its proof says that it is gone."""
    change(home, "DELETE FROM alerts WHERE id = 1")
    assert alerts_check(home)[1].endswith("the database holds 2 of them, the log 3")
    made = run(home, "proof", "alert:1", "--out", home.path / "proofs")
    assert "the database holds no such alert" in refusal(made).message
    assert "evidence-" in made.stdout, "what was sent is proved all the same"
    with home.database.session() as session:
        kept = session.get_one(Alert, 3)
        values = {name: getattr(kept, name) for name in Alert.__mapper__.columns.keys()}  # noqa: SIM118
        session.execute(insert(Alert), [{**values, "id": 9, "created_at": NOW + timedelta(hours=1)}])
    assert "alert 9 is in no entry of the log" in alerts_check(home)[1]
    assert "in no entry of the evidence" in refusal(run(home, "proof", "alert:9")).message


def test_an_alert_that_is_not_there_names_those_near(home: Home) -> None:
    """Asking for an alert that was never raised names the nearest, and no other subjects."""
    error = refusal(run(home, "proof", "alert:40"))
    assert isinstance(error, UnknownName)
    assert str(error) == "There is no alert '40'. Known: 1, 2, 3."


def test_each_part_of_a_batch_is_proved_by_itself(home: Home) -> None:
    """Parts, what passed later between those of a part, and at a clock that stands: each has a root of its own."""
    with home.database.session() as session:
        session.execute(insert(Screening), [passed(f"D{each}") for each in range(6)])
        ids = session.scalars(select(Screening.id).order_by(Screening.id.desc()).limit(6)).all()[::-1]
        session.execute(update(Screening).where(Screening.id.in_(ids[1:3])).values(state="verifying"))
    for part in (Part("batch-1", ids[0], ids[3]), Part("batch-1", ids[4], ids[5])):
        with home.database.session() as session:
            raise_alerts(session, part, at=NOW + timedelta(hours=1))
    for late in ids[1:3]:
        with home.database.session() as session:
            session.execute(update(Screening).where(Screening.id == late).values(state="passed"))
            raise_alerts(session, Part("batch-1", late, late), at=NOW + timedelta(hours=1))
    assert alerts_check(home) == (
        True, "9 alerts; what 6 of them say is not in the evidence yet: run duecare screen"
    )  # fmt: skip
    assert "run duecare screen" in str(refusal(run(home, "proof", f"alert:{ids[0]}"))).lower()
    commit_contents(home.database, "batch-1", at=NOW + timedelta(hours=1))
    with home.database.session() as session:
        found = {number: raising_of(session, number)[0] for number in ids}
    assert [found[number].count for number in ids] == [2, 1, 1, 2, 2, 2]
    assert len({one.root for one in found.values()}) == 4
    assert alerts_check(home) == (True, "9 alerts")
    assert len(proofs(home, f"alert:{ids[1]}")) == 1
    change(home, f"UPDATE alerts SET risk = 'high' WHERE id = {ids[3]}")
    with home.database.session() as session:
        assert raising_of(session, ids[5])[1] is not None
        with pytest.raises(EvidenceBroken, match=f"alerts {ids[0]} to {ids[3]} of batch batch-1"):
            raising_of(session, ids[0])


def test_what_can_be_proved_is_named_before_what_is_not_yet_in_the_evidence(home: Home) -> None:
    """Of an alert whose raising was stopped before it was committed to, the other proofs are written and named."""
    with home.database.session() as session:
        number = session.scalars(insert(Screening).returning(Screening.id), [passed("D")]).one()
        raise_alerts(session, Part("batch-1", number, number), at=NOW + timedelta(hours=1))
    retract(home, number, "地址没有变更", "Zhang")
    shown = run(home, "verify", "--all").stdout
    assert "以上对日志的核验不包括它们" in shown  # the alerts are compared with what waits too
    made = run(home, "proof", f"alert:{number}", "--out", home.path / "proofs")
    assert "is at it, or was stopped. Run duecare screen" in str(refusal(made))
    (written,) = (home.path / "proofs").iterdir()
    assert str(written) in made.stdout


def test_what_a_correction_says_is_proved(home: Home) -> None:
    """A correction has its own content in its evidence; a changed reason is refused."""
    done = retract(home, 1, "地址没有变更", "Zhang", reason_en="The address did not change.")
    (path,) = proofs(home, f"alert:{done.correction}")
    shown = run(home, "verify", path).stdout
    assert "地址没有变更" in shown
    assert "The address did not change." in shown
    assert alerts_check(home) == (True, "4 alerts")
    change(home, """UPDATE alerts SET wording = '{"zh": "无", "en": "none"}' WHERE id = -1""")
    assert "correction -1 (entry" in refusal(run(home, "proof", "alert:-1")).message
    assert "correction -1 (entry" in alerts_check(home)[1]


def test_evidence_of_the_time_before_says_so(home: Home) -> None:
    """Alerts whose entry names only changes have a proof without content, which is said; their number is compared."""
    then = NOW - timedelta(days=3)
    with home.database.session() as session:
        values = {"source": "register", "entity": "O", "name": "", "section": "basic", "key": "", "kind": "event",
                  "category": "risk", "risk": "note", "not_after": then, "created_at": then}  # fmt: skip
        session.execute(insert(Alert), [{**values, "id": 50, "change_id": "c", "batch_id": "old"}])
        body = {"batch": "old", "alerts": 1, "deliveries": 0, "changes_sha256": sha256(b"c").hexdigest()}
        record(session, "batch:alert", "batch:old", body, then)
    made = run(home, "proof", "alert:50", "--out", home.path / "proofs")
    assert made.exit_code == 0
    assert "未记载内容" in made.stderr
    assert "1 of a time when evidence named only the changes" in alerts_check(home)[1]
    change(home, "DELETE FROM alerts WHERE id = 50")
    assert "the database holds 0 of them, the log 1" in alerts_check(home)[1]


def test_what_an_older_copy_lost_is_no_fault(home: Home) -> None:
    """A database restored from a copy made before the last alerts holds, and says how many the log knows more of."""
    log = Log.at(home.path)
    sequence(home.database, log)
    at = log.size
    alert(home, [passed("E", batch_id="batch-9"), passed("F", batch_id="batch-9")], at=NOW + timedelta(hours=2))
    sequence(home.database, log)
    on = "" if home.database.embedded else " ON evidence"
    for statement in (
        "DELETE FROM alerts WHERE batch_id = 'batch-9'",
        f"DROP TRIGGER evidence_never_deleted{on}",
        f"DELETE FROM evidence WHERE leaf_index >= {at}",
    ):
        change(home, statement)
    assert adopt(home.database, log, home.clock)
    assert alerts_check(home) == (
        True,
        "3 alerts; 2 more were lost with an older copy of the database, as the log says",
    )


def test_any_changed_byte_of_the_file_is_refused(home: Home) -> None:
    """Each byte of a proof with content, changed in any of several ways, makes it fail with a reason."""
    (path,) = proofs(home, "alert:3")
    data, key = path.read_bytes(), Log.at(home.path).key
    assert all_hold(verify_bundle(data, key))
    for position, byte in enumerate(data):
        for other in {byte ^ 1, byte ^ 0x20, 0x30} - {byte}:
            checks = verify_bundle(data[:position] + bytes([other]) + data[position + 1 :], key)
            failed = [check for check in checks if not check.holds]
            assert failed, (position, other)
            assert all(check.detail and check.meaning_zh and check.meaning_en for check in failed)


@pytest.mark.parametrize(
    ("value", "failed"),
    [
        (None, "form"),
        ({}, "form"),
        ({"index": -1}, "form"),
        ({"index": True}, "form"),
        ({"text": 7}, "form"),
        ({"inclusion": ["AAAA"]}, "form"),
        ({"index": 0}, "content"),
        ({"index": 3}, "content"),
        ({"text": ""}, "content"),
        ({"inclusion": ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]}, "content"),
        ({"page": []}, "content"),
        ({"page": ["AAAA"]}, "form"),
    ],
)
def test_each_false_statement_of_content_fails(home: Home, value: Any, failed: str) -> None:
    """Content that is not in its form, or not what the entry commits to, fails the check that it concerns."""
    document = json.loads(proofs(home, "alert:3")[0].read_text())
    changed = {**document["content"], **value} if value else value
    checks = verify_bundle({**document, "content": changed}, Log.at(home.path).key)
    assert next(check.name for check in checks if not check.holds) == failed


def test_content_beside_an_entry_that_has_none_is_refused(home: Home) -> None:
    """The text of one entry proves nothing beside another."""
    sent, raised = (json.loads(path.read_text()) for path in proofs(home, "alert:1"))
    checks = verify_bundle({**sent, "content": raised["content"]}, Log.at(home.path).key)
    assert [check.name for check in checks if not check.holds] == ["content"]


@pytest.fixture
def bare(database_url: str) -> Iterator[Database]:
    """A database without a row."""
    database = Database(database_url)
    yield database
    database.close()


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
moments = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds


@st.composite
def alerts(draw: st.DrawFn) -> dict[str, Any]:
    """The row of an alert, with anything in what comes from outside."""
    value = st.none() | st.dictionaries(words, words, max_size=3).map(json.dumps)
    return {
        **{name: draw(words) for name in ("entity", "name", "key", "address")},
        **{name: draw(value) for name in ("before", "after")},
        "effective_on": draw(st.none() | st.dates(date(1900, 1, 1))),
        "not_before": draw(st.none() | moments),
        "not_after": draw(moments),
        "verification_id": draw(st.none() | st.integers(1, 2**31 - 1)),
        "corrects_id": draw(st.none() | st.integers(1, 2**31 - 1)),
        "reasons": draw(st.lists(words, max_size=2)),
        **dict.fromkeys(("change_id", "batch_id", "source", "section", "kind", "category", "risk"), "x"),
        "created_at": NOW,
        "state": "sent",
    }


def written(row: dict[str, Any]) -> str:
    """The text of an alert as docs/reference/evidence.md states it."""

    def moment(at: datetime | None) -> str:
        if at is None:
            return ""
        whole, _, fraction = f"{at:%Y-%m-%d %H:%M:%S.%f}".partition(".")
        return f"{whole}.{fraction}".rstrip("0").rstrip(".") + "+00" if fraction.strip("0") else f"{whole}+00"

    closed = (
        row["id"], row["change_id"], row["batch_id"], row["source"], row["section"], row["category"], row["kind"],
        row["risk"], row["effective_on"] or "", moment(row["not_before"]), moment(row["not_after"]), "snap", "none",
        row["verification_id"] or "", row["corrects_id"] or "", row["before"] or "", row["after"] or "",
        json.dumps(row["reasons"]), "",
    )  # fmt: skip
    free = [row[name] for name in ("entity", "name", "key", "address")]
    return "\n".join([" ".join(str(len(each.encode())) for each in free), *map(str, closed), *free])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(alerts(), min_size=1, max_size=3))
def test_the_text_is_what_the_reference_says(bare: Database, rows: list[dict[str, Any]]) -> None:
    """On both databases the text of any alert is the one that the page states, and it reads back as that alert."""
    for number, row in enumerate(rows, 1):
        row["id"] = number
    with bare.session() as session:
        session.execute(insert(Alert), [{**row, "snapshot": "snap", "verification": "none"} for row in rows])
        found = list(all_logged(session))
        session.rollback()
    assert [each.text for each in found] == [written(row) for row in rows]
    for each, row in zip(found, rows, strict=True):
        read = parse_text(each.text)
        kept = [name for name in row if name not in ("created_at",)]
        assert {name: getattr(read, name) for name in kept} == {name: row[name] for name in kept}


@pytest.mark.parametrize("wrong", ["", "1", "0 0 0 0", "x\n" * 30, "0 0 0 0" + "\n1" * 23, "9 0 0 0" + "\n" * 23])
def test_what_is_no_text_of_an_alert_is_refused(wrong: str) -> None:
    """Anything else is said to be no text of an alert."""
    with pytest.raises(EvidenceBroken, match="not the text of an alert"):
        parse_text(wrong)


def test_every_value_is_in_the_text_but_what_changes() -> None:
    """No column of an alert is forgotten: only its state, and the moment that the entry itself has, stand outside."""
    inside = {{"change": "change_id", "batch": "batch_id", "corrects": "corrects_id"}.get(name, name) for name in NAMES}
    assert {column.key for column in Alert.__mapper__.column_attrs} - inside == {"state", "created_at"}
