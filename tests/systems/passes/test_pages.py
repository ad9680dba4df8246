"""The pass centre's and the holders' pages, over real HTTP: the whole life of a pass, and what nobody is told."""

from __future__ import annotations

import logging
import time
from base64 import b64encode
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from duecare.clock import SetClock
from duecare.errors import BadInput, UnknownName
from duecare.systems.passes import changes, clerks, entries, pages, wire
from duecare.systems.passes.park import Park
from duecare.systems.passes.server import serving

from .people import FACES, HE, SHE, face, finger, id_number


@pytest.fixture
def clerk(park: Park, centre: str) -> Iterator[httpx.Client]:
    """A clerk of the pass centre, with her key."""
    with park.home.database.session() as session:
        key = clerks.add(session, "li", park.now())
    with httpx.Client(base_url=centre, headers={"authorization": f"Bearer {key}"}, timeout=60) as client:
        yield client


@pytest.fixture
def bought(clerk: httpx.Client) -> dict:  # type: ignore[type-arg]
    """A pass for two, bought at the counter."""
    holders = [{**vars(HE)}, {**vars(SHE)}]
    answer = clerk.post("/v1/centre/passes", json={"product": "pass_for_two", "holders": holders})
    assert answer.status_code == 201, answer.text
    return answer.json()


def signed_in(centre: str, card: str, number: str) -> httpx.Client:
    answer = httpx.post(f"{centre}/v1/me/session", json={"card": card, "id_number": number}, timeout=60)
    assert answer.status_code == 201, answer.text
    return httpx.Client(base_url=centre, headers={"authorization": f"Bearer {answer.json()['token']}"}, timeout=60)


def test_the_choice_at_the_counter(clerk: httpx.Client) -> None:
    """The products are shown with every way in, the one without biometrics at the same price."""
    shown = {each["name"]: each for each in clerk.get("/v1/centre/products").json()}
    ways = {each["method"]: each for each in shown["pass_for_two"]["ways"]}
    assert {name: way["price"] for name, way in ways.items()} == {
        "card_id_card": "1360.00", "card_fingerprint": "1360.00",
    }  # fmt: skip
    assert ways["card_fingerprint"]["biometric"] is True
    assert "另有同等待遇的方式可选" in ways["card_fingerprint"]["reasons"][0]


def test_a_life_at_the_counter(clerk: httpx.Client, bought: dict, park: Park, clock: SetClock) -> None:  # type: ignore[type-arg]
    """Bought, photographed, enrolled, its card replaced, renewed, refunded out of goodwill: each is one call."""
    assert (bought["price"], bought["last"]) == ("1360.00", "2020-04-25")
    his = bought["cards"][0]["subject"]
    photo = {"photo": b64encode(b"photo").decode()}
    assert clerk.post(f"/v1/centre/holders/{his}/photo", json=photo).status_code == 204
    template = {"method": "card_fingerprint", "template": b64encode(finger("he")).decode()}
    assert clerk.post(f"/v1/centre/holders/{his}/templates", json=template).status_code == 204
    fresh = clerk.post("/v1/centre/cards", json={"id_number": HE.id_number}).json()
    assert (fresh["subject"], fresh["card"] != bought["cards"][0]["card"]) == (his, True)
    clock.advance(timedelta(days=300))
    renewed = clerk.post(f"/v1/centre/passes/{bought['pass_id']}/renewals").json()
    assert (renewed["year"], renewed["price"], renewed["first"]) == (2, "1251.20", "2020-04-26")
    leaving = {"holders": [his], "reason": "moves away", "goodwill": True}
    assert clerk.post(f"/v1/centre/passes/{bought['pass_id']}/refunds", json=leaving).json()["amount"] == "744.60"


