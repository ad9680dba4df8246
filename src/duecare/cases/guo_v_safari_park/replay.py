"""Case 2, replayed: two parks live through the same years, one by the holdings and one without any rule.

What is seen in both is weighed by the same checks. They hold in the first; that every one of them fails in the second
is itself a check.

The rule of this module: nothing is decided here.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from duecare.cases.court import Court, Verdict
from duecare.cases.guo_v_safari_park import chapters, world
from duecare.cases.guo_v_safari_park.chapters import Stage
from duecare.cases.guo_v_safari_park.conduct import AsItWas, ByTheRules, Conduct, day_after
from duecare.cases.guo_v_safari_park.findings import counter_proof, weigh
from duecare.cases.guo_v_safari_park.observed import Years
from duecare.clock import Clock, SetClock
from duecare.evidence.cosign import RemoteWitness
from duecare.evidence.cosignature import WitnessKey
from duecare.evidence.log import Log
from duecare.settings import Settings, load
from duecare.store.home import Home
from duecare.systems.passes import gates
from duecare.systems.passes.device import Gate
from duecare.systems.passes.park import Park
from duecare.systems.passes.server import serving


def replay(court: Court) -> Verdict:
    """Run the case. Raises what the service raises; a check that fails is a verdict, not an error."""
    said = world.facts()
    ours = weigh(said, live(court, said, ByTheRules()))
    theirs = weigh(said, live(court, said, AsItWas()))
    case = said["case"]
    return Verdict(case["name"], case["title"], case["holding"], (*ours, counter_proof(theirs)))


def live(court: Court, said: Mapping[str, Any], conduct: Conduct) -> Years:
    """The years of the case in the park of ``conduct``, in a folder of its name; and a stranger's look afterwards.

    Its home is deleted before the stranger looks at the certificates that were handed over.
    """
    folder = court.folder / conduct.name
    stranger = folder / "stranger"
    with _stage(court, said, conduct, folder) as (stage, keys):
        messages_first, stopped = said["messages"]["first"], said["fingerprints"]["stopped"]
        bought = chapters.purchase(stage)
        couples = bought.couples
        entered = chapters.entries(stage, couples, said["purchase"]["on"], messages_first)
        summer = chapters.summer(stage, couples)
        entered += chapters.entries(stage, couples, day_after(messages_first), stopped)
        autumn = chapters.autumn(stage, couples, summer.version)
        visit = chapters.visit(stage, couples)
        after = chapters.after(stage, couples)
        chapters.hand_over(stage, couples, stranger, keys)
    texts = sorted((folder / "messages").glob("*.json"))
    told = [json.loads(path.read_text(encoding="utf-8")) for path in texts]
    for each in ("home", "backup", "restored"):
        shutil.rmtree(folder / each)
    years = Years(bought, entered, summer, autumn, visit, after, told)
    return replace(years, certificates=_verified(stranger), forged=_forged(stranger))


@contextmanager
def _stage(
    court: Court, said: Mapping[str, Any], conduct: Conduct, folder: Path
) -> Iterator[tuple[Stage, dict[str, str]]]:
    """The park, open on the day of the purchase, with its gate, its SMS gateway and, in another process, its witness;
    and the public keys of its log and of the witness."""
    clock = SetClock(world.noon(said["purchase"]["on"]))
    with ExitStack() as stack:
        sms = stack.enter_context(court.sms(folder / "messages"))
        home = stack.enter_context(Home(_settings(folder / "home", sms), clock))
        keys, witnesses = {"log": str(Log.at(home.path).key)}, list[RemoteWitness]()
        if conduct.witnessed:
            url, keys["witness"] = stack.enter_context(court.witness(folder / "witness", keys["log"]))
            witnesses.append(RemoteWitness(url, WitnessKey.parse(keys["witness"])))
        park = stack.enter_context(Park.open(home, conduct.engine(), witnessed_by=witnesses))
        gate = stack.enter_context(_gate(park, folder / "gate", clock))
        yield Stage(said, conduct, clock, park, gate, witnesses, folder, court.progress), keys


@contextmanager
def _gate(park: Park, folder: Path, clock: Clock) -> Iterator[Gate]:
    """The park's only gate, asking its centre over HTTP."""
    with serving(park) as centre:
        made = Gate.make(folder, "east", centre, str(gates.centre_key(park).verifier), clock)
        with park.home.database.session() as session:
            gates.add_gate(session, made.key, park.now())
        with made:
            yield made


def _settings(home: Path, sms: str) -> Settings:
    return load(
        home=home,
        database_url="",
        sms_url=sms,
        smtp_url="",
        controller_name="某野生动物世界有限公司",
        controller_code="91330100000000000X",
        controller_address="杭州市某区某路1号",
        controller_contact="privacy@park.example",
    )


def _verified(stranger: Path) -> dict[str, bool]:
    """Each certificate, by whose and for which purpose, as the command finds it."""
    found = sorted(stranger.glob("*.certificate.json"))
    return {path.name.removesuffix(".certificate.json"): _genuine(stranger, path) for path in found}


def _forged(stranger: Path) -> bool | None:
    """Whether the first certificate is found genuine with another moment in it; none where there is none."""
    for path in sorted(stranger.glob("*.certificate.json")):
        forged = stranger / "forged.json"
        forged.write_bytes(path.read_bytes().replace(b'erased_at\\":\\"20', b'erased_at\\":\\"19', 1))
        return _genuine(stranger, forged) or forged.read_bytes() == path.read_bytes()
    return None


def _genuine(stranger: Path, path: Path) -> bool:
    """``duecare verify`` in a process of its own and an empty home, with the two public keys."""
    words = ["verify", str(path), "--key", str(stranger / "log.pub"), "--witness", str(stranger / "witness.pub")]
    command = [sys.executable, "-m", "duecare", *words, "--home", str(stranger / "nothing"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode == 0 and bool(json.loads(done.stdout)["holds"])
