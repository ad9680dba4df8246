"""Older snapshots that arrive late, and stored snapshots that are read again: the facts are folded anew from the reads.

A value is a *run* of consecutive reads that show it. Inserting a read, or replacing it by what a better parser makes of
the same bytes, changes only the runs that touch it; so the facts are the same whatever order the snapshots came in, and
only the entities are folded anew that a late read says otherwise of, or something of which began or ended around it.

The rule of this module: it makes no news. What it finds is dated to the snapshot that shows it and marked late, and
nothing late is ever alerted (case 1: the liquidation members stood in the snapshot of 20 February 2019).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

from sqlalchemy import select

from duecare.registers import held
from duecare.registers.adapter import LISTS, Adapter, Coverage
from duecare.registers.batches import Arrival, Outcome, count_changes, next_seq, record_batch, total
from duecare.registers.detection import news_from
from duecare.registers.models import Batch
from duecare.registers.reading import Stage, StagedSection, open_workshop
from duecare.registers.tables import READABLE, WHOLE, Tables
from duecare.registers.tidy import tidy_if_due
from duecare.store.home import Home

Stager = Callable[[Home, Adapter, Arrival, str], AbstractContextManager[tuple[Stage, int, str]]]


def is_late(home: Home, tables: Tables, made: Stage) -> bool:
    """Whether anything that ``made`` read had been read at the same moment or later already, by itself or in a list."""
    row = home.lake.connection.execute(
        f"""WITH now AS (SELECT DISTINCT section, entity, observed_at FROM {made.reads} WHERE {READABLE}),
        before AS (SELECT section, entity, max(observed_at) AS latest FROM {tables.scan("reads")} WHERE {READABLE}
                   GROUP BY ALL),
        lists AS (SELECT section, max(latest) FILTER (entity = '{WHOLE}') AS list, max(latest) AS any_read
                  FROM before GROUP BY ALL)
        SELECT count(*) FROM now LEFT JOIN before USING (section, entity) LEFT JOIN lists USING (section)
        WHERE latest >= observed_at OR list >= observed_at OR (entity = '{WHOLE}' AND any_read >= observed_at)"""
    ).fetchone()
    return bool(row and row[0])


def write_reads(home: Home, tables: Tables, reads: str, batch: str, parser: str) -> int:
    """Add the rows of the workshop's table ``reads`` to the table of reads; returns the number of the batch."""
    with home.database.session() as session:
        seq = next_seq(session)
    tables.write(
        "reads",
        [
            f"""SELECT '{batch}' AS batch, {seq}::bigint AS seq, entity, section, coverage, state, note, observed_at,
            '{parser}' AS parser, snapshot FROM {reads}"""
        ],
    )
    return seq


def insert(home: Home, tables: Tables, made: Stage, batch: str, parser: str, fresh_for: timedelta) -> None:
    """Fold a late snapshot in; leaves the changes that nobody had seen in ``work.final_changes``.

    ``fresh_for`` is that of the source: what a feed dates so long before it had been read last is no news.
    """
    _open_incoming(home)
    _find_touched(home, tables, made)
    _take_in(home, made, touched=True)
    seq = write_reads(home, tables, made.reads, batch, parser)
    _refold(home, tables, batch, seq, "source", _kind_by_source(fresh_for))


