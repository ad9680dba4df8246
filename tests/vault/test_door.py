"""There is one door to a plaintext: no other module can make one, and the source says so."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import duecare

ROOT = Path(duecare.__file__).parent
VAULT = ROOT / "vault"
CIPHERS = ("cryptography.hazmat.primitives.ciphers", "cryptography.hazmat.primitives.keywrap", "cryptography.fernet")
KEYS = ("keys", "slots", "fields", "blobs", "index", "models", "collection", "openings", "succession")
"""Modules of the vault that handle keys, ciphertexts or the tables of both."""
ACCOUNTS = ("Opening", "Opened")
"""What the inner modules tell of their acts: data without a way to anything."""
PARTS = ("slots", "blobs", "index")
"""What an open vault has inside, and nobody else touches."""
TABLES = ("vault_keys", "vault_values", "vault_wraps", "vault_lookups", "vault_index_keys")
MIGRATION = "0005_vault.py"


def sources(*, inside: bool) -> Iterator[tuple[Path, ast.Module]]:
    """The modules of the project, those of the vault or all others."""
    for path in sorted(ROOT.rglob("*.py")):
        if path.is_relative_to(VAULT) is inside:
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    """The full names of everything a module imports, wherever it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{each.name}" for each in node.names)


def called(tree: ast.Module, name: str) -> bool:
    """Whether a module calls, or passes on, a function of that name."""
    return any(
        (isinstance(node, ast.Name) and node.id == name) or (isinstance(node, ast.Attribute) and node.attr == name)
        for node in ast.walk(tree)
    )


def test_no_other_module_can_encrypt_or_decrypt() -> None:
    """Outside of the vault nothing imports a cipher, a key wrap, or a module of the vault that handles keys."""
    inner = tuple(f"duecare.vault.{name}" for name in KEYS)
    for path, tree in sources(inside=False):
        for name in imported(tree):
            assert not name.startswith(CIPHERS), f"{path} imports {name}"
            assert not name.startswith(inner), f"{path} imports {name}"


def test_no_other_module_reads_ciphertexts_or_the_files_of_the_keys() -> None:
    """Outside of the vault no text names one of its tables or key files, the migration that makes them aside."""
    for path, tree in sources(inside=False):
        if path.name == MIGRATION:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for word in (*TABLES, "vault.slots", "vault.master"):
                    assert word not in node.value, f"{path} names {word}"


def reached(tree: ast.Module) -> Iterator[str]:
    """Which of the vault's inner parts a module reaches for as an attribute of something called vault."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in PARTS:
            holder = node.value
            name = holder.id if isinstance(holder, ast.Name) else getattr(holder, "attr", "")
            if "vault" in name.lower():
                yield f"{name}.{node.attr}"


def test_no_other_module_reaches_into_an_open_vault() -> None:
    """Whoever has a vault in hand takes neither its slots nor its sealed files nor its index."""
    for path, tree in sources(inside=False):
        assert not list(reached(tree)), f"{path} uses {list(reached(tree))}"
    inside = {each for _, tree in sources(inside=True) for each in reached(tree)}
    assert inside >= {"vault.slots", "vault.blobs", "vault.index"}, "the scan sees them where they are"
    assert set(reached(ast.parse("park.vault.slots.key(1); self._vault.blobs"))) == {"vault.slots", "_vault.blobs"}


def taken(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """What a module takes from those of the vault, by import or as an attribute: (module of the vault, name)."""
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "duecare.vault":
            modules |= {each.asname or each.name: each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("duecare.vault."):
            yield from ((str(node.module).removeprefix("duecare.vault."), each.name) for each in node.names)
        elif isinstance(node, ast.Import):
            modules |= {
                each.asname or each.name: each.name.removeprefix("duecare.vault.")
                for each in node.names
                if each.name.startswith("duecare.vault.")
            }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (module := modules.get(ast.unparse(node.value))):
            yield module, node.attr


def lent(tree: ast.Module) -> set[str]:
    """The names that a module of the vault has from those that handle keys and ciphertexts."""
    inner = {f"duecare.vault.{name}" for name in KEYS}
    return {
        each.asname or each.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module in inner or node.module == "duecare.vault")
        for each in node.names
        if node.module in inner or each.name in KEYS
    }


def test_no_other_module_takes_a_key_by_way_of_one_that_has_it() -> None:
    """What a module of the vault imports from the inner ones is not had from it: the import contract sees no names."""
    held = {path.stem: lent(tree) for path, tree in sources(inside=True)}
    for path, tree in sources(inside=False):
        wrong = [f"{module}.{name}" for module, name in taken(tree) if name in held.get(module, set()) - {*ACCOUNTS}]
        assert not wrong, f"{path} takes {wrong}"
    assert held["rotation"] >= {"unseal", "purpose_key", "Slot"}, "there is something to be had so"
    for sneaking in (
        "from duecare.vault import rotation\nrotation.unseal()",
        "from duecare.vault import rotation as turn\ndef f():\n    return turn.unseal",
        "from duecare.vault.rotation import unseal as look",
        "import duecare.vault.rotation\nduecare.vault.rotation.unseal()",
        "import duecare.vault.rotation as turn\nturn.unseal()",
    ):
        assert ("rotation", "unseal") in set(taken(ast.parse(sneaking))), sneaking


def test_a_plaintext_comes_to_be_in_one_function() -> None:
    """In the vault one function decrypts a field: opening and the making of look-ups call it, and nobody else."""
    decrypting = {path.stem for path, tree in sources(inside=True) if called(tree, "unseal")}
    assert decrypting == {"openings", "rotation"}
    assert {path.stem for path, tree in sources(inside=True) if called(tree, "unwrap_data_key")} == {
        "openings",
        "collection",
    }
    ciphers = {path.stem for path, tree in sources(inside=True) if any(n.startswith(CIPHERS) for n in imported(tree))}
    assert ciphers == {"keys", "slots", "fields", "backup"}


def test_the_scan_would_see_a_second_door() -> None:
    """The scan is not blind: it finds what it looks for where that is."""
    names = {name for _, tree in sources(inside=True) for name in imported(tree)}
    assert any(name.startswith(CIPHERS) for name in names)
    assert {"duecare.vault.keys", "duecare.vault.slots"} <= set(names)
    texts = [
        node.value
        for path, tree in sources(inside=False)
        if path.name == MIGRATION
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert set(TABLES) <= set(texts)
