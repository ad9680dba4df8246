"""Records: a grant as ISO/IEC TS 27560 writes it, in JSON-LD with terms of the W3C Data Privacy Vocabulary (DPV 2).

The rule of this module: a record is made of what was kept when the grant was given, and of nothing that can change
afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from duecare.clock import utc
from duecare.consent.fields import Special
from duecare.consent.models import GrantRow
from duecare.consent.notices import Version
from duecare.consent.purposes import Activity, Basis, FieldWords, Purpose

_CONTEXT = {
    "dct": "http://purl.org/dc/terms/",
    "dpv": "https://w3id.org/dpv#",
    "loc": "https://w3id.org/dpv/loc#",
    "pd": "https://w3id.org/dpv/pd#",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "schema": "https://schema.org/",
    "skos": "http://www.w3.org/2004/02/skos/core#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}

_ACTIVITIES = {
    Activity.COLLECT: "dpv:Collect",
    Activity.STORE: "dpv:Store",
    Activity.USE: "dpv:Use",
    Activity.REFINE: "dpv:Transform",
    Activity.TRANSMIT: "dpv:Transmit",
    Activity.PROVIDE: "dpv:Share",
    Activity.DISCLOSE: "dpv:Disclose",
    Activity.DELETE: "dpv:Erase",
}
_BASES = {
    Basis.CONSENT: "dpv:Consent",
    Basis.CONTRACT: "dpv:ContractPerformance",
    Basis.STATUTORY: "dpv:LegalObligation",
    Basis.VITAL: "dpv:VitalInterest",
    Basis.PUBLIC: "dpv:PublicInterest",
    Basis.LAWFUL_DISCLOSURE: "dpv:LegalBasis",
}
_KINDS = {
    Special.BIOMETRIC: "pd:Biometric",
    Special.RELIGION: "pd:Religion",
    Special.MEDICAL: "pd:MedicalHealth",
    Special.FINANCIAL: "pd:Financial",
    Special.WHEREABOUTS: "pd:Location",
}
_CONTROLLER = "_:controller"

_RECORD = ("dpv:hasRecordOfActivity",)
_PROCESS = (*_RECORD, "dpv:hasProcess")
_PARTY = (*_RECORD, "dpv:hasEntity")
_EVENT = (*_RECORD, "dpv:hasConsentStatus")
MANDATORY: dict[str, tuple[str, ...]] = {
    "schema version": ("dct:conformsTo",),
    "receipt id": ("dpv:hasIdentifier",),
    "record id": (*_RECORD, "dpv:hasIdentifier"),
    "pii principal id": (*_RECORD, "dpv:hasDataSubject", "dct:identifier"),
    "privacy notice": (*_RECORD, "dpv:hasNotice", "dct:identifier"),
    "language": (*_RECORD, "dpv:hasNotice", "dct:language"),
    "purpose": (*_PROCESS, "dpv:hasPurpose", "dct:identifier"),
    "pii information": (*_PROCESS, "dpv:hasPersonalData", "dct:identifier"),
    "pii type": (*_PROCESS, "dpv:hasPersonalData", "skos:broader"),
    "pii controllers": (*_PROCESS, "dpv:hasDataController"),
    "storage locations": (*_PROCESS, "dpv:hasStorageCondition", "dpv:hasLocation"),
    "retention period": (*_PROCESS, "dpv:hasStorageCondition", "dpv:hasDuration"),
    "jurisdiction": (*_PROCESS, "dpv:hasJurisdiction"),
    "recipient third parties": (*_PROCESS, "dpv:hasRecipientThirdParty"),
    "withdrawal method": (*_PROCESS, "dpv:hasConsentControl", "dpv:isExercisedAt"),
    "party id": (*_PARTY, "dpv:hasIdentifier"),
    "party name": (*_PARTY, "dpv:hasName"),
    "party address": (*_PARTY, "dpv:hasAddress"),
    "party contact": (*_PARTY, "dpv:hasContact"),
    "party type": (*_PARTY, "@type"),
    "event time": (*_EVENT, "dpv:isIndicatedAtTime"),
    "validity duration": (*_EVENT, "dpv:hasDuration"),
    "entity id": (*_EVENT, "dpv:isIndicatedBy"),
    "event type": (*_EVENT, "dpv:hasLegalBasis"),
    "event state": (*_EVENT, "@type"),
}
"""The 25 fields that ISO/IEC TS 27560 asks for, and where each stands in a receipt."""


def content(row: GrantRow, purpose: Purpose, shown: Version, committed: str) -> dict[str, Any]:
    """The receipt of a grant, which holds its record; ``committed`` stands for the person.

    ``purpose`` and ``shown`` are the versions that the grant was given for and under.
    """
    own = str(uuid5(NAMESPACE_URL, f"urn:uuid:{row.record}"))
    return {
        "@context": _CONTEXT,
        "@id": f"urn:uuid:{own}",
        "@type": "dpv:ConsentReceipt",
        "dct:conformsTo": {"@id": "https://w3id.org/dpv/schema/dpv-27560#receipt"},
        "dct:created": _moment(row),
        "dpv:hasIdentifier": own,
        "dpv:hasRecordOfActivity": {
            "@id": f"urn:uuid:{row.record}",
            "@type": "dpv:ConsentRecord",
            "dct:conformsTo": {"@id": "https://w3id.org/dpv/schema/dpv-27560#record"},
            "dpv:hasIdentifier": row.record,
            "dpv:hasDataSubject": {"@id": "_:subject", "@type": "dpv:DataSubject", "dct:identifier": committed},
            "dpv:hasNotice": _notice(row, shown),
            "dpv:hasProcess": _process(purpose, shown),
            "dpv:hasEntity": _party(shown),
            "dpv:hasConsentStatus": _event(row, purpose),
        },
    }


def _notice(row: GrantRow, shown: Version) -> dict[str, Any]:
    return {
        "@type": "dpv:ConsentNotice",
        "dct:identifier": f"{shown.name}/{shown.number}",
        "dct:title": _words(shown.notice.zh, shown.notice.en),
        "dct:language": row.language,
        "dct:issued": {"@type": "xsd:dateTime", "@value": _utc(shown.published_at)},
        "schema:sha256": shown.digest,
    }


def _process(purpose: Purpose, shown: Version) -> dict[str, Any]:
    who = shown.controller
    control = {
        "@type": "dpv:WithdrawConsent",
        "dpv:isExercisedAt": _words(shown.notice.withdrawal_zh, shown.notice.withdrawal_en),
    }
    return {
        "@type": "dpv:Process",
        "dpv:hasPurpose": {
            "@type": "dpv:Purpose",
            "dct:identifier": f"{purpose.name}/{purpose.number}",
            "dct:title": _words(purpose.zh, purpose.en),
        },
        "dpv:hasNecessity": {"@id": "dpv:Required" if purpose.required else "dpv:Optional"},
        "dpv:hasPersonalData": [_data(each) for each in purpose.told],
        "dpv:hasProcessing": [{"@id": _ACTIVITIES[each]} for each in purpose.activities],
        "dpv:hasLegalBasis": {"@id": _BASES[purpose.basis]},
        "dpv:hasDataController": {"@id": _CONTROLLER},
        "dpv:hasRecipientThirdParty": _recipients(purpose.recipients),
        "dpv:hasStorageCondition": [
            {"@type": "dpv:StorageLocation", "dpv:hasLocation": [{"@id": f"loc:{each}"} for each in who.places]},
            {"@type": "dpv:StorageDuration", "dpv:hasDuration": _retention(purpose)},
        ],
        "dpv:hasJurisdiction": {"@id": f"loc:{who.jurisdiction}"},
        "dpv:hasConsentControl": control,
    }


def _data(field: FieldWords) -> dict[str, Any]:
    broader = _KINDS.get(field.special, "dpv:PersonalData") if field.special else "dpv:PersonalData"
    return {
        "@type": "dpv:SensitivePersonalData" if field.special else "dpv:PersonalData",
        "skos:broader": {"@id": broader},
        "dct:identifier": field.name,
        "dct:title": _words(field.zh, field.en),
    }


def _recipients(names: Sequence[str]) -> list[dict[str, Any]] | dict[str, Any]:
    if names:
        return [{"@type": "dpv:ThirdParty", "dpv:hasName": name} for name in names]
    return {"@id": "dpv:NotApplicable", "dct:title": _words("不向第三方提供", "Provided to no third party")}


def _retention(purpose: Purpose) -> dict[str, Any]:
    kept = purpose.retention
    parts = [f"{number}{unit}" for number, unit in ((kept.years, "Y"), (kept.months, "M"), (kept.days, "D")) if number]
    return {
        "@type": "dpv:TemporalDuration",
        "rdf:value": {"@type": "xsd:duration", "@value": f"P{''.join(parts) or '0D'}"},
        "dpv:isAfter": {
            "dct:identifier": kept.event,
            "dct:title": _words(kept.zh or kept.event, kept.en or kept.event),
        },
    }


def _party(shown: Version) -> dict[str, Any]:
    who = shown.controller
    return {
        "@id": _CONTROLLER,
        "@type": ["dpv:LegalEntity", "dpv:DataController"],
        "dpv:hasIdentifier": who.code,
        "dpv:hasName": who.name,
        "dpv:hasAddress": who.address,
        "dpv:hasContact": who.contact,
    }


def _event(row: GrantRow, purpose: Purpose) -> dict[str, Any]:
    kind = "dpv:ExplicitlyExpressedConsent" if row.separate else "dpv:ExpressedConsent"
    until = _words("至撤回同意或者处理目的终止时", "Until it is withdrawn or the purpose ends")
    return {
        "@type": "dpv:ConsentGiven",
        "dpv:isIndicatedAtTime": _moment(row),
        "dpv:isIndicatedBy": {"@id": "_:subject"},
        "dpv:hasIndicationMethod": f"{row.how}; {row.screen}",
        "dpv:hasLegalBasis": {"@id": kind if purpose.basis is Basis.CONSENT else _BASES[purpose.basis]},
        "dpv:hasDuration": {"@type": "dpv:UntilEventDuration", "rdf:value": until},
    }


def _words(zh: str, en: str) -> list[dict[str, str]]:
    return [{"@language": "zh", "@value": zh}, {"@language": "en", "@value": en}]


def _moment(row: GrantRow) -> dict[str, str]:
    return {"@type": "xsd:dateTime", "@value": _utc(row.given_at)}


def _utc(at: datetime) -> str:
    return f"{utc(at).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