def test_the_holder_on_the_page(clerk: httpx.Client, bought: dict, centre: str, park: Park) -> None:  # type: ignore[type-arg]
    """Card and ID card open the page; there one answers the notice, withdraws, gets a receipt, a copy, and erasure."""
    his = bought["cards"][0]
    template = {"method": "card_fingerprint", "template": b64encode(finger("he")).decode()}
    clerk.post(f"/v1/centre/holders/{his['subject']}/templates", json=template)
    number = changes.publish(park, FACES).number
    with signed_in(centre, his["card"], HE.id_number) as me:
        page = me.get("/v1/me").json()
        assert page["subject"] == his["subject"]
        assert {each["by"] for each in page["openings"]} == {"service:passes"}
        assert me.get("/v1/me/notice").json()["version"] == number
        assert me.post("/v1/me/answer", json={"version": number, "accepted": False}).status_code == 204
        assert me.get("/v1/me").json()["notice"]["answer"] == "declined"
        (gone,) = me.post("/v1/me/withdrawals", json={"purpose": "fingerprint_entry"}).json()["erasures"]
        assert gone["purpose"] == "fingerprint_entry"
        assert me.get(f"/v1/me/certificates/{gone['id']}").status_code == 422  # no witness is configured here
        (grant,) = [each["grant"] for each in page["purposes"] if each["name"] == "fingerprint_entry"]
        assert me.get(f"/v1/me/receipts/{grant['id']}").json()["format"] == "duecare-receipt/1"
        assert me.post("/v1/me/copies").json()["data"]["pass_contract"]["name"] == HE.name
        assert me.post("/v1/me/erasures", json={}).status_code == 422
        assert len(me.post("/v1/me/erasures", json={"ends_pass": True}).json()["erasures"]) == 2
        assert me.get("/v1/me").json()["pass"] is None


def test_faces_on_the_page(clerk: httpx.Client, bought: dict, centre: str, park: Park) -> None:  # type: ignore[type-arg]
    """Who accepts the new notice on the page can be enrolled for it at the counter; who did not, cannot."""
    number = changes.publish(park, FACES).number
    taken = {"method": "card_face", "template": b64encode(face("she")).decode()}
    hers = bought["cards"][1]
    assert clerk.post(f"/v1/centre/holders/{hers['subject']}/templates", json=taken).status_code == 422
    with signed_in(centre, hers["card"], SHE.id_number) as me:
        me.post("/v1/me/answer", json={"version": number, "accepted": True})
    assert clerk.post(f"/v1/centre/holders/{hers['subject']}/templates", json=taken).status_code == 204


def test_conflicts_are_settled(clerk: httpx.Client, park: Park) -> None:
    """What a gate decided alone and a person has to look at is listed, and settled by the clerk's name."""
    entries.reconcile(park, "east", [wire.Record("a" * 16, "f" * 64, "card_id_card", park.now(), True, "x", "")])
    (conflict,) = clerk.get("/v1/centre/conflicts").json()
    assert conflict["kind"] == "unknown_card"
    assert clerk.post(f"/v1/centre/conflicts/{conflict['id']}", json={"note": "a test card"}).status_code == 204
    assert clerk.get("/v1/centre/conflicts").json() == []
    assert clerk.post(f"/v1/centre/conflicts/{conflict['id']}", json={"note": "again"}).status_code == 422
    with park.home.database.session() as session:
        assert [row.settled_by for row in entries.conflicts(session, settled=True)] == ["li"]


