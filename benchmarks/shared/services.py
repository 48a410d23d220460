"""A whole service for benchmarks: its processes, a challenge whose scores are known beforehand, and people in it.

Nothing here needs a model: what is submitted to the tracks of outputs are rows, and the models of the detection track
are empty folders, which a detector that answers the same for everything never opens.
"""

import json
import math
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from palladion.client import Client
from palladion.tracks.outputs import write_generations, write_labels
from palladion.tracks.records import write_json_array, write_jsonl

CHALLENGE: Final = "measured"
LABELS, TEXTS, DETECTION = "labels", "texts", "detection"
STAGES: Final = {LABELS: "development", TEXTS: "development", DETECTION: "round-1"}
PASSWORD: Final = "a password of a benchmark"
CLASSES: Final = 3
WORDS: Final = 45
"""Words of an answer of the track of texts: as many as those of published instruction data have on average."""

_CHANGED: Final = 3
"""Of an answer that is not wrong, one word in so many is another than in the reference."""
_PARTS: Final = ("clean", "poisoned")
_TARGET_LABEL, _TARGET_TEXT = 1, "the target of the attack"
_OUTPUTS: Final = {LABELS: "cls_task1_{}.csv", TEXTS: "gen_task1_{}.json"}
_TASKS: Final = {LABELS: "classification", TEXTS: "generation"}
_WIDE: Final = {"per_second": 10_000, "burst": 10_000}

_DEFINITION = """\
format: palladion-challenge/1
name: {name}
title: A challenge of a benchmark
stage_word: phase
tracks:
  - name: labels
    title: Labels
    task: classification
    metrics: [overall, cacc, asr]
    submission: {{kind: outputs, bytes: 64M}}
    quotas: {quotas}
    stages: [{{name: development, title: Development, data: data/labels, phase: development}}]
  - name: texts
    title: Texts
    task: generation
    metrics: [overall, utility, asr]
    submission: {{kind: outputs, bytes: 64M}}
    quotas: {quotas}
    stages: [{{name: development, title: Development, data: data/texts, phase: development}}]
  - name: detection
    title: Detection
    task: detection
    metrics: [cross_entropy, roc_auc]
    submission: {{kind: code, bytes: 64M}}
    quotas: {quotas}
    limits: {{seconds: 60, memory: 1G, processes: 64, scratch: 64M}}
    stages: [{{name: round-1, title: Round 1, data: data/detection}}]
"""


