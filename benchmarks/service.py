"""Claim: outputs of 10,000 rows are on the leaderboard within 5 seconds, and a detector starts within 2.

Both through the API of a service as ``palladion serve`` starts it: one process, SQLite, its own worker. The clock runs
from before the last byte of the file is sent until an answer of the service shows what was waited for, and is the one
of the client. Outputs are labels as CSV and texts as JSON, half of the rows clean and half poisoned; of the texts, of
45 words each, every third word is another than in the reference, and they are scored by ROUGE-L. The detector is the
reference detector ``constant``, packed as a submission.

The service is idle first. Then others hand in outputs all the time: each of them, labels and texts by turns, as soon
as the one before is scored.

    python benchmarks/service.py                      8 of each: some minutes
    python benchmarks/service.py --repeats 3 --others 0 1
"""

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.shared import services  # noqa: E402
from benchmarks.shared.services import CHALLENGE, DETECTION, LABELS, STAGES, TEXTS, Data, Member, Program  # noqa: E402

from palladion.client import Client, Unreachable  # noqa: E402
from palladion.client.answers import Submission  # noqa: E402
from palladion.client.uploads import file_sha256  # noqa: E402

POINTS = 4
GOALS = {LABELS: 5.0, TEXTS: 5.0, DETECTION: 2.0}
LOOK = 0.2
"""Seconds between looks: to look takes processors as well."""
LONGEST = 300.0
Seconds = tuple[str, list[float]]
FILE_NAMES = {LABELS: "labels, CSV", TEXTS: "texts, JSON, ROUGE-L"}


@dataclass(frozen=True)
class Row:
    """Seconds until something has happened, of several submissions.

    Attributes:
        what: was handed in.
        until: what was waited for.
        others: who handed in outputs meanwhile.
        seconds: of each.
        goal: None where there is none.
    """

    what: str
    until: str
    others: int
    seconds: list[float]
    goal: float | None

    @property
    def reached(self) -> bool | None:
        """Whether each of them was in time."""
        return None if self.goal is None else max(self.seconds) <= self.goal


class Files:
    """Submissions whose bytes were never handed in before."""

    def __init__(self, challenge: Data, folder: Path) -> None:
        self._challenge, self._folder = challenge, folder
        self._numbers = count(1)
        self._lock = threading.Lock()

    def new(self, track: str) -> Path:
        """Another one."""
        with self._lock:
            number = next(self._numbers)
        return self._challenge.write(self._folder / f"{track}-{number}.zip", track, number)


@dataclass
class HandedIn:
    """A submission that was handed in, and the seconds until its answers."""

    submission: Submission
    began: float
    sent: float
    accepted: float


def hand_in(client: Client, track: str, path: Path) -> HandedIn:
    """Send a file in one part and submit it."""
    upload = client.begin_upload(file_sha256(path), path.stat().st_size)
    content = path.read_bytes()
    began = time.time()
    if not client.send_chunk(upload.id, 0, content).complete:
        raise SystemExit(f"{path.name} is larger than one part")
    sent = time.time() - began
    submission, new = client.submit(CHALLENGE, track, sha256=upload.sha256, filename=path.name)
    if not new:
        raise SystemExit(f"{path.name} was handed in before")
    return HandedIn(submission, began, sent, time.time() - began)


def _outputs(client: Client, track: str, path: Path) -> dict[str, float]:
    """Seconds until each thing has happened to a file of outputs."""
    one = hand_in(client, track, path)
    place = (CHALLENGE, track, STAGES[track])
    while all(row.submission != one.submission.id for row in client.leaderboard(*place, everything=True).rows):
        if time.time() - one.began > LONGEST:
            submission = client.submission(one.submission.id)
            raise SystemExit(f"{path.name} is {submission.state}: {submission.reason}")
        time.sleep(LOOK)
    return {"accepted": one.accepted, "on the leaderboard": time.time() - one.began}


def labels(client: Client, path: Path) -> dict[str, float]:
    """The same of labels."""
    return _outputs(client, LABELS, path)


def texts(client: Client, path: Path) -> dict[str, float]:
    """The same of texts."""
    return _outputs(client, TEXTS, path)


def detector(client: Client, path: Path) -> dict[str, float]:
    """Seconds until each thing has happened to a detector."""
    found: dict[str, float] = {}
    with watched() as seen:
        one = hand_in(client, DETECTION, path)
        found["accepted"] = one.accepted
        submission = one.submission
        while not submission.ended:
            if seen:
                found.setdefault("its first model is opened", seen[0] - one.began)
            if submission.started is not None:
                found.setdefault("it has started", submission.started.timestamp() - one.began)
            if submission.progress_points is not None and submission.progress_points.done:
                found.setdefault("its first model is answered", time.time() - one.began)
            time.sleep(LOOK)
            submission = client.submission(submission.id)
    if submission.state != "scored":
        raise SystemExit(f"{path.name} is {submission.state}: {submission.reason}")
    found["it is scored"] = time.time() - one.began
    return found