def reread(
    home: Home, adapter: Adapter, stager: Stager, progress: Callable[[str], None] = lambda step: None
) -> Outcome | None:
    """Read every stored snapshot of the adapter's source again with its present version.

    Dates first observations back to the oldest snapshot that shows the fact, and makes no news. Returns ``None`` where
    nothing is stored. The caller holds the right to write the lake.
    """
    source = adapter.source.name
    with home.database.session() as session:
        stored = [
            Arrival(row.source, row.kind, row.snapshot, row.filename, row.observed_at, adapter.version)
            for row in session.execute(
                select(Batch)
                .where(Batch.source == source, Batch.state == "committed", Batch.kind != "reread")
                .order_by(Batch.observed_at, Batch.seq)
            ).scalars()
        ]
        if not stored:
            return None
        digest = hashlib.sha256("\x1f".join(arrival.snapshot for arrival in stored).encode()).hexdigest()
        arrival = Arrival(source, "reread", digest, "", stored[-1].observed_at, adapter.version)
        if session.get(Batch, arrival.id) is not None:
            return Outcome(arrival.id, source, "known", arrival.observed_at, 0, 0, "", {})
    open_workshop(home.lake.connection)
    _open_incoming(home)
    tables = Tables(home, source, leased=True)
    for index, item in enumerate(stored):
        progress(f"reading snapshot {index + 1} of {len(stored)} again ({item.observed_at:%Y-%m-%d})")
        with stager(home, adapter, item, f"r{index}_") as (made, _, _):
            _take_in(home, made)
    _find_read_anew(home, tables)
    seq = write_reads(home, tables, "work.incoming_reads", arrival.id, adapter.version)
    progress("folding")
    _refold(home, tables, arrival.id, seq, "parser", _KIND_BY_PARSER)
    with home.database.session() as session:
        record_batch(
            session,
            arrival,
            state="committed",
            at=home.clock.now(),
            late=True,
            sections={},
            counts={},
        )
        counted = count_changes(home, session, arrival.id, source, "work.final_changes")
        session.get_one(Batch, arrival.id).counts = {"changes": counted, "snapshots": len(stored)}
        tables.declare(session)
    progress("tidying")
    tidy_if_due(home, source)
    return Outcome(arrival.id, source, "committed", arrival.observed_at, 0, 0, "", total(counted), late=True)


def _open_incoming(home: Home) -> None:
    run = home.lake.connection.execute
    run(
        """CREATE TABLE work.incoming (section VARCHAR, entity VARCHAR, key VARCHAR, hash BIGINT, value VARCHAR,
        effective_on DATE, observed_at TIMESTAMPTZ)"""
    )
    run(
        """CREATE TABLE work.incoming_reads (entity VARCHAR, section VARCHAR, coverage VARCHAR, state VARCHAR,
        note VARCHAR, observed_at TIMESTAMPTZ, snapshot VARCHAR)"""
    )
    run("CREATE TABLE work.affected (section VARCHAR, entity VARCHAR)")


def _find_touched(home: Home, tables: Tables, made: Stage) -> None:
    """The entities whose runs may change by ``made``, into ``work.affected``."""
    run = home.lake.connection.execute
    for item in made.sections:
        name, facts = item.section.name, f"(FROM {tables.scan('facts')} WHERE section = '{item.section.name}')"
        additions = run(
            f"SELECT 1 FROM {tables.scan('reads')} WHERE section = ? AND coverage = 'additions' LIMIT 1", [name]
        ).fetchall()
        if additions or item.coverage is Coverage.ADDITIONS:
            # What an addition says counts by its place among all that say the same: any of them may be another now.
            touched = f"SELECT entity FROM {item.view} UNION SELECT entity FROM {facts}"
        else:
            touched = _touched(item, made.reads, facts)
        run(f"INSERT INTO work.affected SELECT DISTINCT '{name}', entity FROM ({touched})")


def _touched(item: StagedSection, reads: str, facts: str) -> str:
    """SQL of the entities of which the read differs from what was shown then, or that had something begin or end
    between the reads before and after it: that window is narrower now. An entity of which neither is so has the same
    runs as before, longer by one read."""
    moments = f"(SELECT entity, observed_at FROM {reads} WHERE section = '{item.section.name}' AND {READABLE})"
    own = "true" if item.coverage in LISTS else "m.entity = f.entity"
    shown = "AND now.entity IS NOT NULL" if item.coverage is Coverage.PARTIAL else ""
    return f"""SELECT f.entity FROM {facts} f JOIN {moments} m
              ON {own} AND f.first_observed >= m.observed_at AND coalesce(f.not_before < m.observed_at, true)
        UNION
        SELECT coalesce(now.entity, shown.entity) FROM
            (SELECT f.entity, f.key, m.observed_at, f.hash FROM {item.view} f JOIN {moments} m ON {own}) now
            FULL JOIN
            (SELECT f.entity, f.key, m.observed_at, arg_max_null(f.hash, f.first_observed) AS hash
             FROM {facts} f JOIN {moments} m ON {own} AND f.first_observed <= m.observed_at GROUP BY ALL) shown
            ON now.entity = shown.entity AND now.key = shown.key AND now.observed_at = shown.observed_at
            WHERE now.hash IS DISTINCT FROM shown.hash {shown}"""


