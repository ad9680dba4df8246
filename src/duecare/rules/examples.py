"""What each policy lets pass and what it stops, found by asking: one request of either kind, as alike as can be.

Every request that the schema allows is put to the engine, for what the policies speak of: a circumstance that none of
them mentions cannot matter, and is left at its first value. Of the requests that a policy decides, the pair is shown
that differs in the fewest places, so that the difference is what the policy is about.

The rule of this module: no example is written by hand, and none is shown that the engine did not decide so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, product
from typing import Any

from duecare.rules.engine import Engine, Request
from duecare.rules.policies import Policy, schema_text
from duecare.rules.vocabulary import Action, Attribute, Vocabulary, read_vocabulary

MOST = 100_000
"""Requests that are tried for one action; a set of policies that speaks of more is tried as far as that."""

_ABSENT = object()
_SOMEBODY, _SOMETHING = "somebody", "something"


@dataclass(frozen=True)
class Example:
    """A request, the answer, and the ids of the policies that decided."""

    request: Request
    allowed: bool
    reasons: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        asked = self.request
        return {
            "action": asked.action,
            "principal": f'{asked.principal_type}::"{asked.principal_id}"',
            "resource": f'{asked.resource_type}::"{asked.resource_id}"',
            "attributes": dict(asked.resource),
            "context": dict(asked.context),
            "reasons": list(self.reasons),
        }


@dataclass(frozen=True)
class Pair:
    """What a policy's action looks like where it is allowed and where it is forbidden.

    Of a permit, ``allows`` is a request that it permits and ``forbids`` one like it that is denied. Of a forbid,
    ``forbids`` is one that it denies and ``allows`` one like it that passes. ``None``: no request of that kind exists.
    """

    allows: Example | None
    forbids: Example | None

    def decides(self, policy: Policy) -> bool:
        """Whether there is any request at all that ``policy`` decides; one that never does has a word wrong."""
        own = self.allows if policy.reason.effect == "permit" else self.forbids
        return own is not None and policy.reason.id in own.reasons

    def differences(self) -> dict[str, tuple[Any, Any]]:
        """Where the two differ: name → (in the allowed one, in the forbidden one); ``None`` stands for absent."""
        if self.allows is None or self.forbids is None:
            return {}
        one, other = _parts(self.allows.request), _parts(self.forbids.request)
        names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
        return {name: (one.get(name), other.get(name)) for name in names}


def pairs(engine: Engine) -> dict[str, Pair]:
    """A pair for each policy of ``engine``, by the policy's id."""
    vocabulary = read_vocabulary(schema_text())
    tried = {name: _tried(engine, action, vocabulary) for name, action in vocabulary.actions.items()}
    return {
        policy.reason.id: _pair(policy, [tried[name] for name in _actions(policy, tried)]) for policy in engine.policies
    }


_Key = tuple[Any, ...]
"""A request flat: principal's and resource's type and id, then properties and circumstances in the schema's order."""

_IDENTITY = ("principal type", "resource type", "principal", "resource")


@dataclass(frozen=True)
class _World:
    """Every request of one action, decided. ``places`` says what stands where in a key: context or resource, name."""

    places: Sequence[tuple[str, str]]
    examples: Mapping[_Key, Example]


def _tried(engine: Engine, action: Action, vocabulary: Vocabulary) -> _World:
    spoken = [policy for policy in engine.policies if action.name in _actions(policy, vocabulary.actions)]
    requests = dict(islice(_requests(action, vocabulary, spoken), MOST))
    decided = engine.decide_each(list(requests.values()))
    properties = [each for kind in action.resources for each in vocabulary.entities[kind]]
    places = [("", name) for name in _IDENTITY]
    places += [("resource", each.name) for each in properties] + [("context", each.name) for each in action.context]
    return _World(
        places,
        {
            key: Example(request, decision.allowed, tuple(reason.id for reason in decision.reasons))
            for (key, request), decision in zip(requests.items(), decided, strict=True)
        },
    )


def _requests(action: Action, vocabulary: Vocabulary, policies: Sequence[Policy]) -> Iterator[tuple[_Key, Request]]:
    mentions = _Mentions(policies)
    circumstances = [mentions.values("context", attribute) for attribute in action.context]
    known = [(kind, each) for kind in action.resources for each in vocabulary.entities[kind]]
    for principal, resource in product(action.principals, action.resources):
        properties = [mentions.values("resource", each) if kind == resource else [_ABSENT] for kind, each in known]
        whos = mentions.ids(principal, _SOMEBODY)
        whats = mentions.ids(resource, _SOMETHING)
        for key in product(whos, whats, product(*properties), product(*circumstances)):
            who, what, had, given = key
            yield (
                (principal, resource, who, what, *had, *given),
                Request(
                    action.name,
                    principal,
                    who,
                    resource,
                    what,
                    {attribute.name: value for attribute, value in zip(action.context, given, strict=True)},
                    {each.name: value for (_, each), value in zip(known, had, strict=True) if value is not _ABSENT},
                ),
            )


