"""The holding of case 7 as policy, with what case 2 adds: which purposes may be declared."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from duecare.rules.decision import NOT_PERMITTED, Decision
from duecare.rules.engine import Engine, Request

ENGINE = Engine.load()
BASES = ("consent", "contract", "statutory", "vital", "public", "lawful_disclosure")
PLAIN: dict[str, Any] = {"required": False, "proven": False, "special": False, "mixed": False, "basis": "consent"}


def declare(**circumstances: Any) -> Request:
    return Request("declare", "Service", "consent", "Purpose", "profile", {**PLAIN, **circumstances})


def decide(**circumstances: Any) -> Decision:
    return ENGINE.decide(declare(**circumstances))


ALLOWED = [
    {},
    {"required": True, "proven": True},
    {"special": True, "proven": True},
    {"special": True, "required": True, "proven": True},
    *({"basis": basis} for basis in BASES),
]
FORBIDDEN = [
    ("wang_v_tencent.necessity", {"required": True}),
    ("wang_v_tencent.necessity", {"required": True, "basis": "contract"}),
    ("guo_v_safari_park.sensitive_necessity", {"special": True}),
    ("guo_v_safari_park.sensitive_necessity", {"special": True, "basis": "statutory"}),
    ("guo_v_safari_park.mixed", {"special": True, "proven": True, "mixed": True}),
    ("guo_v_safari_park.sensitive_by_contract", {"special": True, "proven": True, "basis": "contract"}),
]


@pytest.mark.parametrize("circumstances", ALLOWED)
def test_allowed(circumstances: dict[str, Any]) -> None:
    """What the holding leaves free is allowed, by the policy that says so."""
    decision = decide(**circumstances)
    assert decision.allowed
    assert [reason.id for reason in decision.reasons] == ["wang_v_tencent.declare"]


@pytest.mark.parametrize(("policy", "circumstances"), FORBIDDEN)
def test_forbidden(policy: str, circumstances: dict[str, Any]) -> None:
    """What the holding rules out is denied by the one policy that concerns it, which says what would allow it."""
    decision = decide(**circumstances)
    assert not decision.allowed
    assert [reason.id for reason in decision.reasons] == [policy]
    reason = decision.reasons[0]
    assert all((reason.case, reason.article, reason.zh, reason.en, reason.remedy_zh, reason.remedy_en))


def test_every_policy_is_exercised() -> None:
    """The two tables above leave out no policy on what may be declared."""
    tried = {"wang_v_tencent.declare"} | {policy for policy, _ in FORBIDDEN}
    ours = {policy.reason.id for policy in ENGINE.policies if '"declare"' in str(policy.form).replace("'", '"')}
    assert tried == ours
    assert {policy.reason.id for policy in ENGINE.policies if policy.reason.case == "(2020) 粤0305民初825"} <= tried


def test_region_and_sex_of_2020() -> None:
    """The permission page's own demand, region and sex that cannot be unticked and need not be, is denied."""
    decision = decide(required=True, proven=False)
    assert not decision.allowed
    assert "改善服务不是理由" in decision.sentences("zh")[0]
    assert decide(required=False).allowed


def test_every_combination() -> None:
    """In all 96 circumstances there can be, the policies decide as the holding reads."""
    given = [
        {"required": required, "proven": proven, "special": special, "mixed": mixed, "basis": basis}
        for required, proven, special, mixed, basis in product(*[(True, False)] * 4, BASES)
    ]
    assert len(given) == 96
    decisions = ENGINE.decide_each([declare(**each) for each in given])
    needs_proof = [each["required"] or each["special"] for each in given]
    bundled = [each["special"] and (each["mixed"] or each["basis"] == "contract") for each in given]
    assert [decision.allowed for decision in decisions] == [
        (each["proven"] or not needs) and not wrong
        for each, needs, wrong in zip(given, needs_proof, bundled, strict=True)
    ]


def test_unknown_words_are_denied() -> None:
    """A basis that the law does not name never opens the door."""
    decision = decide(basis="legitimate_interest", proven=True)
    assert (decision.allowed, decision.reasons) == (False, (NOT_PERMITTED,))