def _find_read_anew(home: Home, tables: Tables) -> None:
    """The entities of which anything was read again, into ``work.affected``."""
    home.lake.connection.execute(
        f"""INSERT INTO work.affected
        SELECT section, entity FROM work.incoming
        UNION SELECT section, entity FROM work.incoming_reads WHERE entity <> '{WHOLE}' AND {READABLE}
        UNION SELECT f.section, f.entity FROM {tables.scan("facts")} f
              JOIN (SELECT DISTINCT section FROM work.incoming_reads WHERE entity = '{WHOLE}') w USING (section)"""
    )


def _take_in(home: Home, made: Stage, *, touched: bool = False) -> None:
    """Put what was read into ``work.incoming``; with ``touched``, only of the entities in ``work.affected``."""
    run = home.lake.connection.execute
    where = "WHERE v.entity IN (SELECT entity FROM work.affected WHERE section = '{}')" if touched else ""
    for item in made.sections:
        name = item.section.name
        on = f"r.entity = v.entity AND r.{READABLE}" if item.coverage.value == "listed" else f"r.entity = '{WHOLE}'"
        run(
            f"""INSERT INTO work.incoming
            SELECT '{name}', v.entity, v.key, v.hash, work.fact_value(v.fields), v.effective_on, r.observed_at
            FROM {item.view} v JOIN {made.reads} r ON r.section = '{name}' AND {on} {where.format(name)}"""
        )
        run(f"DROP VIEW {item.view}")
    run(f"INSERT INTO work.incoming_reads SELECT * FROM {made.reads}")


def _refold(home: Home, tables: Tables, batch: str, seq: int, moved: str, kind: str) -> None:
    """Fold what is in ``work.affected`` anew. ``kind``: SQL of the kind of what is found."""
    run = home.lake.connection.execute
    facts = tables.scan("facts")
    # Every moment at which each affected section was read; of two reads of one moment the newer one counts. ``n``
    # counts those at which absence means gone, ``prior`` those of them before.
    run(
        f"""CREATE TABLE work.cover AS
        WITH readings AS (
            SELECT section, entity, observed_at, arg_max(coverage, seq) AS coverage, arg_max(batch, seq) AS batch,
                   arg_max(snapshot, seq) AS snapshot, max(seq) AS seq
            FROM {tables.scan("reads")} WHERE {READABLE} GROUP BY ALL),
        fresh AS (SELECT DISTINCT section, entity, observed_at, true AS is_new FROM work.incoming_reads
                  WHERE {READABLE}),
        marked AS (SELECT r.*, coalesce(i.is_new, false) AS is_new
                   FROM readings r LEFT JOIN fresh i USING (section, entity, observed_at))
        SELECT *, n - (coverage <> 'partial')::integer AS prior FROM (
        SELECT *, count(*) FILTER (coverage <> 'partial') OVER (PARTITION BY section, entity ORDER BY observed_at
            ROWS UNBOUNDED PRECEDING) AS n FROM (
            SELECT a.section, a.entity, r.observed_at, r.coverage, r.batch, r.snapshot, r.is_new, r.seq
            FROM work.affected a JOIN marked r ON r.section = a.section AND r.entity = a.entity
            UNION ALL
            SELECT a.section, a.entity, r.observed_at, r.coverage, r.batch, r.snapshot, r.is_new, r.seq
            FROM work.affected a JOIN marked r ON r.section = a.section AND r.entity = '{WHOLE}')
        QUALIFY row_number() OVER (PARTITION BY section, entity, observed_at ORDER BY seq DESC) = 1)"""
    )
    run(
        f"""CREATE TABLE work.former AS
        SELECT f.*, lead(first_observed) OVER (PARTITION BY section, entity, key ORDER BY first_observed) AS ended
        FROM {facts} f SEMI JOIN work.affected USING (section, entity)"""
    )
    _fold_runs(home)
    _find_news(home, tables, batch, moved, kind)
    tables.write(
        "facts",
        [
            f"SELECT f.* FROM {facts} f ANTI JOIN work.affected USING (section, entity)",
            "SELECT * FROM work.folded ORDER BY section, entity",
        ],
        replace=True,
    )
    sections = run("SELECT DISTINCT section FROM work.affected ORDER BY section").fetchall()
    held.add(tables, {section: _held_otherwise(tables, section) for (section,) in sections}, seq)
    tables.write("changes", ["SELECT * FROM work.final_changes"])


