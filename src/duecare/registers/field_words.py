"""What the fields of the sources' sections are called for a reader, in Chinese and English, and how much is shown.

The rule of this module: a word here is the register's own word over that column, so that a reader finds it there; what
is shown of a value is the register's own too, and where it is not all, that is said.
"""

from __future__ import annotations

import re

SHOWN = 2000
"""Characters of one value that are shown: more than a scope of business has, and little enough for a mail."""

_TURNS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")

_WORDS: dict[str, tuple[str, str]] = {
    "action": ("处理结果", "action"),
    "action_on": ("处理日期", "acted on"),
    "added_on": ("纳入日期", "added on"),
    "address": ("地址", "address"),
    "after": ("变更后", "after"),
    "aliases": ("别名", "aliases"),
    "amount": ("数额", "amount"),
    "applicant": ("申请人", "applicant"),
    "approved_on": ("核准日期", "approved on"),
    "authority": ("机关", "authority"),
    "before": ("变更前", "before"),
    "capital": ("认缴出资总额", "capital"),
    "care_of": ("转交人", "care of"),
    "case_number": ("案号", "case number"),
    "category": ("类别", "category"),
    "cause": ("案由", "cause"),
    "cik": ("CIK 编号", "CIK"),
    "city": ("城市", "city"),
    "class": ("类别", "class"),
    "code": ("统一社会信用代码", "code"),
    "corroboration": ("核实程度", "corroboration"),
    "country": ("国家或地区", "country"),
    "country_of_origin": ("原属国", "country of origin"),
    "court": ("法院", "court"),
    "date": ("日期", "date"),
    "description": ("说明", "description"),
    "director": ("董事", "director"),
    "dissolved_on": ("解散日期", "dissolved on"),
    "district": ("联储辖区", "Federal Reserve district"),
    "document": ("文号", "document number"),
    "duty": ("义务", "duty"),
    "end_reason": ("终止原因", "reason for the end"),
    "ended_on": ("终止日期", "ended on"),
    "ends_on": ("截止日期", "until"),
    "established_on": ("成立日期", "established on"),
    "excerpt": ("摘要", "excerpt"),
    "exchange": ("交易所", "exchange"),
    "founded": ("成立年份", "founded"),
    "from": ("有效期自", "from"),
    "full": ("完整地址", "full address"),
    "headquarters": ("总部所在地", "headquarters"),
    "industry": ("细分行业", "industry"),
    "insurance": ("存款保险", "deposit insurance"),
    "item": ("变更事项", "item"),
    "jurisdiction": ("法域", "jurisdiction"),
    "kind": ("类型", "kind"),
    "language": ("语言", "language"),
    "last_made_up_to": ("上期截止日", "last made up to"),
    "legal_form": ("法律形式", "legal form"),
    "legal_representative": ("法定代表人", "legal representative"),
    "lei": ("全球法人识别编码", "LEI"),
    "lines": ("街道地址", "address lines"),
    "link": ("链接", "link"),
    "listed_by": ("列入机关", "listed by"),
    "listed_on": ("列入日期", "listed on"),
    "managing_lou": ("发码机构", "managing LOU"),
    "method": ("出资方式", "method"),
    "name": ("名称", "name"),
    "names": ("名称", "names"),
    "next_due_on": ("下期截止日", "next due on"),
    "number": ("编号", "number"),
    "opened_on": ("开户日期", "opened on"),
    "outstanding": ("未清偿", "outstanding"),
    "owner": ("所有人", "owner"),
    "paid_in": ("实缴出资额", "paid in"),
    "parties": ("当事人", "parties"),
    "partly_satisfied": ("部分清偿", "partly satisfied"),
    "percentage": ("持股比例", "percentage"),
    "performance": ("履行情况", "performance"),
    "period": ("公告期", "period"),
    "person": ("被执行人", "person"),
    "phone": ("联系电话", "phone"),
    "pledgee": ("质权人", "pledgee"),
    "pledgor": ("出质人", "pledgor"),
    "po_box": ("邮政信箱", "PO box"),
    "post": ("职务", "post"),
    "post_box": ("邮政信箱", "post box"),
    "postcode": ("邮政编码", "postcode"),
    "program": ("制裁项目", "programme"),
    "provisions": ("制裁措施", "provisions"),
    "published_at": ("发布时间", "published at"),
    "published_on": ("发布日期", "published on"),
    "publisher": ("发布者", "publisher"),
    "rating": ("评级", "rating"),
    "reason": ("原因", "reason"),
    "reference_day": ("会计基准日", "accounting reference day"),
    "region": ("省或州", "region"),
    "registered_capital": ("注册资本", "registered capital"),
    "registered_on": ("登记日期", "registered on"),
    "registration_number": ("注册号", "registration number"),
    "removed_by": ("移出机关", "removed by"),
    "removed_on": ("移出日期", "removed on"),
    "renewal_on": ("下次续期日", "renewal due on"),
    "result": ("结果", "result"),
    "role": ("身份", "role"),
    "route": ("签证类别", "route"),
    "satisfied": ("已清偿", "satisfied"),
    "scope": ("范围", "scope"),
    "seat": ("注册地", "seat"),
    "sector": ("行业", "sector"),
    "shares": ("股份数", "shares"),
    "starts_on": ("起始日期", "from"),
    "state": ("状态", "state"),
    "status": ("登记状态", "status"),
    "street": ("街道", "street"),
    "submitted_on": ("申请日期", "submitted on"),
    "subscribed": ("认缴出资额", "subscribed"),
    "summary": ("摘要", "summary"),
    "tax_number": ("税号", "tax number"),
    "term_from": ("营业期限自", "term from"),
    "term_to": ("营业期限至", "term to"),
    "text": ("公告正文", "text of the notice"),
    "ticker": ("证券代码", "ticker"),
    "tier": ("审查层级", "tier of review"),
    "title": ("标题", "title"),
    "to": ("有效期至", "to"),
    "topics": ("主题", "topics"),
    "total": ("总数", "total"),
    "type": ("类型", "type"),
    "until": ("截至", "until"),
    "updated_on": ("更新日期", "updated on"),
    "website": ("网站", "website"),
    "year": ("年度", "year"),
}

