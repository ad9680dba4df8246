"""Erasure ends what is held, everywhere, and leaves a certificate."""

from __future__ import annotations

import json

import pytest

from duecare.errors import Erased
from duecare.evidence.certificate import parse_certificate, verify_certificate
from duecare.evidence.check import all_hold
from duecare.vault import erasure
from duecare.vault.models import ErasureState
from duecare.vault.records import Vault

from .park import BASIC, holder


def test_a_withdrawal_erases_and_is_certified(witnessed: Vault) -> None:
    """One call: the grant ends, the values are gone, and the certificate verifies with the two public keys alone."""
    vault = witnessed
    subject = holder(vault)
    outcome = erasure.withdraw(vault, subject, "fingerprint_entry", how="a click", screen="my data")
    (done,) = outcome.erasures
    assert done.state is ErasureState.CERTIFIED
    assert done.certificate is not None
    assert all_hold(verify_certificate(done.certificate, vault.log.key, [each.key for each in vault.witnesses]))
    body = parse_certificate(done.certificate).body
    assert (body["purpose"], body["reason"]) == ("fingerprint_entry", "withdrawal")
    assert [each["field"] for each in body["fields"]] == ["fingerprint"]
    assert subject not in json.dumps(body)
    with pytest.raises(Erased):
        vault.open("fingerprint", subject, "fingerprint_entry", "gate")
    assert vault.open("name", subject, "pass_contract", "gate") == BASIC["name"]


def test_a_value_stays_while_another_purpose_holds_it(vault: Vault) -> None:
    """The phone serves two purposes; it goes with the last of them, and the certificate of the last names it."""
    subject = holder(vault)
    erasure.withdraw(vault, subject, "news", how="a click", screen="my data")
    assert vault.open("phone", subject, "pass_contract", "gate") == BASIC["phone"]
    outcome = erasure.erase(vault, subject)
    assert [each.purpose for each in outcome.erasures] == ["fingerprint_entry", "pass_contract"]
    with pytest.raises(Erased):
        vault.open("phone", subject, "pass_contract", "gate")