def _held_otherwise(tables: Tables, section: str) -> str:
    """SQL of what is held otherwise now of ``section``: ``entity, key, hash``, without a hash where no more."""
    return f"""(SELECT coalesce(now.entity, was.entity) AS entity, coalesce(now.key, was.key) AS key, now.hash
        FROM (SELECT entity, key, hash FROM {held.shown(tables, section)} SEMI JOIN
              (SELECT entity FROM work.affected WHERE section = '{section}') USING (entity)) was
        FULL JOIN (SELECT entity, key, arg_max_null(hash, first_observed) AS hash FROM work.folded
                   WHERE section = '{section}' GROUP BY ALL) now
        ON now.entity = was.entity AND now.key = was.key WHERE now.hash IS DISTINCT FROM was.hash)"""


def _fold_runs(home: Home) -> None:
    """From observations at each read to versions: where a run begins, and a tombstone at the first read without.

    A list with holes ends no run: what it does not show goes on, or is gone at the next read that has none."""
    run = home.lake.connection.execute
    # ``mark`` compares values by their text: stored hashes may be those of an older engine.
    run(
        """CREATE TABLE work.observed AS
        SELECT o.*, hash(o.value, o.effective_on) AS mark FROM (
            SELECT c.section, c.entity, f.key, f.hash, f.value, f.effective_on, c.coverage, c.n, c.prior,
                   c.observed_at
            FROM work.cover c JOIN work.former f ON f.section = c.section AND f.entity = c.entity
             AND f.value IS NOT NULL AND NOT (c.is_new AND c.coverage <> 'additions')
             AND CASE WHEN c.coverage IN ('additions', 'partial') THEN c.observed_at = f.first_observed
                 ELSE c.observed_at >= f.first_observed AND (f.ended IS NULL OR c.observed_at < f.ended) END
            UNION ALL BY NAME
            SELECT c.section, c.entity, i.key, i.hash, i.value, i.effective_on, c.coverage, c.n, c.prior,
                   c.observed_at
            FROM work.cover c JOIN work.incoming i
              ON i.section = c.section AND i.entity = c.entity AND i.observed_at = c.observed_at
            WHERE c.is_new) o
        QUALIFY row_number() OVER (PARTITION BY o.section, o.entity, o.key, o.observed_at ORDER BY o.value) = 1"""
    )
    run(
        """CREATE TABLE work.folded AS
        WITH neighbours AS (
            SELECT *, lag(mark) OVER w AS before, lag(n) OVER w AS n_before, lead(prior) OVER w AS n_between,
                   row_number() OVER (PARTITION BY section, entity, key, mark ORDER BY observed_at) AS nth
            FROM work.observed WINDOW w AS (PARTITION BY section, entity, key ORDER BY observed_at)),
        ends AS (
            SELECT section, entity, key, n + 1 AS n FROM neighbours
            WHERE coverage <> 'additions' AND (n_between IS NULL OR n_between > n)),
        versions AS (
            SELECT section, entity, key, hash, value, effective_on, observed_at FROM neighbours
            WHERE CASE coverage WHEN 'additions' THEN nth = 1
                  ELSE before IS NULL OR before <> mark OR n_before < prior END
            UNION ALL
            SELECT section, entity, key, NULL, NULL, NULL, c.observed_at
            FROM ends JOIN work.cover c USING (section, entity, n) WHERE c.coverage <> 'partial')
        SELECT v.section, v.entity, v.key, v.hash, v.value, v.effective_on, c.observed_at AS first_observed,
               greatest(p.observed_at, v.shown) AS not_before, c.snapshot, coalesce(f.batch, c.batch) AS batch
        FROM (SELECT *, CASE WHEN lag(value) OVER w IS NOT NULL THEN lag(observed_at) OVER w END AS shown
              FROM versions WINDOW w AS (PARTITION BY section, entity, key ORDER BY observed_at)) v
        JOIN work.cover c ON c.section = v.section AND c.entity = v.entity AND c.observed_at = v.observed_at
        LEFT JOIN work.cover p ON p.section = v.section AND p.entity = v.entity AND p.n = c.prior
             AND p.coverage <> 'partial'
        LEFT JOIN work.former f ON f.section = v.section AND f.entity = v.entity AND f.key = v.key
             AND f.first_observed = c.observed_at AND f.value IS NOT DISTINCT FROM v.value
             AND f.effective_on IS NOT DISTINCT FROM v.effective_on"""
    )


