"""The words of an alert: what is said, and what must never be."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from owed import LEXICON, LIQUIDATION, NOW, passed

from duecare.radar.models import Alert
from duecare.radar.reader import Reader
from duecare.radar.told import Told
from duecare.radar.wording import SHORT, letter, render, row
from duecare.registers.adapter import adapters
from duecare.registers.field_words import field_word
from duecare.registers.sections import CATALOGUE

ZH = Reader("zh", ZoneInfo("Asia/Shanghai"))
EN = Reader("en", ZoneInfo("Europe/London"))
BOTH = pytest.mark.parametrize("reader", [ZH, EN], ids=["zh", "en"])


def made(entity: str = "A", **given: Any) -> Alert:
    """An alert as raised from a screening that passed."""
    columns = {column.key for column in Alert.__mapper__.column_attrs}
    screened = {name: value for name, value in passed(entity, **given).items() if name in columns}
    return Alert(**{"id": 1, "address": "", "created_at": NOW, **screened, "state": "sent"})


@BOTH
def test_every_form_says_date_window_source_snapshot_and_verification(reader: Reader) -> None:
    """Text, HTML, SMS, Markdown and JSON each carry what the court asked for."""
    told = letter(made(**LIQUIDATION), reader, LEXICON)
    one = row(made(**LIQUIDATION), reader, LEXICON)
    for form in (told.text, told.html, told.short, told.markdown):
        for part in (one.dated, one.window, one.source, one.verification):
            assert part in form
    for form in (told.text, told.html, told.markdown):
        assert one.snapshot_link in form
    assert told.data["data"]["effective_on"] is None
    assert told.data["data"]["not_after"] == (NOW - timedelta(hours=10)).isoformat()


STEERS = "".join(map(chr, (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))))
BREAKS = "\r\n\x00\x1b\x85\x9b\u2028\u2029"


@BOTH
def test_what_a_register_says_steers_no_line(reader: Reader) -> None:
    """Characters that turn a line round or break it, in any value, are in no form; programs get the value as read."""
    clean = {"name": "A", "before": {"address": "旧 街"}, "after": {"address": "新街"}}
    planted = {
        "name": f"A{STEERS}",
        "before": {"address": f"旧{STEERS}{BREAKS}街"},
        "after": {"address": f"{STEERS}新街"},
    }
    told, said = letter(made(**clean), reader, LEXICON), letter(made(**planted), reader, LEXICON)
    assert (said.subject, said.text, said.html, said.short, said.markdown) == (
        told.subject, told.text, told.html, told.short, told.markdown,
    )  # fmt: skip
    assert not set(STEERS) & set(said.subject + said.text + said.html + said.short + said.markdown)
    assert said.data["data"]["before"] == planted["before"]


@BOTH
def test_a_value_from_right_to_left_keeps_its_place(reader: Reader) -> None:
    """Hebrew and Arabic letters stay; on a page each value stands apart, so that before and after do not change
    places, and plain text has no character that is not seen."""
    said = {"name": "שלום בעמ", "before": {"address": "רחוב הרצל"}, "after": {"address": "شارع"}}
    alert = made(**said)
    told = letter(alert, reader, LEXICON)
    assert "<bdi>רחוב הרצל</bdi> → <bdi>شارع</bdi>" in told.html
    assert "<bdi>שלום בעמ</bdi>" in told.html
    for form in (told.text, told.markdown, told.data["data"]["content"][0]):
        assert "רחוב הרצל → شارع" in form
    assert not set(STEERS) & set(told.subject + told.text + told.html + told.short + told.markdown)
    correction = made(**said, corrects_id=1, wording={"zh": "误", "en": "wrong"})
    taken_back = letter(correction, reader, LEXICON, Told(alert, NOW))
    assert "<bdi>רחוב הרצל</bdi> → <bdi>شارع</bdi>" in taken_back.html
    assert not set(STEERS) & set(taken_back.text + taken_back.html + taken_back.short + taken_back.markdown)


@BOTH
@pytest.mark.parametrize("kind", ["event", "lapse", "correction"])
def test_what_is_undated_never_reads_as_today(reader: Reader, kind: str) -> None:
    """Without a date from the register there is no 今天, no today, and no day that could be taken for the fact's."""
    told = letter(made(kind=kind, **LIQUIDATION), reader, LEXICON)
    for form in (told.subject, told.text, told.html, told.short, told.markdown):
        assert "今天" not in form
        assert "today" not in form.lower()
    assert "2019" not in told.subject
    assert ("日期不详" if reader is ZH else "not known") in told.text


@BOTH
def test_a_lapse_is_no_more_than_no_longer_shown(reader: Reader) -> None:
    """An absence is not a resignation: the words for leaving, resigning and paying do not occur."""
    gone = made(
        section="personnel",
        kind="lapse",
        key="李某",
        before={"name": "李某", "post": "董事"},
        after=None,
        effective_on=None,
    )
    told = letter(gone, reader, LEXICON)
    assert ("来源不再展示" if reader is ZH else "no longer shown by the source") in told.text
    assert (
        "2019-05-05 22:30 查看起不再展示" if reader is ZH else "not shown since our look of 2019-05-05 15:30"
    ) in told.text
    for word in ("离职", "辞职", "卸任", "退出", "已还", "left", "resigned", "paid"):
        assert word not in told.text.lower()