@contextmanager
def watched() -> Iterator[list[float]]:
    """When a process was seen that is to write the result of a data point; the first alone counts."""
    seen: list[float] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(LOOK / 2) and not seen:
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    if b"--result_filepath" in path.read_bytes():
                        seen.append(time.time())
                        return
                except OSError:
                    continue  # it has ended meanwhile

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


@contextmanager
def others(url: str, members: list[Member], files: Files, tracks: tuple[str, ...] = (LABELS, TEXTS)) -> Iterator[None]:
    """People who hand in outputs all the time."""
    stop = threading.Event()
    scored = [threading.Event() for _ in members]

    def take_part(member: Member, place: int) -> None:
        with Client(url, member.token) as client:
            for turn in count(place):
                track = tracks[turn % len(tracks)]
                path = files.new(track)
                if stop.is_set():
                    return
                try:
                    submission = hand_in(client, track, path).submission
                    while not submission.ended and not stop.wait(0.25):
                        submission = client.submission(submission.id)
                except Unreachable as error:
                    print(f"somebody else: {error}", file=sys.stderr)
                    continue
                scored[place].set()

    threads = [
        threading.Thread(target=take_part, args=(member, place), daemon=True) for place, member in enumerate(members)
    ]
    for thread in threads:
        thread.start()
    for event in scored:
        event.wait(LONGEST)
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(LONGEST)


def repeated(work: Callable[[Client, Path], dict[str, float]], client: Client, paths: list[Path]) -> Iterator[Seconds]:
    """What is measured of each of these files, by what was waited for."""
    found: dict[str, list[float]] = {}
    for path in paths:
        for until, seconds in work(client, path).items():
            found.setdefault(until, []).append(round(seconds, 3))
    yield from found.items()


def measure(url: str, files: Files, options: argparse.Namespace) -> Iterator[Row]:
    [member] = services.make_team(url, "measured")
    rivals = [services.make_team(url, f"other-{number}")[0] for number in range(max(options.others))]
    with Client(url, member.token) as client:
        # The first detector of a machine waits until its sandbox was tried out.
        yield from _detector_rows(client, files, 1, 0, "detector, the first of this machine", None)
        for number in sorted(options.others):
            with others(url, rivals[:number], files):
                for track, work in ((LABELS, labels), (TEXTS, texts)):
                    paths = [files.new(track) for _ in range(options.repeats)]
                    for until, seconds in repeated(work, client, paths):
                        goal = GOALS[track] if until == "on the leaderboard" else None
                        yield Row(FILE_NAMES[track], until, number, seconds, goal)
                yield from _detector_rows(client, files, options.repeats, number, "detector", GOALS[DETECTION])


def _detector_rows(
    client: Client, files: Files, repeats: int, number: int, what: str, goal: float | None
) -> Iterator[Row]:
    for until, seconds in repeated(detector, client, [files.new(DETECTION) for _ in range(repeats)]):
        yield Row(what, until, number, seconds, goal if until == "it has started" else None)


def show(row: Row) -> None:
    verdict = "" if row.reached is None else f"{row.goal:.0f} s: {'reached' if row.reached else 'NOT reached'}"
    print(
        f"{row.what:36} {row.others:6} {row.until:28} {len(row.seconds):3} {statistics.median(row.seconds):8.2f} "
        f"{max(row.seconds):8.2f}   {verdict}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="of a submission of outputs")
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument(
        "--others", type=int, nargs="+", default=[0, 1, 4], help="how many hand in outputs all the time"
    )
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "service.json")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    folder = Path(tempfile.mkdtemp(prefix="palladion-service-"))
    results: list[Row] = []
    load: list[float] = [os.getloadavg()[0]]
    print(f"{len(os.sched_getaffinity(0))} cores, load {load[0]:.1f}, {options.rows} rows; seconds")
    try:
        challenge = services.write_data(
            folder / "challenge", rows=dict.fromkeys((LABELS, TEXTS), options.rows), points=POINTS
        )
        data = services.write_settings(folder)
        command = ["serve", "--data", str(data), "--port", str(services.free_port())]
        command += ["--challenge", str(challenge.definition)]
        server = Program("server", command, folder / "server.log", services.environment_for(folder))
        try:
            server.start()
            url = server.wait_for(r"serving (http://\S+)")[1]
            services.open_stages(url, data)
            print(f"{'':36} {'others':>6} {'until':28} {'n':>3} {'median':>8} {'longest':>8}   goal")
            (folder / "files").mkdir()
            for row in measure(url, Files(challenge, folder / "files"), options):
                show(row)
                results.append(row)
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    load.append(os.getloadavg()[0])
    document: dict[str, Any] = {
        "rows": options.rows,
        "words": services.WORDS,
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "load": load,
        "results": [
            {**asdict(row), "median": statistics.median(row.seconds), "longest": max(row.seconds)} for row in results
        ],
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