_KIND_BY_PARSER = "CASE WHEN b.before IS NULL AND b.value IS NOT NULL THEN 'first_observation' ELSE 'correction' END"
"""SQL of the kind of what a better parser finds."""


def _kind_by_source(fresh_for: timedelta) -> str:
    """SQL of the kind of what a late snapshot brings, as detection decides it; corrections are not told apart."""
    first_news = news_from("coalesce(l.last_list, b.first_observed)", fresh_for)
    return f"""CASE WHEN b.value IS NULL THEN 'lapse'
        WHEN b.before IS NOT NULL THEN 'event'
        WHEN c.coverage = 'additions' THEN CASE WHEN coalesce(b.effective_on < {first_news}, b.not_before IS NULL)
            THEN 'first_observation' ELSE 'event' END
        WHEN b.position = 1
             AND (b.not_before IS NULL OR (c.coverage IN ('whole', 'partial') AND e.at = b.first_observed))
        THEN 'first_observation' ELSE 'event' END"""


def _find_news(home: Home, tables: Tables, batch: str, moved: str, kind: str) -> None:
    """The boundaries between versions that were not known before, as changes marked late."""
    run = home.lake.connection.execute
    boundaries = """SELECT *, row_number() OVER (
            PARTITION BY section, entity, key, before, before_on, value, effective_on ORDER BY first_observed) AS nth
        FROM (SELECT section, entity, key, value, effective_on, first_observed, not_before, snapshot,
                     lag(value) OVER w AS before, lag(effective_on) OVER w AS before_on,
                     row_number() OVER w AS position
              FROM {table} WINDOW w AS (PARTITION BY section, entity, key ORDER BY first_observed))"""
    first_seen = f"""SELECT entity, min(first_observed) AS at FROM (
            SELECT entity, first_observed FROM {tables.scan("facts")} SEMI JOIN work.affected USING (entity) UNION ALL
            SELECT entity, first_observed FROM work.folded) GROUP BY ALL"""
    lists = f"""SELECT DISTINCT section, observed_at AS last_list FROM {tables.scan("reads")}
            WHERE entity = '{WHOLE}' AND {READABLE}"""
    run(
        f"""CREATE TABLE work.final_changes AS
        SELECT md5(concat_ws(chr(31), '{batch}', b.section, b.entity, b.key, b.first_observed)) AS id,
               '{batch}' AS batch, '{tables.source}' AS source, b.entity, b.section, b.key, {kind} AS kind,
               CASE WHEN '{moved}' = 'source' AND {kind} = 'first_observation' THEN 'scope' ELSE '{moved}' END AS moved,
               b.before, b.value AS after, b.effective_on, b.not_before, b.first_observed AS not_after, true AS late,
               b.snapshot
        FROM ({boundaries.format(table="work.folded")}) b
        JOIN work.cover c ON c.section = b.section AND c.entity = b.entity AND c.observed_at = b.first_observed
        JOIN ({first_seen}) e ON e.entity = b.entity
        ASOF LEFT JOIN ({lists}) l ON l.section = b.section AND l.last_list < b.first_observed
        LEFT JOIN ({boundaries.format(table="work.former")}) f
          ON f.section = b.section AND f.entity = b.entity AND f.key = b.key AND f.nth = b.nth
         AND f.before IS NOT DISTINCT FROM b.before AND f.before_on IS NOT DISTINCT FROM b.before_on
         AND f.value IS NOT DISTINCT FROM b.value AND f.effective_on IS NOT DISTINCT FROM b.effective_on
        WHERE f.section IS NULL"""
    )