def test_only_the_fields_that_differ_are_told_of_a_change() -> None:
    """Before and after of what changed, empty ones in words, and which entry where there are several."""
    one = row(
        made(before={"address": "旧街", "status": "存续"}, after={"address": None, "status": "存续"}), ZH, LEXICON
    )
    assert one.content == ("住所：旧街 → （空）",)
    share = made(
        section="shareholders",
        key="某甲",
        before={"name": "某甲", "subscribed": "80 万元"},
        after={"name": "某甲", "subscribed": "90 万元"},
    )
    assert row(share, ZH, LEXICON).content == ("股东名称 某甲", "认缴出资额：80 万元 → 90 万元")


@pytest.mark.parametrize(
    ("was", "now", "kind", "zh", "en"),
    [
        ("2002-05-30", "2019-05-04", "event", "2019-05-04（核准日期）", "2019-05-04 (approved by the register)"),
        ("2019-05-04", "2019-05-04", "event", "日期不详（来源未给出这次变更的日期）", "no date of this change"),
        ("2019-05-04", "2002-05-30", "event", "日期不详（来源未给出这次变更的日期）", "no date of this change"),
        ("2002-05-30", "2099-01-01", "event", "日期不详（来源未给出这次变更的日期）", "no date of this change"),
        ("2002-05-30", "", "event", "日期不详（来源未给出这次变更的日期）", "no date of this change"),
        ("2002-05-30", "2019-05-04", "correction", "日期不详（来源未给出这次变更的日期）", "no date of this change"),
    ],
)
def test_the_day_of_approval_dates_the_change_that_moved_it(was: str, now: str, kind: str, zh: str, en: str) -> None:
    """核准日期 is the register's date of the change that moved it, and is said to be that; else it dates nothing."""
    alert = made(
        kind=kind,
        effective_on=None,
        before={"address": "旧街", "approved_on": was},
        after={"address": "新街", "approved_on": now},
    )
    assert row(alert, ZH, LEXICON).dated == zh
    assert en in row(alert, EN, LEXICON).dated
    dated = zh.startswith("2019")
    assert letter(alert, ZH, LEXICON).data["data"]["effective_on"] == (now if dated else None)
    other = made(
        section="licences", key="1", effective_on=None, before={"approved_on": was}, after={"approved_on": now}
    )
    assert row(other, ZH, LEXICON).dated.startswith("日期不详")


def test_a_file_that_names_a_day_gives_no_hour() -> None:
    """Midnight UTC stands for a day; it is not shown as eight in the morning."""
    one = made(not_before=datetime(2025, 2, 27, tzinfo=UTC), not_after=datetime(2025, 2, 28, tzinfo=UTC))
    assert row(one, ZH, LEXICON).window == "2025-02-27 至 2025-02-28"


def test_never_read_before_is_said_so() -> None:
    """Without an earlier read there is no window to name."""
    assert row(made(not_before=None), ZH, LEXICON).window == "此前未读取过，2019-05-05 22:30 首次看到（北京时间）"


@BOTH
def test_a_correction_says_what_was_told_and_why_it_was_wrong(reader: Reader) -> None:
    """It quotes the wrong alert, names the reason, and counts as no news of the company."""
    wrong = made(**LIQUIDATION)
    right = made(**LIQUIDATION, corrects_id=1, wording={"zh": "早已登记。", "en": "It was years old."})
    told = letter(right, reader, LEXICON, Told(wrong, NOW, (5, NOW)))
    for part in (("我们曾于 2019-05-06 08:30", "成员甲", "早已登记。") if reader is ZH else
                 ("We told you on 2019-05-06 01:30", "成员甲", "It was years old.")):  # fmt: skip
        assert part in told.text
        assert part in told.html
        assert part in told.markdown
        assert part in told.short
    assert told.subject.startswith("【监控动态】更正：" if reader is ZH else "[Watch] Correction:")
    assert told.data["type"] == "alert.corrected"
    assert told.data["data"]["kind"] == "retraction"
    assert told.data["data"]["verification"] is None


@BOTH
def test_what_no_reader_takes_is_shown_by_its_beginning(reader: Reader) -> None:
    """A value of a million characters is cut in every letter, and it is said how long it is and where the whole is."""
    long = "啊" * 1_500_000
    before, after = {"address": long, "scope": "x"}, {"address": long + "!", "scope": "x"}
    for alert in (
        made(before=before, after=after, name=long),
        made(before=None, after=after),
        made(after=None, before=before),
    ):
        told = letter(alert, reader, LEXICON)
        for form in (told.text, told.html, told.markdown, told.short):
            assert len(form) < 20_000
        assert (
            "，余略；全文见官网快照" if reader is ZH else "characters in all; the snapshot has it whole"
        ) in told.text
        assert "1,500,00" in told.html
        assert json.loads(json.dumps(told.data))["data"]["after"] == (alert.after and json.loads(alert.after))


