"""The engine: fails closed, lets an operator forbid and never permit, and decides in bulk as one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from duecare.cli.policies import policies as command
from duecare.errors import BadInput, Forbidden
from duecare.rules.decision import NOT_PERMITTED
from duecare.rules.engine import Engine, Request
from duecare.rules.policies import PolicyFile

from .test_ant_v_langdong import ENGINE, EVENT, alert

NO_NEWS = """@id("mine.no_news")
@en("We do not alert on news.")
@remedy_en("Look at the news page.")
forbid (principal, action == Action::"alert", resource is Change)
when { resource has section && resource.section == "news" };
"""
NOT_THIS_ONE = """@id("mine.not_this_one") @en("Not this one.")
forbid (principal, action, resource == Change::"7");
"""


def operator(folder: Path, *texts: str) -> Path:
    for at, text in enumerate(texts):
        (folder / f"{at}.cedar").write_text(text, encoding="utf-8")
    return folder


def test_an_operator_forbids_more(tmp_path: Path) -> None:
    """An operator's forbid overrides what a holding permits, and gives its reason."""
    engine = Engine.load(operator(tmp_path, NO_NEWS))
    news = Request("alert", "Service", "radar", "Change", "1", EVENT, {"section": "news"})
    denied = engine.decide(news)
    assert not denied.allowed
    assert [reason.id for reason in denied.reasons] == ["mine.no_news"]
    assert denied.sentences("zh") == ("We do not alert on news. 何时可以: Look at the news page. [mine.no_news]",)
    with pytest.raises(Forbidden, match=r"mine\.no_news"):
        denied.require()
    assert engine.decide(Request("alert", "Service", "radar", "Change", "1", EVENT, {"section": "basic"})).allowed
    assert engine.decide(alert()).allowed


def test_an_operator_never_permits(tmp_path: Path) -> None:
    """A permit in the operator's folder is refused when it is loaded, by name."""
    permit = '@id("mine.all") @en("Everything.") permit (principal, action, resource);'
    with pytest.raises(BadInput, match=r"mine\.all permits\. An operator's policies can only forbid"):
        Engine.load(operator(tmp_path, NO_NEWS, permit))


NO_KEEP = """@id("mine.nokeep") @en("We keep nothing.")
forbid (principal, action == Action::"keep", resource is Purpose) when { context.ended || context.due };
"""
HELD = Request("keep", "Service", "retention", "Purpose", "news", {"due": True, "ended": True, "held": True})


@pytest.mark.parametrize(
    "text", [NO_KEEP, NO_KEEP.replace('== Action::"keep"', 'in [Action::"grant", Action::"keep"]').replace(
        "when { context.ended || context.due }", "")],
)  # fmt: skip
def test_an_operator_does_not_order_what_a_hold_keeps_to_be_destroyed(tmp_path: Path, text: str) -> None:
    """What may not be kept is destroyed: a policy that forbids keeping is refused when it is loaded."""
    with pytest.raises(BadInput, match=r"mine\.nokeep is about keep, which the holdings alone decide"):
        Engine.load(operator(tmp_path, text))


@pytest.mark.parametrize("scope", ["action, resource", "action, resource is Purpose"])
def test_an_operators_policy_about_everything_leaves_holds_alone(tmp_path: Path, scope: str) -> None:
    """A policy that names no action forbids all else, and what a legal hold keeps is kept by the holdings alone."""
    engine = Engine.load(operator(tmp_path, f'@id("mine.all") @en("Nothing.") forbid (principal, {scope});'))
    assert engine.decide(HELD).allowed
    assert [reason.id for reason in engine.decide(HELD).reasons] == ["guo_v_safari_park.legal_hold"]
    context = {"required": False, "proven": True, "special": False, "mixed": False, "basis": "consent"}
    declare = Request("declare", "Service", "consent", "Purpose", "news", context)
    both = engine.decide_each([HELD, declare, HELD])
    assert [each.allowed for each in both] == [True, False, True]
    assert [reason.id for reason in both[1].reasons] == ["mine.all"]


def test_a_forbid_overrides_any_permit() -> None:
    """Even among the holdings, a permit of everything opens nothing that a holding forbids."""
    everything = PolicyFile("all", '@id("all") @en("Everything.") permit (principal, action, resource);')
    engine = Engine([*{policy.file for policy in ENGINE.policies}, everything])
    assert not engine.decide(alert(kind="first_observation")).allowed
    assert engine.decide(alert()).allowed


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("forbid (principal, action", "is not Cedar"),
        ("forbid (principal, action, resource);", "without @id"),
        ('@id forbid (principal, action, resource);', "without @id"),
        ('@id("mine.a") forbid (principal, action, resource);', "does not say in words"),
        ('@id("mine.a") @en("A.") forbid (principal, action == Action::"push", resource);', "does not fit the schema"),
        ('@id("mine.a") @en("A.") forbid (principal, action == Action::"alert", resource) when { context.size > 1 };',
         "does not fit the schema"),
        ('@id("mine.a") @en("A.") forbid (principal == ?principal, action, resource);', "template"),
        ('@id("ant_v_langdong.late") @en("A.") forbid (principal, action, resource);', "Two policies are called"),
    ],
)  # fmt: skip
def test_wrong_policies_are_refused(tmp_path: Path, text: str, why: str) -> None:
    """A policy that does not parse, fit the schema, or say what it does is refused with its file's name."""
    with pytest.raises(BadInput, match=why) as caught:
        Engine.load(operator(tmp_path, text))
    assert "0.cedar" in str(caught.value)


