"""Contents: texts that an entry of the log stands for without holding them, by the root of a tree over them.

An act on a hundred thousand things is one entry. It commits to what each of them says, and each can be shown to be one
of them with no more than its own text and the path to the root.

The rule of this module: the root is that of RFC 6962 over the texts in the order in which the entry's kind puts them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from duecare.errors import EvidenceBroken
from duecare.evidence import merkle
from duecare.evidence.check import Check, answer
from duecare.evidence.document import encode_hashes, parse_hashes

_MEMBERS = {"root", "size"}


@dataclass(frozen=True)
class Content:
    """One of the texts, its place among them from 0, and the path from it to the root. Read, not yet believed."""

    text: str
    index: int
    inclusion: tuple[bytes, ...]

    def as_json(self) -> dict[str, Any]:
        """What a proof file says of it, as its member ``content``."""
        return {"inclusion": encode_hashes(self.inclusion), "index": self.index, "text": self.text}


class Contents:
    """The texts that one entry stands for, in their order."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self._leaves = [merkle.leaf_hash(each.encode()) for each in texts]

    @property
    def root(self) -> bytes:
        """The root of the tree over them."""
        return merkle.tree_root(len(self._leaves), merkle.nodes_over(self._leaves))

    def as_json(self) -> dict[str, Any]:
        """What the body of the entry says of them, as its member ``contents``."""
        return {"root": self.root.hex(), "size": len(self._leaves)}

    def content(self, index: int) -> Content:
        """The text at ``index`` with its path."""
        path = merkle.inclusion_proof(index, len(self._leaves), merkle.nodes_over(self._leaves))
        return Content(self.texts[index], index, tuple(path))


def parse_content(value: Any) -> Content:
    """Read the member ``content`` of a proof file. Raises ``EvidenceBroken`` saying where it departs from the form."""
    if not isinstance(value, dict) or set(value) != {"inclusion", "index", "text"}:
        raise EvidenceBroken("The content has not exactly the fields inclusion, index, text.")
    text, index = value["text"], value["index"]
    if not isinstance(text, str) or type(index) is not int or index < 0:
        raise EvidenceBroken("The content is not text, or its index is not a whole number from 0.")
    return Content(text, index, parse_hashes(value["inclusion"], "inclusion"))


def verify_content(content: Content, body: Any) -> Check:
    """Whether ``content`` is one of the texts that an entry with this ``body`` stands for: the check ``content``."""
    said = body.get("contents") if isinstance(body, Mapping) else None
    if not isinstance(said, dict) or set(said) != _MEMBERS or type(said["size"]) is not int:
        return answer("content", False, "the entry commits to no contents")
    try:
        root = bytes.fromhex(said["root"])
    except (TypeError, ValueError):
        return answer("content", False, "the entry's root of contents is not hex digits")
    leaf = merkle.leaf_hash(content.text.encode())
    holds = merkle.verify_inclusion(leaf, content.index, said["size"], content.inclusion, root)
    return answer("content", holds, f"text {content.index} of {said['size']}")
