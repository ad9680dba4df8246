"""Finding a company by its name, by part of it, or by its code.

The index holds single characters and pairs, so that any two characters of a Chinese name find it. Of words with blanks
between them (凯德 深圳) each must be in the name, in whatever order.

The rule of this module: the index is a copy; it is made from the facts again whenever it is behind them.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable
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
_AS_IT_STANDS = 10.0
"""How much more a name weighs that has all grams of the text, those between its words too, than one with its words."""


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
    """The companies whose code is ``text`` or may be written so, or whose present or former name has it in it, or all
    of its words, each as often as it is asked for, or, of a longer text, the same characters and pairs, most of them as
    often. The name itself comes first, then those that have the text as it stands. However many blanks stand between
    words is one. Raises ``BadInput`` on an empty text, one longer than any name, and bytes that are no text.
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
    wanted = _Wanted(text)
    by_name = tantivy.Query.boost_query(_having(schema, wanted.grams), _AS_IT_STANDS)
    by_words = [_having(schema, wanted.of_words)] if len(wanted.words) > 1 else []
    codes = {code.upper() for code in spellings(text)}
    by_code = [
        tantivy.Query.boost_query(tantivy.Query.term_query(schema, "entity", code), 100.0) for code in sorted(codes)
    ]
    query = tantivy.Query.boolean_query([(tantivy.Occur.Should, each) for each in (by_name, *by_words, *by_code)])
    hits: list[Hit] = []
    seen: set[tuple[str, str]] = set()
    for _, address in searcher.search(query, limit * 5).hits:
        stored = searcher.doc(address)
        hit = Hit(stored["id"][0], stored["name"][0], stored["source"][0], stored["former"][0] == "1")
        if (wanted.found_in(hit.name) or hit.entity.upper() in codes) and (hit.entity, hit.source) not in seen:
            seen.add((hit.entity, hit.source))
            hits.append(hit)
    hits.sort(key=lambda hit: (*wanted.order(hit.name), hit.former, len(hit.name)))
    return hits[:limit]


class _Wanted:
    """A text that is looked for. A hit on its grams alone may have them in another order, or only once where they are
    asked for often: whether the name has what was asked for is seen here."""

    def __init__(self, text: str) -> None:
        self.text = text.casefold()
        self.words = Counter(self.text.split())
        self.grams = Counter(_grams(text))
        self.of_words = {gram for word in self.words for gram in _grams(word)}

    def found_in(self, name: str) -> bool:
        """Whether ``name`` has it as it stands, or all of its words, or, of a longer one, most of its grams."""
        folded = _folded(name)
        if self.text in folded or all(folded.count(word) >= often for word, often in self.words.items()):
            return True
        has, number = Counter(_grams(name)), self.grams.total()
        return number > _SHORT and self.grams.keys() <= has.keys() and (self.grams & has).total() >= _MOST * number

    def order(self, name: str) -> tuple[bool, bool, bool]:
        """What puts one name before another: that it is the text, has it as it stands, or has it but for its blanks."""
        folded = _folded(name)
        close = _close(self.text) in _close(folded)
        return folded != self.text, self.text not in folded, not close


def _folded(name: str) -> str:
    return " ".join(name.casefold().split())


def _close(text: str) -> str:
    return "".join(text.split())


def _having(schema: tantivy.Schema, grams: Iterable[str]) -> tantivy.Query:
    """The names that have all of ``grams``."""
    terms = [(tantivy.Occur.Must, tantivy.Query.term_query(schema, "grams", gram)) for gram in grams]
    return tantivy.Query.boolean_query(terms)


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
    characters = _close(text.casefold())
    pairs = [characters[i : i + 2] for i in range(len(characters) - 1)]
    return [*pairs, *characters]
