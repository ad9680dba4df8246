"""The holding of case 1 as policy: what each policy allows and forbids."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from duecare.rules.decision import Decision
from duecare.rules.engine import Engine, Request

ENGINE = Engine.load()
EVENT: dict[str, Any] = {
    "kind": "event",
    "sensitive": False,
    "late": False,
    "moved": "source",
    "baseline": "within",
    "verification": "none",
    "disputed": False,
    "dated": True,
}


def alert(**circumstances: Any) -> Request:
    return Request("alert", "Service", "radar", "Change", "1", {**EVENT, **circumstances})


def decide(**circumstances: Any) -> Decision:
    return ENGINE.decide(alert(**circumstances))


ALLOWED = [
    ("event", {}),
    ("event", {"dated": False}),
    ("event", {"baseline": "released"}),
    ("event", {"verification": "unavailable"}),
    ("event", {"sensitive": True, "verification": "verified"}),
    ("lapse", {"kind": "lapse", "dated": False}),
    ("lapse", {"kind": "lapse", "sensitive": True, "verification": "verified"}),
    ("correction", {"kind": "correction"}),
    ("correction", {"kind": "correction", "sensitive": True, "verification": "verified"}),
]
FORBIDDEN = [
    ("first_observation", {"kind": "first_observation"}),
    ("first_observation", {"kind": "first_observation", "sensitive": True, "verification": "verified"}),
    ("first_observation", {"kind": "first_observation", "baseline": "released"}),
    ("moved", {"moved": "parser"}),
    ("moved", {"moved": "scope"}),
    ("moved", {"moved": "parser", "kind": "lapse"}),
    ("late", {"late": True}),
    ("out_of_line", {"baseline": "out_of_line"}),
    ("rejected", {"baseline": "rejected"}),
    ("rejected", {"baseline": "rejected", "sensitive": True, "verification": "verified"}),
    ("unverified", {"sensitive": True}),
    ("unverified", {"sensitive": True, "verification": "unavailable"}),
    ("unverified", {"sensitive": True, "kind": "lapse"}),
    ("unverified", {"sensitive": True, "kind": "correction"}),
    ("contradicted", {"sensitive": True, "verification": "contradicted"}),
    ("contradicted", {"verification": "contradicted"}),
    ("disputed", {"disputed": True}),
    ("disputed", {"disputed": True, "sensitive": True, "verification": "verified"}),
]


@pytest.mark.parametrize(("policy", "circumstances"), ALLOWED)
def test_allowed(policy: str, circumstances: dict[str, Any]) -> None:
    """What the holding leaves free is allowed, by the policy that says so."""
    decision = decide(**circumstances)
    assert decision.allowed
    assert [reason.id for reason in decision.reasons] == [f"ant_v_langdong.{policy}"]


@pytest.mark.parametrize(("policy", "circumstances"), FORBIDDEN)
def test_forbidden(policy: str, circumstances: dict[str, Any]) -> None:
    """What the holding rules out is denied by the one policy that concerns it, which says what would allow it."""
    decision = decide(**circumstances)
    assert not decision.allowed
    assert [reason.id for reason in decision.reasons] == [f"ant_v_langdong.{policy}"]
    reason = decision.reasons[0]
    assert all((reason.case, reason.article, reason.zh, reason.en, reason.remedy_zh, reason.remedy_en))


def test_every_policy_is_exercised() -> None:
    """The two tables above leave out no policy of the case."""
    tried = {f"ant_v_langdong.{policy}" for policy, _ in ALLOWED + FORBIDDEN}
    ours = (policy.reason.id for policy in ENGINE.policies)
    assert tried == {name for name in ours if name.startswith("ant_v_langdong.")}


def test_the_false_wave_of_may_2019() -> None:
    """The judgment's own push is denied four times over: first seen, by a new parser, out of line, unverified."""
    decision = decide(kind="first_observation", moved="parser", baseline="out_of_line", sensitive=True, dated=False)
    names = [reason.id.removeprefix("ant_v_langdong.") for reason in decision.reasons]
    assert names == ["first_observation", "moved", "out_of_line", "unverified"]


def reading_of_the_holding(given: dict[str, Any]) -> bool:
    """The holding once more, in Python, for comparison."""
    return (
        given["kind"] != "first_observation"
        and given["moved"] == "source"
        and given["baseline"] in ("within", "released")
        and not given["late"]
        and not given["disputed"]
        and given["verification"] != "contradicted"
        and (not given["sensitive"] or given["verification"] == "verified")
    )


def test_every_combination() -> None:
    """In all 3,072 circumstances there can be, the policies decide as the holding reads."""
    values: dict[str, tuple[Any, ...]] = {
        "kind": ("event", "first_observation", "correction", "lapse"),
        "moved": ("source", "parser", "scope"),
        "baseline": ("within", "out_of_line", "released", "rejected"),
        "verification": ("none", "verified", "contradicted", "unavailable"),
    } | dict.fromkeys(("sensitive", "late", "disputed", "dated"), (True, False))
    given = [dict(zip(values, combination, strict=True)) for combination in product(*values.values())]
    decisions = ENGINE.decide_each([alert(**each) for each in given])
    assert len(given) == 3072
    assert [decision.allowed for decision in decisions] == [reading_of_the_holding(each) for each in given]
    assert all(decision.reasons for decision in decisions)


@pytest.mark.parametrize("name", ["kind", "moved", "baseline"])
def test_unknown_words_are_denied(name: str) -> None:
    """A word that the holding does not know never opens the door."""
    assert not decide(**{name: "anything"}).allowed
    assert not decide(sensitive=True, verification="anything").allowed