class _Mentions:
    """What the conditions of some policies speak of: attributes, the words compared with them, entities by id."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._attributes: dict[tuple[str, str], list[str]] = {}
        self._ids: dict[str, list[str]] = {}
        for policy in policies:
            self._walk({name: part for name, part in policy.form.items() if name != "annotations"})

    def values(self, of: str, attribute: Attribute) -> list[Any]:
        """The values to try for an attribute of ``context`` or ``resource``: the first only, if nobody mentions it."""
        found: list[Any] = [False, True] if attribute.kind == "Bool" else [0]
        if attribute.kind == "String":
            free = [*self._attributes.get((of, attribute.name), []), "anything"]
            found = list(attribute.words) or list(dict.fromkeys(free))
        if not attribute.required:
            found = [_ABSENT, *found]
        return found if (of, attribute.name) in self._attributes else found[:1]

    def speak_of(self, of: str, name: str) -> bool:
        """Whether an attribute is mentioned."""
        return (of, name) in self._attributes

    def ids(self, kind: str, otherwise: str) -> list[str]:
        """An entity of ``kind`` that nobody names, and those that are named."""
        return [otherwise, *dict.fromkeys(self._ids.get(kind, []))]

    def _walk(self, form: Any) -> None:
        if isinstance(form, list):
            for each in form:
                self._walk(each)
        elif isinstance(form, dict):
            named = form.get("type"), form.get("id")
            if isinstance(named[0], str) and isinstance(named[1], str):
                self._ids.setdefault(named[0], []).append(named[1])
            for operator, part in form.items():
                if operator in (".", "has"):
                    self._attribute(part)
                elif isinstance(part, dict) and {"left", "right"} <= set(part):
                    self._comparison(part["left"], part["right"])
                self._walk(part)

    def _attribute(self, part: Any) -> list[str] | None:
        of = part.get("left", {}).get("Var") if isinstance(part, dict) else None
        return self._attributes.setdefault((of, part["attr"]), []) if of else None

    def _comparison(self, left: Any, right: Any) -> None:
        for one, other in ((left, right), (right, left)):
            if isinstance(one, dict) and "." in one and isinstance(other, dict) and "Value" in other:
                words = self._attribute(one["."])
                if words is not None and isinstance(other["Value"], str):
                    words.append(other["Value"])


def _pair(policy: Policy, worlds: Sequence[_World]) -> Pair:
    """The closest pair over the actions that ``policy`` covers."""
    found = [_closest(policy, world) for world in worlds]
    whole = [pair for pair in found if pair.allows and pair.forbids]
    return min(whole, key=lambda pair: len(pair.differences())) if whole else (found or [Pair(None, None)])[0]


def _closest(policy: Policy, world: _World) -> Pair:
    permits, name = policy.reason.effect == "permit", policy.reason.id
    decided = {key: each for key, each in world.examples.items() if each.allowed is permits and name in each.reasons}
    alone = {key: each for key, each in decided.items() if each.reasons == (name,)}
    others = {key: each for key, each in world.examples.items() if each.allowed is not permits}
    decided = alone or decided
    if decided and others:
        mentions = _Mentions([policy])
        order = sorted(range(len(world.places)), key=lambda at: not mentions.speak_of(*world.places[at]))
        own_key, other_key = _nearest(decided, others, order)
        own, other = decided[own_key], others[other_key]
        return Pair(own, other) if permits else Pair(other, own)
    one, two = next(iter(decided.values()), None), next(iter(others.values()), None)
    return Pair(one, two) if permits else Pair(two, one)


def _nearest(
    decided: Mapping[_Key, Example], others: Mapping[_Key, Example], order: Sequence[int]
) -> tuple[_Key, _Key]:
    """A key of either that differ in the fewest places, in the first of ``order`` if they can, the earliest found."""
    for distance in range(1, len(order) + 1):
        for places in combinations(order, distance):
            masked: dict[_Key, _Key] = {}
            for key in others:
                masked.setdefault(_mask(key, places), key)
            for key in decided:
                if (found := masked.get(_mask(key, places))) is not None:
                    return key, found
    raise AssertionError("any two keys differ in at most all places")


def _mask(key: _Key, places: Sequence[int]) -> _Key:
    return tuple(None if at in places else each for at, each in enumerate(key))


def _actions(policy: Policy, known: Mapping[str, object]) -> list[str]:
    """The actions that a policy covers, of those known."""
    named = [each["id"] for each in _entities(policy.form["action"])]
    return [name for name in known if not named or name in named]


def _entities(scope: Mapping[str, Any]) -> list[dict[str, str]]:
    return scope.get("entities") or ([scope["entity"]] if "entity" in scope else [])


def _parts(request: Request) -> dict[str, Any]:
    """Everything a request says, flat; values that differ in type differ."""
    context = {name: json.loads(json.dumps(value)) for name, value in request.context.items()}
    return {
        "principal": f'{request.principal_type}::"{request.principal_id}"',
        "resource": f'{request.resource_type}::"{request.resource_id}"',
        **{f"resource.{name}": value for name, value in request.resource.items()},
        **context,
    }
