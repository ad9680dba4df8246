"""Contents: texts that an entry of the log stands for without holding them, by the root of a tree over them.

An act on a hundred thousand things is one entry. It commits to what each of them says, and each can be shown to be one
of them with no more than its own text, the hashes of its page and the path from the page to the root.

The rule of this module: the root is that of RFC 6962 over the pages of the hashes of the texts, which stand in the
order in which the entry's kind puts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from duecare.errors import EvidenceBroken
from duecare.evidence import merkle
from duecare.evidence.check import Check, answer
from duecare.evidence.document import encode_hashes, parse_hashes

PAGE = 64
"""How many hashes of texts are one leaf of the tree: hashed together, they cost next to nothing."""

_PAGE_BYTES = PAGE * merkle.HASH_SIZE
_MEMBERS = {"root", "size"}


@dataclass(frozen=True)
class Content:
    """One of the texts, its place among them from 0, the hashes of its page, and the path from that to the root. Read,
    not yet believed."""

    text: str
    index: int
    page: tuple[bytes, ...]
    inclusion: tuple[bytes, ...]

    def as_json(self) -> dict[str, Any]:
        """What a proof file says of it, as its member ``content``."""
        return {
            "inclusion": encode_hashes(self.inclusion),
            "index": self.index,
            "page": encode_hashes(self.page),
            "text": self.text,
        }


class Contents:
    """The texts that one entry stands for, by their hashes in their order, one after the other."""

    def __init__(self, hashes: bytes) -> None:
        self.size = len(hashes) // merkle.HASH_SIZE
        self._pages = [hashes[at : at + _PAGE_BYTES] for at in range(0, len(hashes), _PAGE_BYTES)]
        self._leaves = [merkle.leaf_hash(page) for page in self._pages]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Contents:
        """Those of ``texts``."""
        return cls(b"".join(map(hash_of, texts)))

    @property
    def root(self) -> bytes:
        """The root of the tree over them."""
        return merkle.tree_root(len(self._leaves), merkle.nodes_over(self._leaves))

    def as_json(self) -> dict[str, Any]:
        """What the body of the entry says of them, as its member ``contents``."""
        return {"root": self.root.hex(), "size": self.size}

    def content(self, index: int, text: str) -> Content:
        """``text``, which is the one at ``index``, with its page and path."""
        page = index // PAGE
        path = merkle.inclusion_proof(page, len(self._leaves), merkle.nodes_over(self._leaves))
        return Content(text, index, _hashes(self._pages[page]), tuple(path))


class Meeting:
    """Contents whose texts are met one by one; memory does not grow with them."""

    def __init__(self) -> None:
        self.size = 0
        self._page = bytearray()
        self._tree = merkle.Growing()

    def add(self, text: str) -> None:
        """The next text."""
        self.size += 1
        self._page += hash_of(text)
        if len(self._page) == _PAGE_BYTES:
            self._tree.add(merkle.leaf_hash(bytes(self._page)))
            self._page.clear()

    def root(self) -> bytes:
        """The root over all texts so far."""
        tree = deepcopy(self._tree)
        if self._page:
            tree.add(merkle.leaf_hash(bytes(self._page)))
        return tree.root()


def hash_of(text: str) -> bytes:
    """The hash of a text: as that of a leaf."""
    return merkle.leaf_hash(text.encode())


def parse_content(value: Any) -> Content:
    """Read the member ``content`` of a proof file. Raises ``EvidenceBroken`` saying where it departs from the form."""
    if not isinstance(value, dict) or set(value) != {"inclusion", "index", "page", "text"}:
        raise EvidenceBroken("The content has not exactly the fields inclusion, index, page, text.")
    text, index = value["text"], value["index"]
    if not isinstance(text, str) or type(index) is not int or index < 0:
        raise EvidenceBroken("The content is not text, or its index is not a whole number from 0.")
    return Content(text, index, parse_hashes(value["page"], "page"), parse_hashes(value["inclusion"], "inclusion"))


def verify_content(content: Content, body: Any) -> Check:
    """Whether ``content`` is one of the texts that an entry with this ``body`` stands for: the check ``content``."""
    said = body.get("contents") if isinstance(body, Mapping) else None
    if not isinstance(said, dict) or set(said) != _MEMBERS or type(said["size"]) is not int:
        return answer("content", False, "the entry commits to no contents")
    try:
        root = bytes.fromhex(said["root"])
    except (TypeError, ValueError):
        return answer("content", False, "the entry's root of contents is not hex digits")
    return answer("content", _is_one(content, said["size"], root), f"text {content.index} of {said['size']}")


def _is_one(content: Content, size: int, root: bytes) -> bool:
    page, place = divmod(content.index, PAGE)
    if content.index >= size or len(content.page) != min(PAGE, size - page * PAGE):
        return False
    if content.page[place] != hash_of(content.text):
        return False
    leaf = merkle.leaf_hash(b"".join(content.page))
    return merkle.verify_inclusion(leaf, page, -(-size // PAGE), content.inclusion, root)


def _hashes(page: bytes) -> tuple[bytes, ...]:
    return tuple(page[at : at + merkle.HASH_SIZE] for at in range(0, len(page), merkle.HASH_SIZE))
