"""Detection is one expression: every engine finds the same changes by it, those that a plain reading finds."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import ibis
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ibis.expr import types as ir

from duecare.registers.adapter import ABSENCE_COUNTS, LISTS, Coverage
from duecare.registers.batches import Arrival
from duecare.registers.changes import query
from duecare.registers.detection import SCHEMAS, Inputs, detected
from duecare.registers.ingest import ingest_file, stage_arrival
from duecare.registers.reading import open_workshop
from duecare.registers.tables import WHOLE
from duecare.registers.tables import Tables as RegisterTables
from duecare.settings import load
from duecare.store.home import Home

from .listing import SOURCE, ListAdapter, write_list

Tables = dict[str, list[tuple[Any, ...]]]
Run = Callable[[Tables, Coverage], list[dict[str, Any]]]
DAY = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=number) for number in range(10)]
COLUMNS = {name: {**columns, "fields": "string"} if name == "rows" else columns for name, columns in SCHEMAS.items()}
COLUMNS |= {"seen": {"entity": "string"}}
_TYPES = {"string": "TEXT", "date": "DATE", "boolean": "BOOLEAN", "int64": "BIGINT", "timestamp('UTC')": "TIMESTAMPTZ"}
_SHOWN = ("entity", "key", "kind", "same", "was", "becomes", "before", "after", "after_on", "not_before", "observed_at")


def _value(fields: ir.Value) -> ir.StringValue:
    """The one field is the value here: how an engine writes JSON is not what is tested."""
    assert isinstance(fields, ir.StringValue)
    return fields


def sql(coverage: Coverage, dialect: str) -> str:
    """The expression in the words of an engine, in an order of its own."""
    tables = {name: ibis.table(columns, name=f"t_{name}") for name, columns in COLUMNS.items()}
    seen = tables.pop("seen")
    found = detected(Inputs(**tables), seen, coverage, _value).select(*_SHOWN).order_by("entity", "key")
    return str(ibis.to_sql(found, dialect=dialect))


def fill(connection: Any, tables: Tables, mark: str, plain: Callable[[Any], Any] = lambda value: value) -> None:
    """Make the tables anew and put the rows into them."""
    for name, columns in COLUMNS.items():
        declared = ", ".join(f'"{column}" {_TYPES[str(kind)]}' for column, kind in columns.items())
        connection.execute(f"DROP TABLE IF EXISTS t_{name}")
        connection.execute(f"CREATE TABLE t_{name} ({declared})")
        for row in tables[name]:
            marks = ", ".join([mark] * len(row))
            connection.execute(f"INSERT INTO t_{name} VALUES ({marks})", [plain(value) for value in row])


@pytest.fixture(scope="module", params=["duckdb", "sqlite", "postgres"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs the expression on one engine."""
    if request.param == "postgres":
        from tests.conftest import OBLIGATORY, POSTGRES

        try:
            connection: Any = psycopg.connect(POSTGRES, connect_timeout=3)
        except psycopg.OperationalError:
            if OBLIGATORY:
                raise
            pytest.skip(f"no PostgreSQL at {POSTGRES}; set DUECARE_TEST_POSTGRES")
        connection.execute("CREATE SCHEMA detection")  # never committed
        connection.execute("SET search_path = detection")
        connection.execute("SET TimeZone = 'UTC'")
    elif request.param == "duckdb":
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
    else:
        connection = sqlite3.connect(":memory:")
    with closing(connection):
        yield _sql_engine(connection, request.param)


