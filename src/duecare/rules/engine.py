"""The engine: Cedar over the holdings of the cases and an operator's own policies, parsed once and held.

The rule of this module: it fails closed. A request that does not fit the schema, or that a policy stumbles over, is an
error and never an answer; what no policy permits is denied.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cedarpy import AuthzResult, Entities, PolicySet, Schema, is_authorized_batch
from cedarpy import Decision as CedarDecision

from duecare.errors import BadInput
from duecare.rules.decision import NOT_PERMITTED, Decision
from duecare.rules.policies import (
    HOLDINGS_ALONE,
    Policy,
    PolicyFile,
    holdings,
    names_a_resource,
    operator_files,
    read_policies,
    schema_text,
)


@dataclass(frozen=True)
class Request:
    """A question: may this principal do this with that, in these circumstances?

    ``action`` is the name of an action in the schema (``alert``); ``resource`` holds the attributes of the resource
    that the schema knows, ``context`` exactly those that the action asks for. Values are text, booleans, integers.
    """

    action: str
    principal_type: str
    principal_id: str
    resource_type: str
    resource_id: str
    context: Mapping[str, Any] = field(default_factory=dict)
    resource: Mapping[str, Any] = field(default_factory=dict)


class Engine:
    """Decides requests. Make one and keep it: parsing is the dear part."""

    def __init__(self, policies: Sequence[Path | PolicyFile], operator: Path | None = None) -> None:
        """Load ``policies`` (holdings) and the ``*.cedar`` files of the folder ``operator``.

        Raises ``BadInput`` where a policy does not parse, fit the schema, say what it does, or where an operator's
        policy permits, or is about what the holdings alone decide.
        """
        sources = [each if isinstance(each, PolicyFile) else PolicyFile.read(each) for each in policies]
        sources += operator_files(operator) if operator else []
        self._schema = Schema.from_str(schema_text())
        self.policies: tuple[Policy, ...] = tuple(read_policies(sources, self._schema))
        # Cedar numbers the policies of one text in order, which is the order of ``self.policies``.
        self._set = PolicySet.from_str("\n".join(source.text for source in sources))
        # An operator's policy about any action is about these too, and does not count there. The holdings come first,
        # so that their numbers are the same in both sets.
        self._holdings = PolicySet.from_str("\n".join(source.text for source in sources if not source.operator))
        self._none = Entities.from_json_str("[]")
        self._by_id = any(names_a_resource(policy) for policy in self.policies)

    @classmethod
    def load(cls, operator: Path | None = None) -> Engine:
        """The engine over the holdings of all cases, and the operator's own policies where there is a folder."""
        return cls(holdings(), operator)

    def decide(self, request: Request) -> Decision:
        """The answer to one request. Raises ``BadInput`` where it does not fit the schema."""
        entities = self._none
        if request.resource:
            entities = self._entities(request)
        return self._answers([request], entities)[0]

    def decide_each(self, requests: Sequence[Request]) -> list[Decision]:
        """The answers to many requests, in order; requests that are alike are decided once.

        Alike means: the same action, principal, kind of resource, attributes and context. The id of the resource counts
        only where a policy speaks of one by its id.
        """
        keys = [self._key(request) for request in requests]
        distinct = dict(zip(reversed(keys), reversed(requests), strict=True))
        plain = {key: request for key, request in distinct.items() if not request.resource}
        answers = dict(zip(plain, self._answers(list(plain.values()), self._none), strict=True))
        for key, request in distinct.items():
            if request.resource:
                answers[key] = self.decide(request)
        return [answers[key] for key in keys]

    def _key(self, request: Request) -> tuple[object, ...]:
        return (
            request.action,
            request.principal_type,
            request.principal_id,
            request.resource_type,
            request.resource_id if self._by_id else None,
            _frozen(request.resource),
            _frozen(request.context),
        )

    def _entities(self, request: Request) -> Entities:
        uid = {"type": request.resource_type, "id": request.resource_id}
        entity = {"uid": uid, "attrs": dict(request.resource), "parents": []}
        try:
            return Entities.from_json_str(json.dumps([entity]), self._schema)
        except ValueError as error:
            raise BadInput(f"The resource of the request {request.action} does not fit the schema: {error}") from None

    def _answers(self, requests: Sequence[Request], entities: Entities) -> list[Decision]:
        if not requests:
            return []
        asked = [
            {
                "principal": {"type": request.principal_type, "id": request.principal_id},
                "action": {"type": "Action", "id": request.action},
                "resource": {"type": request.resource_type, "id": request.resource_id},
                "context": dict(request.context),
            }
            for request in requests
        ]
        answers: dict[int, Decision] = {}
        for alone, policies in ((False, self._set), (True, self._holdings)):
            mine = [at for at, each in enumerate(requests) if (each.action in HOLDINGS_ALONE) is alone]
            if mine:
                results = is_authorized_batch([asked[at] for at in mine], policies, entities, schema=self._schema)
                answers |= {at: self._decision(requests[at], each) for at, each in zip(mine, results, strict=True)}
        return [answers[at] for at in range(len(requests))]

    def _decision(self, request: Request, result: AuthzResult) -> Decision:
        # Cedar passes over a policy that fails in evaluation. A forbid that is passed over would allow: so none may.
        if result.diagnostics.errors or result.decision is CedarDecision.NoDecision:
            raise BadInput(
                f"The rules cannot decide the request {request.action!r}: {'; '.join(result.diagnostics.errors)}.",
                hint="duecare/rules/schema.cedarschema says which context each action asks for.",
            )
        determining = sorted(int(name.removeprefix("policy")) for name in result.diagnostics.reasons)
        reasons = tuple(self.policies[number].reason for number in determining)
        return Decision(result.allowed, reasons or (NOT_PERMITTED,))


def _frozen(values: Mapping[str, Any]) -> tuple[tuple[str, str, object], ...]:
    # True equals 1 in Python, and does not in Cedar.
    return tuple((name, type(value).__name__, _hashable(value)) for name, value in sorted(values.items()))


def _hashable(value: Any) -> object:
    return json.dumps(value, sort_keys=True) if isinstance(value, (dict, list)) else value
