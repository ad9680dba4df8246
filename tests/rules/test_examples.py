"""What each policy lets pass and stops: found from the schema, decided by the engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from duecare.cli.policies import policies as command
from duecare.errors import BadInput
from duecare.rules.engine import Engine
from duecare.rules.examples import pairs
from duecare.rules.policies import schema_text
from duecare.rules.vocabulary import read_vocabulary

from .test_engine import NO_NEWS, operator

ENGINE = Engine.load()
NAMES = [policy.reason.id for policy in ENGINE.policies]
FOUND = pairs(ENGINE)


@pytest.mark.parametrize("name", NAMES)
def test_every_policy_has_a_pair(name: str) -> None:
    """Asked anew, the engine allows the one and denies the other, and the policy itself decides one of the two."""
    pair = FOUND[name]
    assert pair.allows is not None
    assert pair.forbids is not None
    allowed, denied = ENGINE.decide(pair.allows.request), ENGINE.decide(pair.forbids.request)
    assert allowed.allowed
    assert not denied.allowed
    effect = next(policy.reason.effect for policy in ENGINE.policies if policy.reason.id == name)
    assert name in [reason.id for reason in (allowed if effect == "permit" else denied).reasons]


@pytest.mark.parametrize("name", NAMES)
def test_the_two_differ_in_one_thing(name: str) -> None:
    """Every holding so far turns on one circumstance at a time: the pair shows which."""
    assert len(FOUND[name].differences()) == 1


def test_what_a_pair_shows() -> None:
    """The pair of the holding's central policy is the same way in, agreed to and not."""
    differences = FOUND["guo_v_safari_park.unilateral_change"].differences()
    assert differences == {"agreed": (True, False)}


def test_an_operators_property_is_found(tmp_path: Path) -> None:
    """A policy about a property of the resource is shown with and without it."""
    pair = pairs(Engine.load(operator(tmp_path, NO_NEWS)))["mine.no_news"]
    assert pair.forbids is not None
    assert pair.forbids.request.resource == {"section": "news"}
    assert pair.differences() == {"resource.section": (None, "news")}


def test_a_policy_about_one_person_is_found(tmp_path: Path) -> None:
    """A policy that names a principal and a resource is shown for just these."""
    text = """@id("mine.not_this_gate") @en("Not at the east gate.")
    forbid (principal == Service::"gate-east", action == Action::"enter", resource == Method::"card_face");"""
    pair = pairs(Engine.load(operator(tmp_path, text)))["mine.not_this_gate"]
    assert pair.forbids is not None
    assert (pair.forbids.request.principal_id, pair.forbids.request.resource_id) == ("gate-east", "card_face")
    assert len(pair.differences()) == 1


def test_a_policy_that_forbids_everything_leaves_nothing(tmp_path: Path) -> None:
    """Where nothing can pass, no allowed request is made up."""
    text = '@id("mine.closed") @en("Closed.") forbid (principal, action == Action::"enter", resource);'
    pair = pairs(Engine.load(operator(tmp_path, text)))["mine.closed"]
    assert pair.allows is None
    assert pair.forbids is not None


def test_a_wrong_word_is_found_out(tmp_path: Path) -> None:
    """A policy whose word no request ever says decides nothing: the command says so and exits with 1."""
    text = """@id("mine.typo") @en("No disclosure.") forbid (principal, action == Action::"process", resource)
    when { context.activity == "disclosure" };"""
    folder = operator(tmp_path, text)
    printed = CliRunner().invoke(command, ["check", "--policies", str(folder), "--home", str(tmp_path / "home")])
    assert printed.exit_code == 1
    assert "No request is decided by mine.typo" in printed.stdout.replace("\n", " ")


def test_the_command_shows_both(tmp_path: Path) -> None:
    """JSON carries both requests of each policy and where they differ; a person sees them in words."""
    home = ["--home", str(tmp_path / "home")]
    rows = {row["id"]: row for row in json.loads(CliRunner().invoke(command, ["check", *home, "--json"]).stdout)}
    bundled = rows["guo_v_safari_park.bundled"]
    assert bundled["forbids"]["reasons"] == ["guo_v_safari_park.bundled"]
    assert bundled["allows"]["context"]["bundled"] is True
    assert bundled["differs"] == {"special": {"allowed": False, "forbidden": True}}
    shown = " ".join(CliRunner().invoke(command, ["check", *home], env={"COLUMNS": "300"}).stdout.split())
    assert "可以 enter: not biometric, agreed, not granted 不可以 同上, 但 not agreed" in shown


def test_the_vocabulary_is_the_schemas() -> None:
    """Every action of the schema is read with all its circumstances, and each text with its words."""
    read = read_vocabulary(schema_text())
    assert set(read.actions) == {"alert", "declare", "grant", "process", "keep", "offer", "enter"}
    assert [each.name for each in read.actions["enter"].context] == ["biometric", "agreed", "granted"]
    texts = [each for action in read.actions.values() for each in action.context if each.kind == "String"]
    assert texts
    assert all(each.words for each in texts)
    assert [each.required for each in read.entities["Change"]] == [False] * 4


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("type Name = String;", "type"),
        ("entity A = { b: Set };", "Set"),
        ("entity A", "its end"),
        ('action "a" appliesTo { principal: A };', "A"),
        ('action "a" in [b];', "in"),
    ],
)
def test_a_schema_that_is_not_understood_is_refused(text: str, at: str) -> None:
    """Syntax that the reader does not know is an error that names it, never passed over."""
    with pytest.raises(BadInput, match=at):
        read_vocabulary(text)