def _sql_engine(connection: Any, dialect: str) -> Run:
    embedded = dialect == "sqlite"

    def run(tables: Tables, coverage: Coverage) -> list[dict[str, Any]]:
        # The embedded database keeps dates as text.
        text = (
            (lambda value: value.isoformat() if isinstance(value, date) else value) if embedded else lambda value: value
        )
        fill(connection, tables, "%s" if dialect == "postgres" else "?", text)
        rows = connection.execute(sql(coverage, dialect)).fetchall()
        found = [dict(zip(_SHOWN, row, strict=True)) for row in rows]
        for row in found:
            row["same"] = bool(row["same"])
            if embedded:
                row["after_on"] = row["after_on"] and date.fromisoformat(row["after_on"])
                for name in ("not_before", "observed_at"):
                    row[name] = row[name] and datetime.fromisoformat(row[name])
        return found

    return run


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    """A local session of Spark, for lakes that one machine cannot hold. `make spark` installs it."""
    from tests.conftest import SPARK

    if not SPARK:
        pytest.importorskip("pyspark.sql", reason="Spark is not installed: make spark")
    from pyspark.sql import SparkSession

    build = SparkSession.builder.master("local[1]").config("spark.sql.session.timeZone", "UTC")
    for name, value in (("ui.enabled", False), ("ui.showConsoleProgress", False), ("sql.shuffle.partitions", 1)):
        build = build.config(f"spark.{name}", value)
    made = build.getOrCreate()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def spark(session: Any) -> Run:
    """The same on Spark."""

    def run(tables: Tables, coverage: Coverage) -> list[dict[str, Any]]:
        for name, columns in COLUMNS.items():
            types = ", ".join(
                f"`{column}` {_TYPES[str(kind)].replace('TEXT', 'STRING').replace('TIMESTAMPTZ', 'TIMESTAMP')}"
                for column, kind in columns.items()
            )
            session.createDataFrame(tables[name], types).createOrReplaceTempView(f"t_{name}")
        found = [row.asDict() for row in session.sql(sql(coverage, "pyspark")).collect()]
        for row in found:
            for name in ("not_before", "observed_at"):
                row[name] = row[name] and row[name].astimezone(UTC)
        return found

    return run


def expected(tables: Tables, coverage: Coverage) -> list[dict[str, Any]]:
    """What a plain reading finds."""
    rows = {row[:2]: row for row in tables["rows"]}
    reads = {entity: at for entity, at, *_ in tables["reads"]}
    news_from = tables["reads"][0][3]
    held = {row[:2]: row[2] for row in tables["held"] if coverage is not Coverage.LISTED or row[0] in reads}
    found = []
    for place in sorted({*rows, *held} if coverage in ABSENCE_COUNTS else rows):
        entity, key = place
        was, row = held.get(place), rows.get(place)
        becomes = row[5] if row else None
        if was == becomes:
            continue
        versions = [v for v in tables["versions"] if v[:2] == place and v[2] is not None] if was is not None else []
        before, before_on = max(versions, key=lambda v: v[4])[2:4] if versions else (None, None)
        after, after_on, correction = (row[4], row[2], row[3]) if row else (None, None, False)
        who = entity if coverage is Coverage.LISTED else WHOLE
        shown = [at for read, at in tables["earlier"] if read in (entity, WHOLE)] + [v[4] for v in versions]
        not_before = max(shown, default=None)
        same = (before, before_on) == (after, after_on)
        if coverage is Coverage.ADDITIONS:
            same = same or (after, after_on) in [v[2:4] for v in versions]
        known = (entity,) in tables["seen"]
        old = after_on < news_from if after_on else not_before is None
        kind = (
            None if same
            else "correction" if correction
            else "lapse" if becomes is None
            else "event" if was is not None
            else ("first_observation" if old else "event") if coverage is Coverage.ADDITIONS
            else "first_observation" if not_before is None or (coverage in LISTS and not known)
            else "event"
        )  # fmt: skip
        values = (entity, key, kind, same, was, becomes, before, after, after_on, not_before, reads[who])
        found.append(dict(zip(_SHOWN, values, strict=True)))
    return found


_ENTITIES, _KEYS, _TEXTS = ("A", "B", "C"), ("", "k"), ("x", "y")
_ON = (None, date(2020, 5, 5))
_STATES = st.dictionaries(
    st.tuples(st.sampled_from(_ENTITIES), st.sampled_from(_KEYS)),
    st.tuples(st.sampled_from(_TEXTS), st.sampled_from(_ON), st.sampled_from([False, False, False, True])),
    max_size=6,
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[Tables, Coverage]:
    """A section held after a few reads, and a read that is compared with it."""
    coverage = draw(st.sampled_from(list(Coverage)))
    states = draw(st.lists(_STATES, min_size=1, max_size=4))
    *past, now = states
    marks: dict[tuple[Any, ...], int] = {}

    def mark(text: str, on: date | None, spoilt: int) -> int:
        return marks.setdefault((text, on, spoilt), len(marks))

    versions, held = [], {}
    for number, state in enumerate(past):
        for place in [*state, *(place for place in held if place not in state)]:
            text, on, _ = state.get(place, (None, None, False))
            if held.get(place) != (text, on):
                versions.append((*place, text, on, DAY[number]))
        held = {place: (text, on) for place, (text, on, _) in state.items()}
    # An engine of another version hashed what is held.
    spoilt = draw(st.sampled_from([0, 0, 1]))
    listed = coverage is Coverage.LISTED
    covered = draw(st.sets(st.sampled_from(_ENTITIES), min_size=1)) if listed else {WHOLE}
    # A source may give its list as a whole at one time and in parts at another.
    read_before = draw(st.sets(st.sampled_from((*_ENTITIES, WHOLE)))) if past else set()
    others = draw(st.sets(st.sampled_from(_ENTITIES)))
    news_from = draw(st.sampled_from([date(2020, 5, 5), date(2020, 5, 6)]))
    moments = [(entity, number) for entity in sorted(read_before) for number in range(len(past))]
    return {
        "rows": [
            (*place, on, correction, text, mark(text, on, 0))
            for place, (text, on, correction) in now.items()
            if not listed or place[0] in covered
        ],
        "held": [(*place, mark(*value, spoilt)) for place, value in held.items()],
        "versions": versions,
        "earlier": [(entity, DAY[number]) for entity, number in moments if draw(st.booleans())],
        "reads": [(entity, DAY[9], "snapshot", news_from) for entity in sorted(covered)],
        "seen": [(version[0],) for version in versions] + [(entity,) for entity in sorted(others)],
    }, coverage


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories())
def test_every_engine_finds_what_a_plain_reading_finds(run: Run, history: tuple[Tables, Coverage]) -> None:
    """Differences, kinds and windows are the same on every engine: events, lapses, corrections, first observations."""
    assert run(*history) == expected(*history)


