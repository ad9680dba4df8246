"""Finding a company by its name, by part of it, or by its code.

The index holds single characters and pairs, so that any two characters of a Chinese name find it.

The rule of this module: the index is a copy; it is made from the facts again whenever it is behind them.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tantivy

from duecare.errors import BadInput
from duecare.identifiers import spellings
from duecare.registers.tables import Tables, known_sources
from duecare.store.home import Home

LONGEST = 300
"""Characters that a text to search for may have."""

_SHORT = 6
"""Up to so many grams (three characters), a name must have the text as it stands."""
_MOST = 0.8
"""The share of a longer text's grams that a name must have, each as often as it is asked for."""


@dataclass(frozen=True)
class Hit:
    """A company that matches, best first."""

    entity: str
    name: str
    source: str
    former: bool

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return dict(self.__dict__)


def search(home: Home, text: str, limit: int = 20) -> list[Hit]:
    """The companies whose code is ``text`` or may be written so, or whose present or former name has it in it, or, of
    a longer text, the same characters and pairs, most of them as often. However many blanks stand between words is
    one. Raises ``BadInput`` on an empty text, one longer than any name, and bytes that are no text.
    """
    text = " ".join(text.split())
    if not text:
        raise BadInput("There is nothing to search for.", hint="Give a name, a part of one, or a code.")
    if len(text) > LONGEST:
        raise BadInput(
            f"The text has {len(text):,} characters, more than any name.",
            hint=f"Give at most {LONGEST} of them: a name, a part of one, or a code.",
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadInput(f"{text!r} is not text in UTF-8.", hint="Give a name, a part of one, or a code.") from None
    with home.readers.reading():
        index = _current(home)
    if index is None:
        return []
    searcher = index.searcher()
    schema = index.schema
    grams = _grams(text)
    wanted = Counter(grams)
    terms = [(tantivy.Occur.Must, tantivy.Query.term_query(schema, "grams", gram)) for gram in wanted]
    by_name = tantivy.Query.boolean_query(terms)
    codes = {code.upper() for code in spellings(text)}
    by_code = [
        tantivy.Query.boost_query(tantivy.Query.term_query(schema, "entity", code), 100.0) for code in sorted(codes)
    ]
    query = tantivy.Query.boolean_query([(tantivy.Occur.Should, each) for each in (by_name, *by_code)])
    hits: list[Hit] = []
    seen: set[tuple[str, str]] = set()
    for _, address in searcher.search(query, limit * 5).hits:
        stored = searcher.doc(address)
        hit = Hit(stored["id"][0], stored["name"][0], stored["source"][0], stored["former"][0] == "1")
        # A hit on the grams alone may have them in another order, or only once where they are asked for often.
        found = text.casefold() in " ".join(hit.name.casefold().split()) or hit.entity.upper() in codes
        if not found and len(grams) > _SHORT:
            found = (wanted & Counter(_grams(hit.name))).total() >= _MOST * len(grams)
        if found and (hit.entity, hit.source) not in seen:
            seen.add((hit.entity, hit.source))
            hits.append(hit)
    hits.sort(key=lambda hit: (hit.name.casefold() != text.casefold(), hit.former, len(hit.name)))
    return hits[:limit]


def _current(home: Home) -> tantivy.Index | None:
    with home.database.session() as session:
        tables = [Tables(home, source, session, leased=True) for source in known_sources(session)]
    if not tables:
        return None
    wanted = {table.source: table.versions.get("facts", -1) for table in tables}
    folder = home.path / "search"
    stamp = folder / "versions.json"
    if not stamp.exists() or json.loads(stamp.read_text()) != wanted:
        with home.writing("search"):
            _build(home, tables, folder)
            stamp.write_text(json.dumps(wanted))
    return tantivy.Index.open(str(folder / "index"))


def _build(home: Home, tables: list[Tables], folder: Path) -> None:
    fresh = folder / "new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    builder = tantivy.SchemaBuilder()
    for name in ("id", "name", "source", "former"):
        builder.add_text_field(name, stored=True, tokenizer_name="raw")
    builder.add_text_field("entity", tokenizer_name="raw")
    builder.add_text_field("grams", tokenizer_name="whitespace", index_option="basic")
    index = tantivy.Index(builder.build(), path=str(fresh))
    writer = index.writer(128_000_000, 1)
    for table in tables:
        # Present and former names: a name is former where a later version says otherwise.
        cursor = home.lake.connection.cursor().execute(
            f"""WITH named AS (
                SELECT entity, json_extract_string(value, '$.name') AS name, first_observed,
                       max(first_observed) OVER (PARTITION BY entity) AS latest
                FROM {table.scan("facts")} WHERE section = 'basic' AND value IS NOT NULL)
            SELECT entity, name, bool_and(first_observed < latest) FROM named WHERE name IS NOT NULL GROUP BY ALL"""
        )
        while rows := cursor.fetchmany(10_000):
            for entity, name, former in rows:
                document = tantivy.Document()
                document.add_text("id", entity)
                document.add_text("entity", entity.upper())
                document.add_text("name", name)
                document.add_text("source", table.source)
                document.add_text("former", "1" if former else "0")
                document.add_text("grams", " ".join(_grams(name)))
                writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()
    shutil.rmtree(folder / "index", ignore_errors=True)
    fresh.rename(folder / "index")


def _grams(text: str) -> list[str]:
    """The characters of ``text`` without spaces, alone and in pairs, in lower case."""
    characters = "".join(text.casefold().split())
    pairs = [characters[i : i + 2] for i in range(len(characters) - 1)]
    return [*pairs, *characters]
