"""What the radar processes of its members, for what, until when; and the notice that says so.

The rule of this module: of those who watch companies nothing is known but how to reach them, and that serves to tell
them what was found and what was wrong.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from duecare.consent.notices import Controller, Notice, publish
from duecare.consent.purposes import Activity, Basis, Necessity, PersonalField, Purpose, Retention, declare

if TYPE_CHECKING:
    from duecare.vault.records import Vault

NOTICE, WATCH_DELIVERY, CONTACT_POINTS = "watch", "watch_delivery", "contact_points"
MEMBER_LEFT = "member_left"
"""The event that retention runs from. Leaving erases at once; the days are for what a kill or a hold left over."""

DAYS = 30

FIELDS = (PersonalField(CONTACT_POINTS, "联系方式", "contact points"),)

PURPOSE = Purpose(
    name=WATCH_DELIVERY,
    zh="把所监控企业的动态、监控日报和更正送达会员",
    en="telling a member what was found about the companies they watch: alerts, digests, corrections",
    fields=(CONTACT_POINTS,),
    activities=(Activity.COLLECT, Activity.STORE, Activity.USE, Activity.TRANSMIT, Activity.DELETE),
    basis=Basis.CONTRACT,
    retention=Retention(MEMBER_LEFT, days=DAYS, zh="会员退出", en="the member leaves"),
    notice=NOTICE,
    required=True,
    necessity=Necessity(
        "监控的结果须送达会员; 通知有误的, 更正须送达同一会员。",
        "What was found must reach the member; and where it was wrong, its correction must reach the same one.",
        {CONTACT_POINTS: "没有联系方式, 动态、日报和更正都无处可送。"},
    ),
)

_NOTICE = Notice(
    name=NOTICE,
    zh="企业监控会员个人信息处理告知书",
    en="Notice on personal data of members who watch companies",
    body_zh=f"""**保存什么。** 您留下的联系方式: 邮箱、手机号码、推送地址及其密钥。以加密方式保存,
停用的联系方式一并保存至您退出。

**为什么。** 把您所监控企业的动态、监控日报送达给您; 通知有误的, 把更正送达给您。不作他用;
除发送所经的邮件、短信等通道外, 不向任何第三方提供。

**谁能看到。** 发送时由系统打开; 工作人员查看须写明理由。每次打开都有记录, 您可以查阅。

**保存多久。** 到您退出为止; 退出时即行删除, 至迟不超过退出之后{DAYS}日。消息中心的消息和日报随之删除。

**退出之后。** 我们不再知道您是谁, 此前通知如有错误, 更正无法再送达给您。""",
    body_en=f"""**What is kept.** The contact points you give: mail address, telephone number, address and secret of
a webhook. They are sealed; those you no longer use are kept with the rest until you leave.

**Why.** To send you what was found about the companies you watch, the daily digest, and the correction
where something was wrong. For nothing else, and to nobody but the mail server or gateway that carries it.

**Who sees them.** The system, when it sends; members of staff only with a reason. Each opening is recorded,
and you can ask for the record.

**How long.** Until you leave: they are erased then, and at the latest {DAYS} days after. The messages in your
message centre and your digests go with them.

**After that.** We no longer know who you are; if something you were told was wrong, its correction cannot
reach you.""",
    terms={"days_after_leaving": DAYS},
    words={"days_after_leaving": ("退出之后至迟保存的天数", "days that anything is kept after leaving, at most")},
    withdrawal_zh="随时退出, 通过上述联系方式提出即可。",
    withdrawal_en="Leave at any time; say so through the contact above.",
)


def announce(session: Session, vault: Vault, at: datetime) -> int:
    """Declare the purpose and publish the notice, as far as that was not done; the notice's number.

    Raises ``BadInput`` where the settings do not say who processes the data.
    """
    declare(session, vault.engine, FIELDS, [PURPOSE], at)
    return publish(session, _NOTICE, Controller.of(vault.home.settings), at)