@pytest.mark.timeout(600)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories())
def test_spark_finds_what_a_plain_reading_finds(spark: Run, history: tuple[Tables, Coverage]) -> None:
    """The engine of a cluster takes the expression as it is."""
    assert spark(*history) == expected(*history)


_READ = "SELECT entity, observed_at, snapshot, DATE '2020-01-01' AS news_from"


@pytest.mark.timeout(600)
def test_spark_reads_the_lake(session: Any, tmp_path: Path) -> None:
    """Spark reads the Parquet files of the Delta tables as they are, and finds in a new list what DuckDB finds."""
    old = [("people", entity, key, "head") for entity in "ABC" for key in "pq"]
    new = [*old[1:4], ("people", "A", "p", "member"), ("people", "D", "p", "head"), ("people", "A", "r", "head")]
    with Home(load(home=tmp_path / "home")) as home:
        ingest_file(home, ListAdapter(), write_list(tmp_path, "old", old), DAY[0])
        before = RegisterTables(home, SOURCE.name)
        ingest_file(home, ListAdapter(), write_list(tmp_path, "new", new), DAY[1])
        told = [change for change in query(home, since=DAY[1]) if change["section"] == "people"]
        spark = ibis.pyspark.connect(session)
        for view, table in (("facts", "facts"), ("held_log", "held"), ("all_reads", "reads")):
            files = home.lake.files(SOURCE.name, table, before.versions[table])
            session.read.parquet(*files).where("section = 'people'").createOrReplaceTempView(view)
        # What was read is laid out as any engine may: the hashes are DuckDB's, by which what is held is compared.
        arrival = Arrival(SOURCE.name, "file", told[0]["snapshot"], "new.json", DAY[1], "1")
        open_workshop(home.lake.connection)
        with stage_arrival(home, ListAdapter(), arrival) as (made, _, _):
            (people,) = (item for item in made.sections if item.section.name == "people")
            for name, rows in (
                ("new_rows", f"SELECT * REPLACE (work.fact_value(fields) AS fields) FROM {people.view}"),
                ("new_reads", f"{_READ} FROM {made.reads} WHERE section = 'people'"),
            ):
                home.lake.connection.execute(f"COPY ({rows}) TO '{tmp_path / name}.parquet' (FORMAT parquet)")
                session.read.parquet(str(tmp_path / f"{name}.parquet")).createOrReplaceTempView(name)
    held, facts = spark.table("held_log"), spark.table("facts")
    given = Inputs(
        rows=spark.table("new_rows"),
        held=held.filter(held.hash.notnull()).select("entity", "key", "hash"),
        versions=facts.select("entity", "key", "value", "effective_on", "first_observed"),
        earlier=spark.table("all_reads").select("entity", "observed_at"),
        reads=spark.table("new_reads"),
    )
    found = detected(given, facts.select("entity"), Coverage.WHOLE, _value)
    columns = ["entity", "key", "kind", "before", "after"]
    said = found.filter(found.kind.notnull()).select(*columns).execute().astype(object)
    said = said.where(said.notna(), None)
    assert {tuple(row) for row in said.itertuples(index=False)} == {
        tuple(change[column] for column in columns) for change in told
    }
    assert {change["kind"] for change in told} == {"event", "lapse", "first_observation"}
