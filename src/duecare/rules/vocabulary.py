"""What a request may say: the schema, read as the list of actions with their circumstances and the words for each.

Cedar validates a request against the types of the schema; it cannot say which words a text may be. The comment above a
text in the schema lists them (``// event, first_observation, correction or lapse``), and is read here.

The rule of this module: a schema that is not understood to the last token is an error; nothing in it is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from duecare.errors import BadInput

_TOKEN = re.compile(r"//[^\n]*|\"[^\"]*\"|[A-Za-z_]\w*|[{}\[\]():;,=?]|\S")
_WORD = re.compile(r"[a-z][a-z_]*")


@dataclass(frozen=True)
class Attribute:
    """A circumstance or a property. ``kind`` is Bool, String or Long; ``words`` are those a text may be, none where it
    is free; ``note`` is the comment above it."""

    name: str
    kind: str
    required: bool
    words: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class Action:
    """What can be asked: by which kinds of principal, about which kinds of resource, in which circumstances."""

    name: str
    principals: tuple[str, ...]
    resources: tuple[str, ...]
    context: tuple[Attribute, ...]


@dataclass(frozen=True)
class Vocabulary:
    """The schema: entity types with their attributes, and the actions by name."""

    entities: Mapping[str, tuple[Attribute, ...]]
    actions: Mapping[str, Action]


def read_vocabulary(text: str) -> Vocabulary:
    """Read a schema in Cedar's own syntax. Raises ``BadInput`` at what it does not understand."""
    reader = _Reader(text)
    entities: dict[str, tuple[Attribute, ...]] = {}
    actions: dict[str, Action] = {}
    while (word := reader.next()) is not None:
        if word == "entity":
            name = reader.name()
            entities[name] = reader.attributes() if reader.maybe("=") else ()
        elif word == "action":
            action = reader.action()
            actions[action.name] = action
        else:
            reader.refuse(word)
        reader.expect(";")
    return Vocabulary(entities, actions)


class _Reader:
    """The tokens of a schema, one ahead. The comments passed over since the last attribute are its note."""

    def __init__(self, text: str) -> None:
        self._tokens: Iterator[str] = iter(_TOKEN.findall(text))
        self._ahead: str | None = None
        self._notes: list[str] = []
        self._advance()

    def next(self) -> str | None:
        """The next token, none at the end."""
        token = self._ahead
        self._advance()
        return token

    def expect(self, wanted: str) -> None:
        """Read ``wanted``, or refuse what stands there."""
        token = self.next()
        if token != wanted:
            self.refuse(token, wanted)

    def maybe(self, wanted: str) -> bool:
        """Read ``wanted`` if it stands there."""
        if self._ahead != wanted:
            return False
        self._advance()
        return True

    def name(self) -> str:
        """A name, or a name in quotation marks."""
        token = self.next()
        if token is None or not re.fullmatch(r'"[^"]+"|[A-Za-z_]\w*', token):
            self.refuse(token, "a name")
        return str(token).strip('"')

    def action(self) -> Action:
        """What follows the word ``action``."""
        name = self.name()
        for wanted in ("appliesTo", "{", "principal", ":"):
            self.expect(wanted)
        principals = self._names()
        for wanted in (",", "resource", ":"):
            self.expect(wanted)
        resources = self._names()
        for wanted in (",", "context", ":"):
            self.expect(wanted)
        context = self.attributes()
        self.maybe(",")
        self.expect("}")
        return Action(name, principals, resources, context)

    def attributes(self) -> tuple[Attribute, ...]:
        """A record of attributes in braces."""
        self._notes = []
        self.expect("{")
        found: list[Attribute] = []
        while not self.maybe("}"):
            note = " ".join(self._notes)
            name = self.name()
            required = not self.maybe("?")
            self.expect(":")
            kind = self.name()
            if kind not in ("Bool", "String", "Long"):
                self.refuse(kind, "Bool, String or Long")
            found.append(Attribute(name, kind, required, _words(note) if kind == "String" else (), note))
            self._notes = []
            if self._ahead != "}":
                self.expect(",")
        return tuple(found)

    def refuse(self, token: str | None, wanted: str = "") -> None:
        """Raise for a token that is not understood here."""
        hint = f"There should be {wanted}." if wanted else "There should be an entity or an action."
        raise BadInput(f"The schema is not understood at {token or 'its end'!r}.", hint=hint)

    def _names(self) -> tuple[str, ...]:
        self.expect("[")
        found = [self.name()]
        while self.maybe(","):
            found.append(self.name())
        self.expect("]")
        return tuple(found)

    def _advance(self) -> None:
        for token in self._tokens:
            if not token.startswith("//"):
                self._ahead = token
                return
            self._notes.append(token.removeprefix("//").strip())
        self._ahead = None


def _words(note: str) -> tuple[str, ...]:
    """The words that a comment lists: ``a, b or c``, what follows in parentheses aside. None if it is a sentence."""
    listed = re.split(r", | or ", note.partition(" (")[0])
    return tuple(listed) if len(listed) > 1 and all(_WORD.fullmatch(each) for each in listed) else ()