@pytest.mark.parametrize("name", ["MINE.CEDAR", "mine.Cedar"])
def test_a_file_of_policies_is_read_however_its_suffix_is_written(name: str, tmp_path: Path) -> None:
    """A policy that was passed over would silently not hold."""
    (tmp_path / name).write_text(NO_NEWS, encoding="utf-8")
    news = Request("alert", "Service", "radar", "Change", "1", EVENT, {"section": "news"})
    assert not Engine.load(tmp_path).decide(news).allowed


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    """A folder of policies that is not there is an error: its policies would silently not hold."""
    with pytest.raises(BadInput, match="is not there"):
        Engine.load(tmp_path / "absent")


@pytest.mark.parametrize(
    "request_",
    [
        Request("alert", "Service", "radar", "Change", "1", {"kind": "event"}),
        Request("alert", "Service", "radar", "Change", "1", {**EVENT, "late": "no"}),
        Request("alert", "Service", "radar", "Change", "1", {**EVENT, "more": True}),
        Request("push", "Service", "radar", "Change", "1", EVENT),
        Request("alert", "Person", "radar", "Change", "1", EVENT),
        Request("alert", "Service", "radar", "Change", "1", EVENT, {"colour": "red"}),
        Request("alert", "Service", "radar", "Change", "1", EVENT, {"section": 7}),
    ],
)
def test_requests_that_do_not_fit_are_errors(request_: Request) -> None:
    """A request that lacks a circumstance, or has one too many or of the wrong type, is an error and no answer."""
    with pytest.raises(BadInput):
        ENGINE.decide(request_)
    with pytest.raises(BadInput):
        ENGINE.decide_each([alert(), request_])


def test_nothing_applies() -> None:
    """Where no policy applies, the denial says so."""
    decision = ENGINE.decide(alert(kind="something"))
    assert (decision.allowed, decision.reasons) == (False, (NOT_PERMITTED,))


def test_each_reason_is_that_of_its_policy(tmp_path: Path) -> None:
    """The reason given is the one of the policy that decided, whatever file it stands in."""
    engine = Engine.load(operator(tmp_path, NOT_THIS_ONE, NO_NEWS))
    request = Request("alert", "Service", "radar", "Change", "7", {**EVENT, "late": True}, {"section": "news"})
    names = [reason.id for reason in engine.decide(request).reasons]
    assert names == ["ant_v_langdong.late", "mine.not_this_one", "mine.no_news"]


def test_a_policy_about_one_resource_holds_in_bulk(tmp_path: Path) -> None:
    """Where a policy names one resource, those alike are not lumped together with it."""
    engine = Engine.load(operator(tmp_path, NOT_THIS_ONE))
    asked = [Request("alert", "Service", "radar", "Change", str(at), EVENT) for at in range(10)]
    assert [decision.allowed for decision in engine.decide_each(asked)] == [at != 7 for at in range(10)]


CIRCUMSTANCES = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["event", "first_observation", "lapse"]),
        "sensitive": st.booleans(),
        "late": st.booleans(),
        "moved": st.sampled_from(["source", "parser"]),
        "baseline": st.sampled_from(["within", "out_of_line"]),
        "verification": st.sampled_from(["none", "verified"]),
        "disputed": st.booleans(),
        "dated": st.booleans(),
    }
)
SECTIONS = st.one_of(st.just({}), st.fixed_dictionaries({"section": st.sampled_from(["news", "basic"])}))


@given(asked=st.lists(st.tuples(CIRCUMSTANCES, SECTIONS, st.integers(0, 9)), max_size=12))
def test_bulk_decides_as_one_by_one(tmp_path_factory: pytest.TempPathFactory, asked: list[Any]) -> None:
    """Deciding many at once gives what deciding each would."""
    engine = ENGINES.setdefault(0, Engine.load(operator(tmp_path_factory.mktemp("own"), NO_NEWS, NOT_THIS_ONE)))
    requests = [
        Request("alert", "Service", "radar", "Change", str(number), context, section)
        for context, section, number in asked
    ]
    assert engine.decide_each(requests) == [engine.decide(request) for request in requests]


ENGINES: dict[int, Engine] = {}


def test_the_command_lists_every_policy(tmp_path: Path) -> None:
    """``duecare policies check`` shows each policy with its sentence, and marks the operator's own."""
    own = tmp_path / "own"
    own.mkdir()
    home = ["--home", str(tmp_path / "home"), "--policies", str(operator(own, NO_NEWS))]
    printed = CliRunner().invoke(command, ["check", *home, "--json"])
    assert printed.exit_code == 0
    rows = json.loads(printed.stdout)
    assert [row["id"] for row in rows] == [policy.reason.id for policy in ENGINE.policies] + ["mine.no_news"]
    assert [row["operator"] for row in rows] == [False] * len(ENGINE.policies) + [True]
    assert all(row["zh"] and row["en"] and row["effect"] in ("permit", "forbid") for row in rows)
    shown = CliRunner().invoke(command, ["check", *home])
    assert "首次收录的信息何时发生无从得知" in shown.stdout.replace("\n", "")
    assert not (tmp_path / "home").exists()


def test_the_documented_example_loads(tmp_path: Path) -> None:
    """The policy that the documentation shows is one that the engine takes."""
    page = Path(__file__).parents[2] / "docs" / "explanation" / "rules.md"
    lines = [line[4:] for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("    ")]
    engine = Engine.load(operator(tmp_path, "\n".join(lines)))
    assert [policy.reason.id for policy in engine.policies if policy.file.operator] == ["mine.no_news"]