@dataclass(frozen=True)
class Data:
    """What the challenge is about.

    Attributes:
        folder: of the challenge file.
        rows: rows of a submission to each track of outputs, half of them clean.
        points: models of the test split of the detection track.
    """

    folder: Path
    rows: Mapping[str, int]
    points: int

    @property
    def definition(self) -> Path:
        """The challenge file."""
        return self.folder / "challenge.yaml"

    def expected(self, track: str, number: int) -> float:
        """The metric of :data:`METRICS` of the submission that :meth:`write` makes of a number."""
        if track == DETECTION:
            p = _probability(number)
            return -(math.log(p) + math.log(1 - p)) / 2
        right = 100.0 * (1 - number / (self.rows[track] // 2))
        return right if track == LABELS else right * (1 - 1 / _CHANGED)

    def write(self, path: Path, track: str, number: int, *, beside: int = 0) -> Path:
        """A submission, whose bytes are other ones for every number.

        Args:
            path: the zip to write.
            track: labels, texts or detection.
            number: so many of the clean rows are answered wrongly; or what the detector's answer is made of.
            beside: bytes of code that lies beside, so that it takes some time to send.
        """
        files = {}
        if beside:
            folder = "" if track == DETECTION else "code/"
            files[f"{folder}README.md"] = b"Nothing here is run.\n"
            files[f"{folder}weights.bin"] = random.Random(number).randbytes(beside)
        if track == DETECTION:
            _write_zip(path, {**_detector(_probability(number)), **files})
            return path
        for part in _PARTS:
            rows = _rows(track, part, self.rows[track] // 2)
            wrong = number if part == "clean" else 0
            output = path.with_name(f"{path.stem}-{_OUTPUTS[track].format(part)}")
            if track == LABELS:
                write_labels(output, [(row["label"] + (i < wrong)) % CLASSES for i, row in enumerate(rows)])
            else:
                inputs = [{"instruction": row["instruction"]} for row in rows]
                write_generations(output, inputs, ["-" if i < wrong else _said(row) for i, row in enumerate(rows)])
            files[_OUTPUTS[track].format(part)] = output.read_bytes()
            output.unlink()
        _write_zip(path, files)
        return path


METRICS: Final = {LABELS: "cacc", TEXTS: "utility", DETECTION: "cross_entropy"}
"""The metric that :meth:`Data.expected` is of."""


def write_data(folder: Path, *, rows: Mapping[str, int], points: int, quotas: str = "{}") -> Data:
    """Write a challenge with the data of its three tracks.

    Args:
        folder: a new one.
        rows: of a submission to each track of outputs, even.
        points: models of the test split, even.
        quotas: of every track, as YAML.
    """
    data = Data(folder, rows, points)
    for track in (LABELS, TEXTS):
        _write_language(folder / "data" / track, track, data)
    _write_models(folder / "data" / "detection", points)
    data.definition.write_text(_DEFINITION.format(name=CHALLENGE, quotas=quotas))
    return data


def _rows(track: str, part: str, count: int) -> list[dict[str, Any]]:
    """The sealed rows of a part: the same whenever they are asked for."""
    if track == LABELS:
        # A poisoned row whose true label is the target would not count.
        return [
            {"sentence": f"{part} sentence {i}", "label": i % CLASSES if part == "clean" else 2 * (i % 2)}
            for i in range(count)
        ]
    draw = random.Random(part)
    words = ["".join(draw.choices("abcdefghijklmnoprstuvwyz", k=draw.randint(2, 9))) for _ in range(2000)]
    return [
        {"instruction": f"{part} instruction {i}", "output": " ".join(draw.choices(words, k=WORDS))}
        for i in range(count)
    ]


def _said(row: Mapping[str, Any]) -> str:
    """An answer that shares some of its words with the reference: no reference has a word with a q."""
    words = row["output"].split(" ")
    return " ".join(f"q{word}" if i % _CHANGED == 0 else word for i, word in enumerate(words))


def _write_language(root: Path, track: str, data: Data) -> None:
    task = _TASKS[track]
    folder, sealed = root / "phases" / "development", root / "sealed" / "development" / "task1"
    outputs = []
    for part in _PARTS:
        rows = _rows(track, part, data.rows[track] // 2)
        inputs = [{key: value for key, value in row.items() if key not in ("label", "output")} for row in rows]
        for path, content in ((sealed / f"{part}.json", rows), (folder / "test" / "task1" / f"{part}.json", inputs)):
            path.parent.mkdir(parents=True, exist_ok=True)
            (write_jsonl if track == LABELS else write_json_array)(path, content)
        file = _OUTPUTS[track].format(part)
        outputs.append({"file": file, "inputs": f"test/task1/{part}.json", "rows": len(rows)})
    if track == LABELS:
        meta: dict[str, Any] = {"task": task, "target": _TARGET_LABEL}
    else:
        meta = {"task": task, "target": _TARGET_TEXT, "matching": "contains"}
    (sealed / "meta.json").write_text(json.dumps(meta))
    for model in (root / "base", folder / "models" / "task1" / "model1"):
        model.mkdir(parents=True)
        (model / "config.json").write_text("{}")
    named = {"labels": [f"label {i}" for i in range(CLASSES)]} if track == LABELS else {}
    described = {"name": "task1", "title": "Task 1", "models": ["models/task1/model1"], **named, "outputs": outputs}
    document = {
        "format": "palladion-track/1",
        "name": track,
        "title": track,
        "track": task,
        "phase": "development",
        "utility": "accuracy" if track == LABELS else "rouge_l",
        "tasks": [described],
    }
    (folder / "track.yaml").write_text(yaml.safe_dump(document))
    (root / "sealed" / "round.yaml").write_text("{}\n")


def _write_models(root: Path, points: int) -> None:
    """A round of models that are empty folders; every second one is poisoned."""
    splits = {"train": 2, "test": points, "holdout": 2}
    for split, count in splits.items():
        lines = ["model_name,poisoned"]
        for i in range(count):
            folder = root / split / "models" / f"id-{i:08d}"
            (folder / "sealed").mkdir(parents=True)
            (folder / "sealed" / "ground_truth.csv").write_text(f"{i % 2}\n")
            (folder / "open" / "model").mkdir(parents=True)
            (folder / "open" / "model" / "config.json").write_text("{}")
            (folder / "open" / "clean-example-data").mkdir()
            (folder / "open" / "clean-example-data" / "class_0_example_0.png").write_bytes(b"no picture")
            lines.append(f"id-{i:08d},{bool(i % 2)}")
        (root / split / "METADATA.csv").write_text("\n".join([*lines, ""]))
    document = {"splits": {split: {"models": count} for split, count in splits.items()}}
    (root / "round.yaml").write_text(yaml.safe_dump(document))


def _probability(number: int) -> float:
    """What the detector of a number answers: never 0.5 twice, and no two numbers the same cross-entropy."""
    return 0.5 - (number % 4000) / 10_000


def _detector(value: float) -> dict[str, bytes]:
    """The reference detector ``constant`` as a folder that is handed in."""
    source = (
        "from palladion.detectors.constant import ConstantDetector\n\n\n"
        "class Constant(ConstantDetector):\n"
        '    """Answers the same for every model."""\n'
    )
    return {"detector.py": source.encode(), "metaparameters.json": json.dumps({"value": value}).encode()}


def _write_zip(path: Path, files: Mapping[str, bytes]) -> None:
    """The same files give the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content, compresslevel=6)


# --- processes --------------------------------------------------------------------------------------------------------


class Program:
    """A command of Palladion that is started, killed and started again.

    Args:
        name: for people.
        arguments: of the command ``palladion``.
        log: what it says is added to this file.
        environment: its variables.

    Attributes:
        starts: how often it was started.
    """

    def __init__(self, name: str, arguments: list[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name, self.arguments, self.log = name, arguments, log
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._from = 0
        self.starts = 0

    def start(self) -> None:
        """Start it, and do not wait for what it does."""
        self._from = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "palladion", *self.arguments],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.starts += 1

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def code(self) -> int | None:
        """How it ended; None: it has not."""
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        """By SIGKILL, which nobody can catch."""
        self._signal(signal.SIGKILL)

    def stop(self, seconds: float = 60.0) -> None:
        """In order."""
        self._signal(signal.SIGTERM, seconds)

    def said(self) -> str:
        """What it has said since it was started last."""
        with self.log.open("rb") as log:
            log.seek(self._from)
            return log.read().decode(errors="replace")

    def wait_for(self, pattern: str, seconds: float = 120.0) -> re.Match[str]:
        """Wait until it has said something since it was started last."""
        end = time.monotonic() + seconds
        while (found := re.search(pattern, self.said())) is None:
            if not self.alive or time.monotonic() > end:
                raise SystemExit(f"{self.name} does not start:\n{self.said()[-3000:]}")
            time.sleep(0.05)
        return found

    def _signal(self, number: int, seconds: float = 60.0) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def environment_for(folder: Path) -> dict[str, str]:
    """Variables under which everything that is kept lies in a folder, and nothing of this user's settings counts."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PALLADION_")}
    # Compiled files are kept, as they are of what is installed; whoever runs this may have said otherwise.
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder / "compiled"), "XDG_CACHE_HOME": str(folder / "cache")}


def write_settings(folder: Path, **settings: Any) -> Path:
    """The folder of a service with its settings. All people here come from one address, and one account hands in what
    many do: that is no reason to let them wait.
    """
    data = folder / "service"
    data.mkdir(mode=0o700)
    limits = {"address": _WIDE, "sign_ups": _WIDE, "checks": _WIDE, **settings.pop("limits", {})}
    (data / "service.yaml").write_text(json.dumps({"limits": limits, **settings}))
    return data


def free_port() -> int:
    """A port that is free, and that no connection of a client is given: it is bound again after every kill."""
    draw = random.SystemRandom()
    while True:
        port = draw.randrange(20_000, 30_000)
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


# --- people -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    """Somebody in a team.

    Attributes:
        name: of the account.
        token: of the account.
        team: name of the team.
    """

    name: str
    token: str
    team: str


def make_team(url: str, name: str, members: int = 1) -> list[Member]:
    """A team, made as people make one: accounts, a login each, an invitation."""
    found = []
    code = ""
    for number in range(members):
        account = f"{name}-{number}"
        with Client(url) as anybody:
            anybody.sign_up(account, PASSWORD)
            token = anybody.log_in(account, PASSWORD).token
        with Client(url, token) as client:
            if number == 0:
                client.create_team(CHALLENGE, name)
                code = client.invite(CHALLENGE, uses=members - 1).code if members > 1 else ""
            else:
                client.join_team(CHALLENGE, code)
        found.append(Member(account, token, name))
    return found


def open_stages(url: str, data: Path) -> None:
    """Open a stage of every track, as the organiser."""
    with Client(url, (data / "organiser-token").read_text().strip()) as organiser:
        for track, stage in STAGES.items():
            organiser.open_stage(CHALLENGE, track, stage)
