"""Policy files: the holdings of the cases and an operator's own, read, checked and described.

The rule of this module: a policy that cannot say in words what it does is not loaded; and an operator can forbid more,
never permit what a holding forbids, nor order it by forbidding its opposite.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from cedarpy import Schema, policies_to_json_str, validate_policies

from duecare.errors import BadInput
from duecare.rules.decision import Reason

HOLDINGS_ALONE = frozenset({"keep"})
"""Actions that the holdings alone decide: what may not be kept is destroyed, so that to forbid it is to permit that."""


@dataclass(frozen=True)
class PolicyFile:
    """A file of policies: its name for messages, its text, and whether an operator wrote it."""

    name: str
    text: str
    operator: bool = False

    @classmethod
    def read(cls, path: Path | Traversable, *, operator: bool = False) -> PolicyFile:
        """Read ``path``. Raises ``BadInput``."""
        try:
            return cls(str(path), path.read_text(encoding="utf-8"), operator)
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"The policies {path} cannot be read: {error}.") from None


@dataclass(frozen=True)
class Policy:
    """One policy: the reason it gives, where it stands, and its form as JSON (Cedar's)."""

    reason: Reason
    file: PolicyFile
    form: dict[str, Any]


def schema_text() -> str:
    """The schema that every policy is validated against."""
    return files("duecare").joinpath("rules", "schema.cedarschema").read_text(encoding="utf-8")


def holdings() -> list[PolicyFile]:
    """The ``holding.cedar`` of every case, in the order of the cases' names."""
    cases = files("duecare").joinpath("cases")
    found = [case.joinpath("holding.cedar") for case in sorted(cases.iterdir(), key=lambda each: each.name)]
    return [PolicyFile.read(path) for path in found if path.is_file()]


def operator_files(folder: Path) -> list[PolicyFile]:
    """The ``*.cedar`` files in an operator's folder, however the suffix is written. Raises ``BadInput`` where there is
    no such folder."""
    if not folder.is_dir():
        raise BadInput(
            f"The folder of your own policies, {folder}, is not there.",
            hint="Make it, or take the setting policies (DUECARE_POLICIES) back.",
        )
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".cedar")
    return [PolicyFile.read(path, operator=True) for path in found]


def read_policies(sources: Sequence[PolicyFile], schema: Schema) -> list[Policy]:
    """Every policy of ``sources``, checked: it parses, fits the schema, has an id of its own and says what it does.

    Raises ``BadInput`` naming the file and the policy.
    """
    read = [policy for source in sources for policy in _policies(source, schema)]
    seen: dict[str, Policy] = {}
    for policy in read:
        other = seen.setdefault(policy.reason.id, policy)
        if other is not policy:
            raise BadInput(
                f"Two policies are called {policy.reason.id}: in {other.file.name} and in {policy.file.name}.",
                hint="Give one of them another @id.",
            )
    return read


def _policies(source: PolicyFile, schema: Schema) -> list[Policy]:
    try:
        parsed = json.loads(policies_to_json_str(source.text))
    except ValueError as error:
        raise BadInput(f"{source.name} is not Cedar: {error}") from None
    if parsed["templates"]:
        raise BadInput(
            f"{source.name} has a template, which decides nothing until it is linked.",
            hint="Write a policy without ?principal and ?resource.",
        )
    result = validate_policies(source.text, schema)
    if not result.validation_passed:
        raise BadInput(
            f"{source.name} does not fit the schema: {'; '.join(str(error) for error in result.errors)}",
            hint="duecare/rules/schema.cedarschema says which actions, resources and context there are.",
        )
    static: dict[str, dict[str, Any]] = parsed["staticPolicies"]
    return [_policy(source, form) for _, form in sorted(static.items(), key=lambda each: int(each[0][len("policy") :]))]


def _policy(source: PolicyFile, form: dict[str, Any]) -> Policy:
    said: dict[str, str] = form.get("annotations", {})
    name = said.get("id") or ""
    if not name:
        raise BadInput(f"{source.name} has a policy without @id.", hint='Write @id("mine.what_it_forbids") before it.')
    if source.operator and form["effect"] != "forbid":
        raise BadInput(
            f"{source.name}: the policy {name} permits. An operator's policies can only forbid.",
            hint="What may be done is said by the holdings of the cases; make it a forbid, or take it out.",
        )
    if source.operator and (bound := sorted(HOLDINGS_ALONE & _named_actions(form))):
        raise BadInput(
            f"{source.name}: the policy {name} is about {', '.join(bound)}, which the holdings alone decide. To forbid "
            "that something is kept orders its destruction, and what a legal hold keeps would be destroyed by it.",
            hint="Take it out. To keep things for a shorter time, declare a shorter retention; duecare erase erases.",
        )
    zh, en = said.get("zh") or said.get("en") or "", said.get("en") or said.get("zh") or ""
    if not en:
        raise BadInput(
            f"{source.name}: the policy {name} does not say in words what it does.",
            hint='Write @zh("…") and @en("…") before it: people are shown that sentence.',
        )
    reason = Reason(
        id=name,
        case=said.get("case", ""),
        article=said.get("article", ""),
        zh=zh,
        en=en,
        effect=form["effect"],
        remedy_zh=said.get("remedy_zh", said.get("remedy_en", "")),
        remedy_en=said.get("remedy_en", said.get("remedy_zh", "")),
    )
    return Policy(reason, source, form)


def _named_actions(form: dict[str, Any]) -> set[str]:
    """The actions that a policy names as those it is about, none where it is about any."""
    scope = form["action"]
    entities = scope.get("entities") or [each for each in (scope.get("entity"),) if each]
    return {each.get("__entity", each)["id"] for each in entities}


def names_a_resource(policy: Policy) -> bool:
    """Whether the policy speaks of one resource by its id, so that two resources alike may be decided differently."""

    def walk(value: Any) -> bool:
        if isinstance(value, dict):
            named = {"type", "id"} <= set(value) and isinstance(value["type"], str)
            return (named and value["type"] not in ("Action", "Service")) or any(walk(each) for each in value.values())
        return isinstance(value, list) and any(walk(each) for each in value)

    return walk({name: part for name, part in policy.form.items() if name != "annotations"})
