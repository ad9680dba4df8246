"""What differs between a read and what is held, and of what kind the difference is, as one expression of set algebra.

    event              the section had been read before: it happened in the window (not_before, not_after]
    first observation  we could not have seen it before: nothing is known to have happened
    correction         the source, or we, had it wrong
    lapse              it is gone from a section that was read

``detected`` is one Ibis expression: it names tables and no engine. On DuckDB its halves run one after the other, the
first a section at a time.

The rule of this module: a change whose section had not been read before is never an event (case 1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from math import ceil
from pathlib import Path

import ibis
from ibis.expr import datatypes as dt
from ibis.expr import types as ir

from duecare.registers.adapter import ABSENCE_COUNTS, LISTS, Coverage
from duecare.registers.held import shown
from duecare.registers.reading import Stage, StagedSection
from duecare.registers.tables import READABLE, WHOLE, WITHOUT_HOLES, Tables
from duecare.store.home import Home
from duecare.store.lake import read_files

_READ = {"entity": "string", "observed_at": "timestamp('UTC')"}
_ROW = {"entity": "string", "key": "string"}
_LISTS = [coverage.value for coverage in LISTS]
SCHEMAS: dict[str, dict[str, str | dt.DataType]] = {
    "rows": {**_ROW, "effective_on": "date", "correction": "boolean", "fields": dt.unknown, "hash": "int64"},
    "held": {**_ROW, "hash": "int64"},
    "versions": {**_ROW, "value": "string", "effective_on": "date", "first_observed": "timestamp('UTC')"},
    "earlier": _READ,
    "reads": {**_READ, "snapshot": "string", "news_from": "date"},
}
"""The tables of ``Inputs``."""


@dataclass(frozen=True)
class Inputs:
    """What was read of one section, and what is known of it already.

    ``rows``: what was read (``fields`` is a struct of texts). ``held``: what is shown now. ``versions``: the section's
    facts. ``earlier``: the reads before this one, ``reads``: this one, by entity or ``*``; those that found out what
    the section says, were it nothing; the earlier ones without lists that had holes. ``news_from``: what a feed dates
    before this day is no news.
    """

    rows: ir.Table
    held: ir.Table
    versions: ir.Table
    earlier: ir.Table
    reads: ir.Table


Say = Callable[[ir.Value], ir.StringValue]
"""The value of a fact as the engine writes it, from the struct of its fields."""


def detected(given: Inputs, seen: ir.Table, coverage: Coverage, say: Say) -> ir.Table:
    """The columns of ``compared`` and ``kind``, in one expression. ``seen``: the entities of all facts of the source,
    in whatever section, any number of times."""
    # Named, so that it becomes a common table expression and is made once.
    rows = compared(given, coverage, say).alias("compared")
    return with_kinds(rows, known_before(rows, seen))


def differences(rows: ir.Table, held: ir.Table, *, absence_counts: bool) -> ir.Table:
    """Where ``rows`` and ``held`` differ by hash: the columns of ``rows``, ``was`` and ``becomes`` (null: not there).

    Keys are compared column by column. With ``absence_counts`` false, a row that is only held is no difference.
    """
    old = held.select(held_entity=held.entity, held_key=held.key, was=held.hash)
    joined = rows.join(
        old,
        [rows.entity == old.held_entity, rows.key == old.held_key],
        how="outer" if absence_counts else "left",
    )
    return joined.filter(~joined.hash.identical_to(joined.was)).select(
        entity=ibis.coalesce(joined.entity, joined.held_entity),
        key=ibis.coalesce(joined.key, joined.held_key),
        effective_on=joined.effective_on,
        correction=joined.correction,
        fields=joined.fields,
        was=joined.was,
        becomes=joined.hash,
    )


def compared(given: Inputs, coverage: Coverage, say: Say) -> ir.Table:
    """Every row that differs by hash: ``entity, key, coverage, was, becomes, before, before_on, after, after_on``, its
    window ``not_before, observed_at``, the ``snapshot`` it was read in, ``correction``, ``same`` where it says nothing
    new, and ``old`` where a feed dates it to a time before we listened.

    An engine that hashes differently after an upgrade makes rows differ that do not: values decide.
    """
    held = given.held.semi_join(given.reads, "entity") if coverage is Coverage.LISTED else given.held
    differing = differences(given.rows, held, absence_counts=coverage in ABSENCE_COUNTS).alias("differing")
    rows = _with_times(differing, given, coverage)
    rows = _with_former_value(rows, differing, given)
    rows = rows.mutate(after=rows.becomes.notnull().ifelse(say(rows.fields), ibis.null("string")))
    rows, repeated = _repeated(rows, differing, given, coverage)
    same = rows.before.identical_to(rows.after) & rows.before_on.identical_to(rows.effective_on)
    names = ("was", "becomes", "before", "before_on", "after", "not_before", "observed_at", "snapshot")
    return rows.select(
        "entity",
        "key",
        *names,
        after_on=rows.effective_on,
        correction=ibis.coalesce(rows.correction, ibis.literal(False)),
        same=same | repeated,
        old=(coverage is Coverage.ADDITIONS)
        & ibis.coalesce(rows.effective_on < rows.news_from, rows.not_before.isnull()),
        coverage=ibis.literal(coverage.value),
    )


def known_before(rows: ir.Table, seen: ir.Table) -> ir.Table:
    """Of the entities that a list newly shows in a section, those of which something had been known."""
    new = rows.filter(rows.coverage.isin(_LISTS), rows.was.isnull(), rows.not_before.notnull())
    return seen.semi_join(new, "entity").select("entity").distinct()


def with_kinds(rows: ir.Table, known: ir.Table) -> ir.Table:
    """``rows`` with ``kind``: what each difference is, null where it is no change.

    A newcomer of a whole list is a first observation (docs/decisions/newcomers-of-a-whole-list.md)."""
    newcomer = rows.coverage.isin(_LISTS) & ~rows.entity.isin(known.entity)
    kind = ibis.cases(
        (rows.same, ibis.null("string")),
        (rows.correction, "correction"),
        (rows.becomes.isnull(), "lapse"),
        (rows.was.notnull(), "event"),
        (rows.old, "first_observation"),
        (rows.coverage == Coverage.ADDITIONS.value, "event"),
        (rows.not_before.isnull() | newcomer, "first_observation"),
        else_="event",
    )
    return rows.mutate(kind=kind)


def _with_times(differing: ir.Table, given: Inputs, coverage: Coverage) -> ir.Table:
    """When the section was read, and when it had been read before: of the entity by itself, or in a whole list."""
    lists = given.earlier.filter(given.earlier.entity == WHOLE)
    last_list = lists.aggregate(last_list=lists.observed_at.max())
    single = given.earlier.filter(given.earlier.entity != WHOLE).semi_join(differing, "entity")
    last_own = single.group_by("entity").aggregate(last_own=single.observed_at.max())
    now = given.reads.select("entity", "observed_at", "snapshot", "news_from").cross_join(last_list)
    if coverage is Coverage.LISTED:
        rows = differing.inner_join(now, "entity")
    else:
        rows = differing.cross_join(now.drop("entity"))
    rows = rows.left_join(last_own, "entity")
    newest = ibis.cases(
        (rows.last_own.isnull(), rows.last_list),
        (rows.last_list.isnull(), rows.last_own),
        (rows.last_own > rows.last_list, rows.last_own),
        else_=rows.last_list,
    )
    return rows.mutate(not_before=newest).drop("last_list", "last_own", "entity_right")


def _with_former_value(rows: ir.Table, differing: ir.Table, given: Inputs) -> ir.Table:
    """``before`` and ``before_on``: the last version of what was held. A list with holes that was the first to show it
    is no read before, but what it showed was there: the window begins no earlier."""
    former = given.versions.semi_join(differing.filter(differing.was.notnull()), ["entity", "key"])
    former = former.filter(former.value.notnull())
    nth = ibis.row_number().over(group_by=[former.entity, former.key], order_by=former.first_observed.desc())
    last = former.mutate(nth=nth)
    last = last.filter(last.nth == 0).select(
        last_entity=last.entity,
        last_key=last.key,
        before=last.value,
        before_on=last.effective_on,
        shown=last.first_observed,
    )
    rows = rows.left_join(last, [rows.entity == last.last_entity, rows.key == last.last_key])
    begins = ibis.cases(
        (rows.shown.isnull(), rows.not_before),
        (rows.not_before.isnull(), rows.shown),
        (rows.shown > rows.not_before, rows.shown),
        else_=rows.not_before,
    )
    return rows.mutate(not_before=begins)


def _repeated(
    rows: ir.Table, differing: ir.Table, given: Inputs, coverage: Coverage
) -> tuple[ir.Table, ir.BooleanValue]:
    """Whether a feed only says again what it said once: a notice that is repeated is no second notice."""
    if coverage is not Coverage.ADDITIONS:
        return rows, ibis.literal(False)
    told = given.versions.semi_join(differing.filter(differing.was.notnull()), ["entity", "key"])
    told = told.select(
        told_entity=told.entity, told_key=told.key, told_value=told.value, told_on=told.effective_on
    ).distinct()
    joined = rows.left_join(
        told,
        [
            rows.entity == told.told_entity,
            rows.key == told.told_key,
            rows.after == told.told_value,
            rows.effective_on.identical_to(told.told_on),
        ],
    )
    return joined, joined.told_entity.notnull()


@dataclass(frozen=True)
class Detected:
    """What differs from what is held. ``sections``: those in which something differs. ``rows``: a view of the columns
    of ``detected`` and ``section``, in the order of section, entity and key; those with a ``kind`` are changes."""

    sections: tuple[StagedSection, ...]
    rows: str

    def of(self, item: StagedSection) -> str:
        """SQL of the rows of one section."""
        return f"(SELECT * FROM {self.rows} WHERE section = '{item.section.name}')"


def detect(home: Home, tables: Tables, stage: Stage, fresh_for: timedelta) -> Detected:
    """Compare ``stage`` with what is held. Written for memory: one section is compared at a time, and what differs goes
    to a draft on disk, for after a first read that is everything.

    ``fresh_for`` is that of the source: what a feed dates so long before it was last read is no news (``news_from``).
    """
    run = home.lake.connection.execute
    drafts: dict[str, Path] = {}
    for item in sorted(stage.sections, key=lambda each: each.section.name):
        name = item.section.name
        _lay_out(home, tables, stage, name, fresh_for)
        query = _compared_sql(item.coverage)
        draft = home.lake.draft(f"SELECT '{name}' AS section, * FROM ({query}) ORDER BY entity, key")
        if draft:
            drafts[name] = draft
    if drafts:
        run(f"CREATE VIEW work.compared AS SELECT * FROM {read_files(drafts.values())}")
    else:
        run(f"CREATE TABLE work.compared AS SELECT '' AS section, * FROM ({_compared_sql(Coverage.WHOLE)}) LIMIT 0")
    run(f"CREATE VIEW work.seen AS SELECT entity FROM {tables.scan('facts')}")
    run(f"CREATE TABLE work.known AS {_known_sql()}")
    run(f"CREATE VIEW work.detected AS {_kinds_sql()}")
    return Detected(tuple(item for item in stage.sections if item.section.name in drafts), "work.detected")


def news_from(last_read: str, fresh_for: timedelta) -> str:
    """SQL of the day from which on what a feed dates is news. It was read last at ``last_read`` (SQL of a moment), and
    a notice may take as long to come in as its source may be old: a wider file than usual brings old notices, not news.
    """
    return f"timezone('UTC', {last_read})::date - {ceil(fresh_for / timedelta(days=1))}"


def _lay_out(home: Home, tables: Tables, stage: Stage, name: str, fresh_for: timedelta) -> None:
    """Give the tables of ``Inputs`` for one section, as views."""
    (view,) = (item.view for item in stage.sections if item.section.name == name)
    last_read = f"(SELECT max(observed_at) FROM work.earlier WHERE entity = '{WHOLE}')"
    queries = {
        "rows": f"SELECT * FROM {view}",
        "held": f"FROM {shown(tables, name)}",
        "versions": f"SELECT * FROM {tables.scan('facts', name)} WHERE section = '{name}'",
        "earlier": f"SELECT * FROM {tables.scan('reads')} WHERE section = '{name}' AND {WITHOUT_HOLES}",
        "reads": f"""SELECT *, {news_from(f"coalesce({last_read}, observed_at)", fresh_for)} AS news_from
            FROM {stage.reads} WHERE section = '{name}' AND {READABLE}""",
    }
    for table, query in queries.items():
        home.lake.connection.execute(f"CREATE OR REPLACE VIEW work.{table} AS {query}")


def _fact_value() -> Say:
    """What DuckDB says by the workshop's macro of this name."""

    def fact_value(fields: ir.Value) -> ir.StringValue:
        raise NotImplementedError

    made: Say = ibis.udf.scalar.builtin(fact_value, database="work", signature=((dt.unknown,), "string"))
    return made


def _table(name: str, columns: Mapping[str, str | dt.DataType]) -> ir.Table:
    return ibis.table(columns, name=name, database="work")


# Each is compiled once: a small batch costs less than compiling.


@lru_cache(maxsize=len(Coverage))
def _compared_sql(coverage: Coverage) -> str:
    given = Inputs(**{name: _table(name, columns) for name, columns in SCHEMAS.items()})
    return str(ibis.to_sql(compared(given, coverage, _fact_value()), dialect="duckdb"))


@lru_cache(maxsize=1)
def _known_sql() -> str:
    return str(ibis.to_sql(known_before(_compared(), _table("seen", {"entity": "string"})), dialect="duckdb"))


@lru_cache(maxsize=1)
def _kinds_sql() -> str:
    return str(ibis.to_sql(with_kinds(_compared(), _table("known", {"entity": "string"})), dialect="duckdb"))


def _compared() -> ir.Table:
    given = Inputs(**{name: _table(name, columns) for name, columns in SCHEMAS.items()})
    columns = compared(given, Coverage.WHOLE, _fact_value()).schema()
    return _table("compared", {"section": "string", **columns})