def test_who_is_not_known_is_told_nothing(centre: str, park: Park, clerk: httpx.Client, bought: dict) -> None:  # type: ignore[type-arg]
    """Without a key, with that of a clerk who left, with a session made up or of another kind: 401, as a problem."""
    for path in ("/v1/centre/products", "/v1/centre/conflicts", "/v1/me", "/v1/me/notice"):
        for headers in ({}, {"authorization": "Bearer nothing"}):
            answer = httpx.get(centre + path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["content-type"] == "application/problem+json"
    assert clerk.get("/v1/me").status_code == 401
    with park.home.database.session() as session:
        clerks.end(session, "li", park.now())
        with pytest.raises(UnknownName):
            clerks.end(session, "li", park.now())
        with pytest.raises(BadInput):
            clerks.add(session, "Li Lei", park.now())
    assert clerk.get("/v1/centre/products").status_code == 401


def test_a_new_key_takes_the_place_of_the_one_before(park: Park) -> None:
    """A clerk has one key at a time; one who left may have a new one."""
    with park.home.database.session() as session:
        first = clerks.add(session, "wu", park.now())
        second = clerks.add(session, "wu", park.now())
        assert [clerks.known(session, key) for key in (first, second)] == [None, "wu"]
        clerks.end(session, "wu", park.now())
        third = clerks.add(session, "wu", park.now())
        assert [clerks.known(session, key) for key in (second, third)] == [None, "wu"]
        assert [row.name for row in clerks.clerks(session)] == ["wu"]


def test_signing_in_needs_both(centre: str, bought: dict, clock: SetClock, park: Park) -> None:  # type: ignore[type-arg]
    """A card with somebody else's ID card opens no page, and after five tries not even with the right one, for a
    while; the answer does not say which of the two was wrong."""
    his = bought["cards"][0]["card"]

    def shown(card: str, number: str) -> httpx.Response:
        return httpx.post(f"{centre}/v1/me/session", json={"card": card, "id_number": number}, timeout=60)

    wrong = shown(his, SHE.id_number)
    assert wrong.status_code == 422
    assert shown("0" * 32, SHE.id_number).json()["detail"] == wrong.json()["detail"]
    for _ in range(pages.TRIES - 1):
        shown(his, id_number(9))
    assert shown(his, HE.id_number).status_code == 429
    clock.advance(pages.SESSION)
    token = shown(his, HE.id_number).json()["token"]
    headers = {"authorization": f"Bearer {token}"}
    assert httpx.get(f"{centre}/v1/me", headers=headers, timeout=60).status_code == 200
    clock.advance(pages.SESSION)
    assert httpx.get(f"{centre}/v1/me", headers=headers).status_code == 401


def test_what_was_sent_is_not_repeated(clerk: httpx.Client) -> None:
    """An error says what is wrong and where, and repeats no name and no number, whatever is wrong with the request."""
    good = {**vars(HE)}
    for holder in (
        {**good, "id_number": id_number(1)[:-1] + "Z"},
        {**good, "phone": "telephone"},
        {**good, "colour": "red"},
        {**good, "phone": 13800138001},
    ):
        order = {"product": "pass_for_two", "holders": [holder, {**vars(SHE)}]}
        answer = clerk.post("/v1/centre/passes", json=order)
        assert answer.status_code == 422
        for secret in (HE.name, HE.id_number[:17], HE.phone, SHE.id_number):
            assert secret not in answer.text
    answer = clerk.post("/v1/centre/cards", content=f'{{"id_number": "{HE.id_number}"'.encode())
    assert answer.status_code == 422
    assert HE.id_number not in answer.text


def test_errors_say_what_kind_they_are(clerk: httpx.Client, bought: dict) -> None:  # type: ignore[type-arg]
    """Unknown names are 404, what cannot be done 422, what the rules deny 403 with their sentences."""
    assert clerk.post("/v1/centre/passes", json={"product": "pass"}).status_code == 404
    assert clerk.post(f"/v1/centre/passes/{'0' * 32}/renewals").status_code == 404
    refused = clerk.post(
        f"/v1/centre/passes/{bought['pass_id']}/refunds",
        json={"holders": [bought["cards"][0]["subject"]], "reason": "x"},
    )
    assert refused.status_code == 422
    assert "No refund is owed" in refused.json()["detail"]
    bad = {"method": "card_fingerprint", "template": "@@"}
    assert clerk.post(f"/v1/centre/holders/{bought['cards'][0]['subject']}/templates", json=bad).status_code == 422


@pytest.mark.parametrize("number", [2**31, 2**63, 10**30])
def test_a_number_beyond_all_is_a_problem(
    clerk: httpx.Client,
    bought: dict,
    centre: str,
    number: int,  # type: ignore[type-arg]
) -> None:
    """Whatever number is sent, the answer is a problem that says what is wrong with it, on either database."""
    with signed_in(centre, bought["cards"][0]["card"], HE.id_number) as me:
        for answer in (
            clerk.post(f"/v1/centre/conflicts/{number}", json={"note": "looked at"}),
            me.post("/v1/me/answer", json={"version": number, "accepted": False}),
            me.get(f"/v1/me/receipts/{number}"),
        ):
            refused(answer)


def test_the_character_nought_is_a_problem(clerk: httpx.Client, bought: dict, centre: str) -> None:  # type: ignore[type-arg]
    """No path and no body is taken with U+0000 in it, which one of the databases would keep and the other not."""
    his, card = bought["cards"][0]["subject"], bought["cards"][0]["card"]
    leaving = {"holders": [his], "reason": "moves", "goodwill": True}
    with signed_in(centre, card, HE.id_number) as me:
        for answer in (
            clerk.post("/v1/centre/holders/%00/photo", json={"photo": "AAAA"}),
            clerk.post("/v1/centre/holders/a%00b/templates", json={"method": "card_fingerprint", "template": "AAAA"}),
            clerk.post("/v1/centre/passes/%00/renewals"),
            clerk.post("/v1/centre/passes/%00/refunds", json=leaving),
            clerk.post(f"/v1/centre/passes/{bought['pass_id']}/refunds", json={**leaving, "reason": "a\0b"}),
            clerk.post(f"/v1/centre/passes/{bought['pass_id']}/refunds", json={**leaving, "holders": ["\0"]}),
            clerk.post("/v1/centre/conflicts/1", json={"note": "\0"}),
            me.post("/v1/me/withdrawals", json={"purpose": "\0"}),
            me.get("/v1/me/certificates/%00"),
        ):
            refused(answer)


def refused(answer: httpx.Response) -> None:
    """It is a problem of who asked, in the form of RFC 9457."""
    assert answer.status_code in (404, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == answer.status_code


def test_every_text_that_is_taken_refuses_nought(centre: str) -> None:
    """The description of the interface has the pattern at each text of a path and of a body."""
    described = httpx.get(f"{centre}/v1/openapi.json").json()
    ours = {"Shown", "Bought", "Order", "Photo", "Taken", "Leaving", "Card", "Settled", "Said", "Withdrawal", "Erasing"}
    taken = [
        (each["name"], each["schema"])
        for path in described["paths"].values()
        for write in path.values()
        for each in write.get("parameters", [])
        if each["in"] == "path"
    ]
    taken += [
        (name, member.get("items", member))
        for body in ours
        for name, member in described["components"]["schemas"][body]["properties"].items()
    ]
    texts = [(name, member) for name, member in taken if member.get("type") == "string"]
    assert len(texts) > 20
    assert [name for name, member in texts if "pattern" not in member] == []


def test_what_nobody_foresaw_is_a_problem(
    clerk: httpx.Client,
    bought: dict,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,  # type: ignore[type-arg]
) -> None:
    """A fault of ours is a problem too; it says nothing of what happened, which is logged."""

    def fails(*_given: object, **_named: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(pages.sales, "renew", fails)
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "handlers", [caplog.handler])
    answer = clerk.post(f"/v1/centre/passes/{bought['pass_id']}/renewals")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {"type": "about:blank", "title": "Internal Server Error", "status": 500}
    until = time.monotonic() + 10
    while "a fault of ours" not in caplog.text and time.monotonic() < until:
        time.sleep(0.01)  # it is logged when the answer has gone out
    assert "a fault of ours" in caplog.text


def test_the_rules_deny_by_name(park: Park, clerk: httpx.Client, bought: dict) -> None:  # type: ignore[type-arg]
    """A denial over HTTP is 403 and carries the holding and what would allow it."""
    from duecare.errors import Forbidden

    response = pages._handler(403)(None, Forbidden("no", reasons=("裁判要旨 [x]",)))
    assert response.status_code == 403
    assert "裁判要旨" in bytes(response.body).decode()


def test_a_port_that_is_taken(park: Park, centre: str) -> None:
    """A second server at the same port is an error in one sentence."""
    with pytest.raises(BadInput, match="cannot be served"), serving(park, port=int(centre.rsplit(":", 1)[1])):
        pass


def test_the_interface_is_described(centre: str) -> None:
    """OpenAPI lists the pages of the centre and the holder; the gate's protocol has a page of its own."""
    paths = httpx.get(f"{centre}/v1/openapi.json").json()["paths"]
    assert {"/v1/centre/passes", "/v1/me", "/v1/me/withdrawals"} <= set(paths)
    assert not any(path.startswith("/v1/gate") for path in paths)