@BOTH
def test_who_verified_is_named_by_its_title(reader: Reader) -> None:
    """Another source that says the same is named as readers know it, and is no page of the alert's own."""
    told = letter(made(address="register", **{**LIQUIDATION, "verification": "verified"}), reader, LEXICON)
    title = "国家企业信用信息公示系统" if reader is ZH else "National register"
    assert (f"已核实（{title}）" if reader is ZH else f"verified against the source ({title})") in told.text


def test_a_registers_words_become_neither_markup_nor_headers() -> None:
    """A name is text: no tag in HTML, no link in Markdown, no line of its own in a subject."""
    told = letter(
        made(name="<b>x</b>\r\nBcc: all@example.org", after={"address": "[去](http://evil)"}, before=None), ZH, LEXICON
    )
    assert "<b>x</b>" not in told.html
    assert "\n" not in told.subject
    assert "\r" not in told.subject
    assert "[去](" not in told.markdown


def test_a_mail_of_a_hundred_companies_is_shown_whole() -> None:
    """Gmail cuts what is over 102 KB of HTML: how a letter looks is said once, not in every row."""
    rows = [row(made(f"9144030075C0GNE{n:03}", **LIQUIDATION), ZH, LEXICON) for n in range(100)]
    html = render("html", ZH, headline="今天共 100 家企业发生了 100 条变更", counts=[], note="", rows=rows)
    assert html.count("日期不详") == 100
    assert len(html.encode()) < 102_000


def test_without_a_public_address_the_snapshot_is_named_by_its_hash() -> None:
    """No link is made up."""
    told = letter(made(), ZH, replace(LEXICON, public_url=""))
    assert f"sha256 {made().snapshot}" in told.text
    assert "href" not in told.html


def test_every_field_of_every_source_has_a_word() -> None:
    """No reader meets a column's name of ours in Chinese, nor Chinese in English, whichever source says it."""
    sections = [*CATALOGUE.values(), *(section for adapter in adapters().values() for section in adapter.sections)]
    fields = {(section.name, name) for section in sections for name in section.fields}
    assert {each for each in fields if field_word(*each, "zh").isascii()} == set()
    assert {each for each in fields if not field_word(*each, "en").isascii()} == set()
    assert {each for each in fields if "_" in field_word(*each, "en")} == set()


@given(
    before=st.none() | st.dictionaries(st.text(min_size=1), st.none() | st.text(), max_size=4),
    after=st.none() | st.dictionaries(st.text(min_size=1), st.none() | st.text(), max_size=4),
    kind=st.sampled_from(["event", "first_observation", "correction", "lapse"]),
    effective_on=st.none() | st.dates(date(1980, 1, 1)),
    not_before=st.none() | st.just(NOW - timedelta(days=3)),
    verification=st.sampled_from(["none", "verified", "contradicted", "unavailable"]),
)
def test_whatever_a_source_says_can_be_worded(**given: Any) -> None:
    """Any fields, any kind, in both languages: a letter comes out, and its JSON is JSON."""
    for reader in (ZH, EN):
        told = letter(made(section="unheard_of", **given), reader, LEXICON)
        assert json.loads(json.dumps(told.data))["data"]["after"] == given["after"]


@BOTH
def test_an_sms_is_short_and_says_what_it_is(reader: Reader) -> None:
    """Whatever the register writes, an SMS has at most 500 characters, and still says that it was wrong and why."""
    scope = "批发零售" * 400
    wrong = made(name="某" * 300, before={"scope": "无"}, after={"scope": scope})
    assert len(letter(wrong, reader, LEXICON).short) <= SHORT
    taken_back = retraction(wrong)
    said = letter(taken_back, reader, LEXICON, Told(wrong, NOW, (1, NOW)))
    assert len(said.short) <= SHORT
    for part in reader.say("【更正】 该通知有误 登记机关来函", "[Correction] wrong registrar").split():
        assert part in said.short


@BOTH
def test_a_correction_repeats_no_warning(reader: Reader) -> None:
    """It says what was told and why that was wrong; no risk level, date and window that could be read as news."""
    wrong = made(**LIQUIDATION)
    said = letter(retraction(wrong), reader, LEXICON, Told(wrong, NOW, (1, NOW)))
    told = row(wrong, reader, LEXICON)
    for form in (said.text, said.html, said.markdown, said.short):
        for part in (told.window, told.dated, reader.say("警示信息", "· warning"), reader.say("观测区间", "Observed")):
            assert part not in form


def retraction(wrong: Alert) -> Alert:
    """The alert that takes ``wrong`` back."""
    columns = {column.key for column in Alert.__mapper__.column_attrs}
    kept = {name: getattr(wrong, name) for name in columns}
    why = {"zh": "登记机关来函确认系误记", "en": "The registrar confirmed the mistake"}
    return Alert(**{**kept, "id": -wrong.id, "corrects_id": wrong.id, "kind": "correction", "wording": why})
