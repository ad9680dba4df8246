"""A gate's question over HTTP: how long a person waits for `open or not`, with one gate and with eight at once.

The centre is the program `duecare passes serve`, a process of its own; the gates are the gate's own program, each with
its key, in threads of this process. Every figure includes signing and checking on both sides, the decision of the
rules, the one opened value, the comparison, the visit and the evidence. The floor is the same server asked for a page
that it does not have, by the same client.
"""

from __future__ import annotations

import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
from stdnum.cn import ric

from duecare.settings import load
from duecare.store.home import Home
from duecare.systems.passes import changes, enrolment, gates, sales
from duecare.systems.passes.device import Gate, Presentation
from duecare.systems.passes.matching import FACE, FINGERPRINT, same_person
from duecare.systems.passes.park import Park
from duecare.systems.passes.sales import Buyer
from duecare.systems.passes.sensor import Sensor

_TIMES = 400
_COUPLES = 20
_GATES = (1, 8)
_COUNTER = {"screen": "bench", "actor": "bench"}


def run(scale: float = 1.0) -> None:
    """Print decisions a second, milliseconds at the median and at the 99th of 100, and ratios to the floor."""
    times = max(16, int(_TIMES * scale))
    with tempfile.TemporaryDirectory(prefix="duecare-bench-") as folder:
        home = Path(folder) / "home"
        shown = _furnish(home, Path(folder))
        durable = _durable(Path(folder)) * 1000
        print(f"gates: SQLite, {times} questions of each kind, a durable write of 4 KiB takes {durable:.2f} ms here")
        with _served(home) as address:
            made = [_gate(Path(folder) / f"gate-{number}", address) for number in range(max(_GATES))]
            for each in made:
                each.sync()
            for many in _GATES:
                _measure(made[:many], address, shown, times)
            for each in made:
                each.close()


def _measure(made: Sequence[Gate], address: str, shown: dict[str, list[Presentation]], times: int) -> None:
    print(f"  {len(made)} gate{'s' if len(made) > 1 else ''} at once")
    with httpx.Client(base_url=address, trust_env=False) as client:
        floor = _asked(made, times, lambda gate, number: client.get("/nothing"))
    print(f"    {'floor':<22}{_said(floor)}")
    for way, people in shown.items():
        taken = _asked(made, times, lambda gate, number, people=people: _open(gate, people[number % len(people)]))
        ratio = statistics.median(taken[1]) / statistics.median(floor[1])
        print(f"    {way:<22}{_said(taken)}, {ratio:.1f} times the floor")


def _asked(made: Sequence[Gate], times: int, ask: Callable[[Gate, int], object]) -> tuple[float, list[float]]:
    """Questions a second of all gates together, and the seconds that each took."""

    def one(gate: Gate) -> list[float]:
        taken = []
        for number in range(times // len(made)):
            began = time.perf_counter()
            ask(gate, number)
            taken.append(time.perf_counter() - began)
        return taken

    ask(made[0], 0)
    began = time.perf_counter()
    with ThreadPoolExecutor(len(made)) as pool:
        taken = [each for part in pool.map(one, made) for each in part]
    return len(taken) / (time.perf_counter() - began), taken


def _open(gate: Gate, shown: Presentation) -> None:
    """Ask the centre, and see that it is the centre that answered, and opened."""
    answer = gate.enter(shown)
    if not answer.open or answer.words[0].id.startswith("gate."):
        raise RuntimeError(f"What was measured is not what was meant: {[word.id for word in answer.words]}.")


def _said(taken: tuple[float, list[float]]) -> str:
    rate, each = taken[0], sorted(taken[1])
    late = each[min(len(each) - 1, int(len(each) * 0.99))]
    return f"{rate:>7,.0f}/s  p50 {statistics.median(each) * 1000:>6.2f} ms  p99 {late * 1000:>7.2f} ms"


def _furnish(home: Path, folder: Path) -> dict[str, list[Presentation]]:
    """A park with passes sold: what its holders show, by way in; some of them enter by finger, some by face."""
    settings = load(
        home=home, database_url="", controller_name="某公司", controller_code="91330000000000000X",
        controller_address="杭州市", controller_contact="privacy@example.com",
    )  # fmt: skip
    shown: dict[str, list[Presentation]] = {"card and ID card": [], "card and fingerprint": [], "card and face": []}
    with Home(settings) as opened, Park.open(opened) as park:
        changes.publish(park, ["card_id_card", "card_fingerprint", "card_face"])
        for couple in range(_COUPLES):
            buyers = [Buyer("成员", _id_number(2 * couple + one), "13800138000") for one in range(2)]
            sold = sales.sell(park, "pass_for_two", buyers, **_COUNTER)
            for (way, kind), card in zip((("fingerprint", FINGERPRINT), ("face", FACE)), sold.cards, strict=True):
                sensor, person = Sensor(kind), card.subject
                enrolment.enrol(park, card.subject, f"card_{way}", sensor.read(person).data(), **_COUNTER)
                template = _recognised(sensor, person)
                shown[f"card and {way}"].append(Presentation(card.card, template=template))
            shown["card and ID card"].append(Presentation(sold.cards[0].card, buyers[0].id_number))
        for number in range(max(_GATES)):
            gate = Gate.make(
                folder / f"gate-{number}", f"gate-{number}", "http://127.0.0.1:9", str(gates.centre_key(park).verifier)
            )
            with gate, park.home.database.session() as session:
                gates.add_gate(session, gate.key, park.now())
    return shown


def _recognised(sensor: Sensor, person: str) -> bytes:
    """A reading that is close enough to the enrolled one: a few in a thousand are not, and those are not measured."""
    enrolled = sensor.read(person)
    return next(
        each.data() for each in (sensor.read(person, number) for number in range(1, 50)) if same_person(enrolled, each)
    )


def _gate(folder: Path, address: str) -> Gate:
    said = json.loads((folder / "gate.json").read_text(encoding="utf-8"))
    (folder / "gate.json").write_text(json.dumps({**said, "centre": address}), encoding="utf-8")
    return Gate(folder)


@contextmanager
def _served(home: Path) -> Iterator[str]:
    """The centre as a program; gives its address."""
    words = ["-m", "duecare", "passes", "serve", "--port", "0", "--home", str(home), "--json"]
    centre = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
    assert centre.stdout is not None
    try:
        yield str(json.loads(centre.stdout.readline())["url"])
    finally:
        centre.terminate()
        centre.wait(60)
        centre.stdout.close()


def _durable(folder: Path) -> float:
    """Seconds of a write of 4 KiB that is on the disk afterwards."""
    taken = []
    for _ in range(50):
        began = time.perf_counter()
        with (folder / "durable").open("ab") as file:
            file.write(secrets.token_bytes(4096))
            file.flush()
            os.fsync(file.fileno())
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _id_number(number: int) -> str:
    body = f"11010519{70 + number // 336 % 20}{1 + number // 28 % 12:02d}{1 + number % 28:02d}{number % 1000:03d}"
    return body + str(ric.calc_check_digit(body + "0"))