_OF_SECTION: dict[tuple[str, str], tuple[str, str]] = {
    ("basic", "name"): ("企业名称", "company name"),
    ("basic", "address"): ("住所", "registered address"),
    ("basic", "authority"): ("登记机关", "registration authority"),
    ("basic", "scope"): ("经营范围", "business scope"),
    ("shareholders", "name"): ("股东名称", "shareholder"),
    ("shareholders", "kind"): ("股东类型", "kind of shareholder"),
    ("shareholders", "date"): ("出资日期", "contributed on"),
    ("personnel", "name"): ("姓名", "name"),
    ("changes", "date"): ("变更日期", "changed on"),
    ("liquidation", "name"): ("姓名", "name"),
    ("annual_reports", "state"): ("企业经营状态", "operating state"),
    ("annual_reports", "address"): ("通信地址", "postal address"),
    ("annual_reports", "date"): ("发布日期", "published on"),
    ("licences", "scope"): ("许可内容", "what is licensed"),
    ("licences", "authority"): ("许可机关", "licensing authority"),
    ("penalties", "kind"): ("处罚种类", "kind of penalty"),
    ("penalties", "amount"): ("罚款金额", "fine"),
    ("penalties", "authority"): ("处罚决定机关", "deciding authority"),
    ("penalties", "date"): ("处罚决定日期", "decided on"),
    ("spot_checks", "authority"): ("检查实施机关", "checking authority"),
    ("spot_checks", "date"): ("检查日期", "checked on"),
    ("equity_pledges", "amount"): ("出质股权数额", "equity pledged"),
    ("equity_freezes", "amount"): ("股权数额", "equity frozen"),
    ("chattel_mortgages", "amount"): ("被担保债权数额", "secured claim"),
    ("enforcement", "amount"): ("执行标的", "amount enforced"),
    ("hearings", "date"): ("开庭日期", "hearing on"),
}


def field_word(section: str, field: str, language: str) -> str:
    """What ``field`` of ``section`` is called in ``zh`` or ``en``; a field of a source unknown here keeps its name."""
    words = _OF_SECTION.get((section, field)) or _WORDS.get(field)
    if words is None:
        return field.replace("_", " ")
    return words[0] if language == "zh" else words[1]


def steady(text: str) -> str:
    """``text`` on one line that runs in its own direction: without the characters that turn round what stands beside
    them, and with a space where one breaks the line or steers what shows it. The letters of a script stay as they are.
    """
    return _BREAKS.sub(" ", _TURNS.sub("", text))


def shortened(value: str, language: str, most: int = SHOWN, *, whole: tuple[str, str] | None = None) -> str:
    """``value`` as it is shown to a reader: ``steady``, and whole, or its first ``most`` characters, and then how long
    it is and where the whole is (``whole``, in Chinese and English; else in the snapshot). What is stored stays as it
    is."""
    value = steady(value)
    if len(value) <= most:
        return value
    where = (whole or ("全文见官网快照", "the snapshot has it whole"))[0 if language == "zh" else 1]
    if language == "zh":
        return f"{value[:most]}……［共 {len(value):,} 字，余略；{where}］"
    return f"{value[:most]}… [{len(value):,} characters in all; {where}]"
