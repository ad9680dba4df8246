"""What the fields of the mainland register's sections are called for a reader, in Chinese and English.

The rule of this module: a word here is the register's own word over that column, so that a reader finds it there.
"""

from __future__ import annotations

_WORDS: dict[str, tuple[str, str]] = {
    "address": ("地址", "address"),
    "after": ("变更后", "after"),
    "amount": ("数额", "amount"),
    "applicant": ("申请人", "applicant"),
    "approved_on": ("核准日期", "approved on"),
    "authority": ("机关", "authority"),
    "before": ("变更前", "before"),
    "capital": ("认缴出资总额", "capital"),
    "case_number": ("案号", "case number"),
    "cause": ("案由", "cause"),
    "class": ("类别", "class"),
    "code": ("统一社会信用代码", "code"),
    "court": ("法院", "court"),
    "date": ("日期", "date"),
    "document": ("文号", "document number"),
    "duty": ("义务", "duty"),
    "established_on": ("成立日期", "established on"),
    "excerpt": ("摘要", "excerpt"),
    "from": ("有效期自", "from"),
    "item": ("变更事项", "item"),
    "kind": ("类型", "kind"),
    "legal_representative": ("法定代表人", "legal representative"),
    "link": ("链接", "link"),
    "listed_by": ("列入机关", "listed by"),
    "listed_on": ("列入日期", "listed on"),
    "method": ("出资方式", "method"),
    "name": ("名称", "name"),
    "number": ("编号", "number"),
    "paid_in": ("实缴出资额", "paid in"),
    "parties": ("当事人", "parties"),
    "performance": ("履行情况", "performance"),
    "period": ("公告期", "period"),
    "person": ("被执行人", "person"),
    "phone": ("联系电话", "phone"),
    "pledgee": ("质权人", "pledgee"),
    "pledgor": ("出质人", "pledgor"),
    "post": ("职务", "post"),
    "published_at": ("发布时间", "published at"),
    "published_on": ("发布日期", "published on"),
    "publisher": ("发布者", "publisher"),
    "reason": ("原因", "reason"),
    "registered_capital": ("注册资本", "registered capital"),
    "removed_by": ("移出机关", "removed by"),
    "removed_on": ("移出日期", "removed on"),
    "result": ("结果", "result"),
    "role": ("身份", "role"),
    "scope": ("范围", "scope"),
    "state": ("状态", "state"),
    "status": ("登记状态", "status"),
    "subscribed": ("认缴出资额", "subscribed"),
    "term_from": ("营业期限自", "term from"),
    "term_to": ("营业期限至", "term to"),
    "title": ("标题", "title"),
    "to": ("有效期至", "to"),
    "type": ("类型", "type"),
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
