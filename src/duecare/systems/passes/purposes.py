"""What the park processes of its holders, for what, until when; and the notice that says so.

The rule of this module: what the pass cannot do without is required and says why; everything else, biometrics first, is
offered and never required.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from jinja2 import Environment, PackageLoader, StrictUndefined
from sqlalchemy.orm import Session

from duecare.consent.notices import Notice
from duecare.consent.purposes import (
    Activity,
    Basis,
    Mask,
    Necessity,
    PersonalField,
    Purpose,
    Retention,
    Special,
    declare,
)
from duecare.errors import BadInput
from duecare.rules.engine import Engine
from duecare.systems.passes.methods import CARD_ID_CARD, Method, method

NOTICE = "annual-pass"
EXPIRED = "pass_expired"
"""The event that retention runs from: the last day of a pass. A renewal moves it."""

CONTRACT, ENTRY, PHOTO, MAIL = "pass_contract", "card_entry", "pass_photo", "mail_contact"
AT_SALE = (CONTRACT, ENTRY)
"""The purposes that a pass cannot be sold without."""

FIELDS = (
    PersonalField("name", "姓名", "name", mask=Mask(head=1)),
    PersonalField("id_number", "身份证件号码", "ID-card number", lookup=True, mask=Mask(head=1, tail=1)),
    PersonalField("phone", "手机号码", "telephone number", lookup=True, mask=Mask(head=3, tail=2)),
    PersonalField("mail", "电子邮箱", "mail address", mask=Mask(head=1)),
    PersonalField("entry_code", "入园核验码", "entry code"),
    PersonalField("photo", "年卡照片", "photo for the pass", form="bytes"),
    PersonalField("fingerprint_template", "指纹特征", "fingerprint template", Special.BIOMETRIC, "bytes"),
    PersonalField("face_template", "人脸特征", "face template", Special.BIOMETRIC, "bytes"),
)

_KEEP = (Activity.COLLECT, Activity.STORE, Activity.USE, Activity.DELETE)
_ZH, _EN = "年卡到期", "the pass expires"
_WINDOW = Retention(EXPIRED, months=3, zh=_ZH, en=_EN)


def _biometric_entry(name: str, field: str, zh: str, en: str) -> Purpose:
    """Entry with card and a biometric, called ``zh`` and ``en``: for those who choose it, and for nobody else."""
    return Purpose(
        name=name,
        zh=f"以年卡加{zh}入园",
        en=f"entry with card and {en}",
        fields=(field,),
        activities=_KEEP,
        basis=Basis.CONSENT,
        retention=_WINDOW,
        notice=NOTICE,
        necessity=Necessity(
            "只对选择这一方式的持卡人: 闸机须核对本人; 不选择的以年卡加身份证入园, 待遇相同。",
            "Only for those who choose this way: a gate must tell that it is them. Others enter with card and ID card.",
            {field: f"没有{zh}特征, 闸机无法以{zh}核对持卡人本人。"},
        ),
    )


PURPOSES = (
    Purpose(
        name=CONTRACT,
        zh="订立和履行年卡合同: 开卡、续卡优惠、通知、退款",
        en="the contract of the pass: sale, discounts on renewal, messages about it, refunds",
        fields=("name", "id_number", "phone"),
        activities=(*_KEEP, Activity.TRANSMIT),
        basis=Basis.CONTRACT,
        retention=Retention(EXPIRED, years=6, zh=_ZH, en=_EN),
        notice=NOTICE,
        required=True,
        necessity=Necessity(
            "年卡为记名卡, 连续续卡享有优惠, 合同变更和退款须通知到本人。",
            "The pass is in a person's name; renewals in a row earn discounts; changes and refunds must reach them.",
            {
                "name": "年卡为记名卡, 没有姓名无法开卡。",
                "id_number": "没有证件号码, 无法认定续卡人与持卡人为同一人, 也无法补卡。",
                "phone": "没有手机号码, 合同变更、到期和退款无法通知到本人。",
            },
        ),
    ),
    Purpose(
        name=ENTRY,
        zh="以年卡加身份证入园",
        en="entry with card and ID card",
        fields=("entry_code",),
        activities=_KEEP,
        basis=Basis.CONTRACT,
        retention=_WINDOW,
        notice=NOTICE,
        required=True,
        necessity=Necessity(
            "年卡限本人使用, 闸机须核对出示的身份证属于持卡人。",
            "The pass is for its holder alone: a gate must tell that the ID card shown is the holder's.",
            {"entry_code": "没有核验码, 闸机无法核对出示的身份证是否属于持卡人; 核验码本身不含证件号码。"},
        ),
    ),
    Purpose(
        name=PHOTO,
        zh="年卡卡面照片, 供人工核对",
        en="the photo on the pass, for people to look at",
        fields=("photo",),
        activities=_KEEP,
        basis=Basis.CONSENT,
        retention=_WINDOW,
        notice=NOTICE,
    ),
    Purpose(
        name=MAIL,
        zh="以电子邮件发送年卡通知",
        en="messages about the pass by mail",
        fields=("mail",),
        activities=(*_KEEP, Activity.TRANSMIT),
        basis=Basis.CONSENT,
        retention=_WINDOW,
        notice=NOTICE,
    ),
    _biometric_entry("fingerprint_entry", "fingerprint_template", "指纹", "fingerprint"),
    _biometric_entry("face_entry", "face_template", "人脸", "face"),
)


def declare_all(session: Session, engine: Engine, at: datetime, purposes: Sequence[Purpose] = PURPOSES) -> list[str]:
    """Declare the fields and ``purposes``; the names of those that are new or changed. Raises ``Forbidden``."""
    return declare(session, engine, FIELDS, purposes, at)


def notice(ways: Sequence[str]) -> Notice:
    """The notice of an annual pass that may be used in ``ways`` (names of methods, card and ID card among them).

    Raises ``BadInput`` where it is not, ``UnknownName``.
    """
    methods = [method(name) for name in ways]
    if CARD_ID_CARD not in methods:
        raise BadInput(
            f"The ways in are {', '.join(ways)}; the one that is open to everyone is missing.",
            hint=f"Name {CARD_ID_CARD.name} among them.",
        )
    return Notice(
        name=NOTICE,
        zh="年卡个人信息处理告知书",
        en="Notice on personal data for annual passes",
        body_zh=_body("zh", methods),
        body_en=_body("en", methods),
        terms={"entry_methods": [each.name for each in methods], "biometrics_months": 3, "basics_years": 6},
        words={
            "entry_methods": ("入园方式", "ways in"),
            "biometrics_months": (
                "指纹、人脸等信息在年卡到期后的保存月数",
                "months that biometrics are kept after expiry",
            ),
            "basics_years": ("基本信息在年卡到期后的保存年数", "years that basic data is kept after expiry"),
            **{each.name: (each.zh, each.en) for each in methods},
        },
    )


def entry_methods(shown: Notice) -> tuple[str, ...]:
    """The ways in that a notice promises, by name."""
    promised = shown.terms.get("entry_methods", ())
    return tuple(promised) if isinstance(promised, (list, tuple)) else ()


def _body(language: str, methods: Sequence[Method]) -> str:
    made = Environment(loader=PackageLoader(__package__), trim_blocks=True, undefined=StrictUndefined)
    page = made.get_template(f"notice.{language}.md.j2")
    return page.render(methods=methods, biometric=[each for each in methods if each.biometric]).strip()
