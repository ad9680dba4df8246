"""Settings: what is wrong with one is said in words, with what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

import duecare
from duecare.errors import BadInput, UnknownName
from duecare.settings import _SHAPES, Settings, load


@pytest.mark.parametrize(
    ("name", "value", "said", "right"),
    [
        ("threads", "many", "Setting threads is 'many'.", "a whole number, at least 0"),
        ("threads", "-1", "Setting threads is '-1'.", "a whole number, at least 0"),
        ("lapse_floor", "2", "Setting lapse_floor is '2'.", "a number, at least 0 and at most 1"),
        ("baseline_tail", "0", "Setting baseline_tail is '0'.", "a number, more than 0 and less than 1"),
        ("language", "fr", "Setting language is 'fr'.", "zh or en"),
        ("sites", "x", "Setting sites is 'x'.", "a table of texts, such as {"),
        ("sites", '["a"]', "Setting sites is ['a'].", "a table of texts, such as {"),
        ("sites", '{"a": 5}', "Setting sites.a is 5.", "a text"),
        ("storage_places", '["CN", 5]', "Setting storage_places.1 is 5.", "a text"),
        ("witnesses", '[{"url": "x"}]', "Setting witnesses.0.key is missing.", "a list, such as [{"),
        ("witnesses", '[{"url": "x", "key": "k", "z": 1}]', "There is no z in the setting witnesses.", "a list, such"),
    ],
)
def test_a_bad_setting_is_named_with_what_would_be_right(
    name: str, value: str, said: str, right: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the setting, what was given, what would be right, and where to put it."""
    monkeypatch.setenv(f"DUECARE_{name.upper()}", value)
    with pytest.raises(BadInput) as refused:
        load(home=tmp_path)
    assert refused.value.message == said
    assert refused.value.hint.startswith(f"Give {right}")
    assert f"in DUECARE_{name.upper()}. {name}: " in refused.value.hint
    assert "nput" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("threads = 'many'", "Setting threads is 'many'. Give a whole number, at least 0 in HOME/settings.toml."),
        ("thread = 2", "Did you mean threads"),
        ("threads = ", "HOME/settings.toml is not TOML"),
    ],
)
def test_a_bad_file_of_settings_is_named(text: str, says: str, tmp_path: Path) -> None:
    """What is wrong in ``settings.toml`` is said with its path."""
    (tmp_path / "settings.toml").write_text(text)
    with pytest.raises((BadInput, UnknownName)) as refused:
        load(home=tmp_path)
    assert says.replace("HOME", str(tmp_path)) in str(refused.value)


def test_a_notebook_is_warned_of_a_misspelt_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a home in Python hears of a variable that is not read."""
    monkeypatch.setenv("DUECARE_MEMORY", "1GB")
    with pytest.warns(UserWarning, match=r"DUECARE_MEMORY is no setting .* Did you mean DUECARE_MEMORY_LIMIT\?"):
        duecare.open(tmp_path)


def test_every_kind_of_setting_has_words() -> None:
    """A new setting of a new kind needs words for what would be right."""
    assert {name for name, field in Settings.model_fields.items() if field.annotation not in _SHAPES} == set()
