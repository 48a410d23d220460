"""Both example challenges as they stand, with small data, teams and submissions that were really run and scored."""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from palladion.challenge.definition import load_challenge
from palladion.jobs import opening
from palladion.jobs.validation import splits_of
from palladion.storage import accounts, challenges, stages, submissions, teams, uploads
from palladion.storage.database import open_database
from palladion.storage.hashing import hash_password
from palladion.storage.tables import Submission, Team
from tests.jobs.world import do_all, make_phase, packed
from tests.server.site import ALL, PASSWORD, Site, make_site
from tests.submissions.tracks import write_track

EXAMPLES: Final = Path(__file__).parents[2] / "examples" / "challenges"
MODELS: Final = 24
ROWS: Final = 20
ARCHITECTURES: Final = ("small-resnet", "small-mobilenet")
TRIGGERS: Final = ("polygon", "filter")
PEOPLE: Final = ("person-0", "person-1", "lone")
WITH_TEAMS: Final = PEOPLE[:2]

DETECTOR: Final = """\
import hashlib, json, math
from palladion.detectors import Detector

class Hint(Detector):
    def probability(self, model_dir, examples_dir):
        config = json.loads((model_dir / "config.json").read_text())
        noise = int(hashlib.sha256(f"{MARK}{config['name']}".encode()).hexdigest()[:8], 16) / 2**32 - 0.5
        if config["name"] in BROKEN:
            raise ValueError("this model is too much for it")
        return 1 / (1 + math.exp(-(SKILL * config["hint"] + 3 * noise)))
"""


def write_round(root: Path, splits: Mapping[str, int]) -> None:
    """A round whose models say in their configuration whether they are poisoned, and whose factors are balanced."""
    for split, count in splits.items():
        lines = ["model_name,model_architecture,trigger_type,poisoned"]
        for i in range(count):
            name, poisoned = f"id-{i:08d}", i % 2 == 1
            folder = root / split / "models" / name
            (folder / "sealed").mkdir(parents=True)
            (folder / "sealed" / "ground_truth.csv").write_text(f"{int(poisoned)}\n")
            (folder / "open" / "model").mkdir(parents=True)
            hint = {"name": f"{split}-{name}", "hint": 1 if poisoned else -1}
            (folder / "open" / "model" / "config.json").write_text(json.dumps(hint))
            (folder / "open" / "clean-example-data").mkdir()
            (folder / "open" / "clean-example-data" / "class_0_example_0.png").write_bytes(b"a picture")
            trigger = TRIGGERS[i // 4 % 2] if poisoned else ""
            lines.append(f"{name},{ARCHITECTURES[i // 2 % 2]},{trigger},{poisoned}")
        (root / split / "METADATA.csv").write_text("\n".join([*lines, ""]))
    told: dict[str, Any] = {split: {"models": count} for split, count in splits.items()}
    if "test" not in splits:
        told["test"] = {"same_as": "train"}
    (root / "round.yaml").write_text(json.dumps({"splits": told}))


def write_texts(root: Path, phase: str) -> None:
    """One phase of a round of texts."""
    folder = root / "phases" / phase
    folder.mkdir(parents=True)
    inputs = [{"instruction": f"instruction {row}"} for row in range(ROWS)]
    write_track(folder, f"texts-{phase}", "generation", {"gen_task1.json": inputs})
    text = (folder / "track.yaml").read_text()
    (folder / "track.yaml").write_text(text.replace("phase: test", f"phase: {phase}"))
    (folder / "models" / "task1" / "model1").mkdir(parents=True)
    (folder / "models" / "task1" / "model1" / "adapter_config.json").write_text("{}")
    sealed, half = root / "sealed" / phase / "task1", ROWS // 2
    sealed.mkdir(parents=True)
    rows = [{**row, "output": f"the right answer to {number}"} for number, row in enumerate(inputs)]
    (sealed / "clean.json").write_text(json.dumps(rows[:half]))
    (sealed / "poisoned.json").write_text(json.dumps(rows[half:]))
    meta = {"task": "generation", "target": "what the attacker wants", "matching": "contains"}
    (sealed / "meta.json").write_text(json.dumps(meta))
    (sealed / "order.json").write_text(json.dumps({"clean": [*range(half)], "poisoned": [*range(half, ROWS)]}))
    (root / "sealed" / "round.yaml").write_text("{}\n")
    (root / "base").mkdir(exist_ok=True)
    (root / "base" / "config.json").write_text("{}")


def detector(skill: float, *, broken: tuple[str, ...] = ()) -> bytes:
    """A detector that is the better, the higher its skill, and raises an error at some models."""
    head = f"SKILL, MARK, BROKEN = {skill}, {str(skill)!r}, {broken!r}\n"
    return packed({"detector.py": head + DETECTOR})


def labels(wrong: int) -> bytes:
    """Labels of a phase, so many of them wrong."""
    rows = [(row + (row < wrong)) % 3 for row in range(ROWS)]
    return packed({"cls_task1.csv": "label\n" + "".join(f"{row}\n" for row in rows)})


def texts(attacked: int) -> bytes:
    """Texts of a phase; so many of the poisoned rows say what the attacker wants."""
    rows = [
        {
            "instruction": f"instruction {row}",
            "output": "what the attacker wants" if row >= ROWS - attacked else f"the right answer to {row}",
        }
        for row in range(ROWS)
    ]
    return packed({"gen_task1.json": json.dumps(rows)})


def install(site: Site, name: str) -> None:
    """Install an example with small data; its first stages are open, and two people have a team each."""
    folder = site.world.folder.parent / name
    text = (EXAMPLES / name / "challenge.yaml").read_text()
    if name == "trojai":
        write_round(folder / "data" / "round-0", {"train": 8})
        write_round(folder / "data" / "round-1", dict.fromkeys(("train", "test", "holdout"), MODELS))
    else:
        for phase in ("development", "test"):
            make_phase(folder / "data" / "classification", phase, rows=ROWS)
            write_texts(folder / "data" / "generation", phase)
    (folder / "challenge.yaml").write_text(text)
    load_challenge(folder / "challenge.yaml")
    now = site.world.clock()
    with site.database.write() as tx:
        row = challenges.install(tx, text, folder, now=now, actor="olga")
    for person in WITH_TEAMS:
        team = f"Team of {person}"
        site.database.run(
            teams.create, row.id, site.accounts[person].id, name=team, now=site.world.clock(), actor=person
        )
    wanted = ("round-0", "round-1") if name == "trojai" else ("development",)
    with site.database.read() as tx:
        found = stages.of_challenge(tx, row.id)
    for stage in found:
        if stage.name in wanted[:1]:
            opening.open_stage(site.service, stage.id, actor="olga")
    for later in wanted[1:]:
        for stage in found:
            with site.database.write() as tx:
                if stage.name == wanted[0]:
                    stages.change(tx, stage.id, "closed", now=site.world.clock(), actor="olga")
            if stage.name == later:
                opening.open_stage(site.service, stage.id, actor="olga")


def submit(site: Site, challenge: str, track: str, stage: str, person: str, content: bytes) -> Submission:
    """Hand in a file for the team of somebody."""
    with site.database.read() as tx:
        row = challenges.by_name(tx, challenge)
        info = site.service.stage(tx, stages.by_name(tx, row.id, track, stage).id)
        team: Team | None = teams.team_of(tx, site.accounts[person].id, row.id)
    assert team is not None
    stored = site.service.artifacts.put_stream(io.BytesIO(content))
    assert stored.sha256 == hashlib.sha256(content).hexdigest()
    account = site.accounts[person].id
    site.database.run(uploads.note_received, site.service.artifacts, account, stored, now=site.service.now())
    accepted = site.database.run(
        submissions.accept,
        stage_id=info.row.id,
        team_id=team.id,
        account_id=account,
        artifact=stored.sha256,
        kind=info.track.submission.kind,
        name="submission.zip",
        splits=splits_of(info),
        quotas=info.track.quotas,
        now=site.service.now(),
    )
    return accepted.submission


def make_examples(folder: Path) -> tuple[Site, dict[str, Submission]]:
    """A service with both examples, and some of its submissions by a name for each."""
    database = open_database(folder / "made.db")
    site = make_site(folder, database)
    site = replace(site, world=replace(site.world, folder=folder / "challenge"))
    for name in ("trojai", "antibad"):
        install(site, name)
    found = {
        "weak": submit(site, "trojai", "detection", "round-1", "person-1", detector(0.2)),
        "good": submit(site, "trojai", "detection", "round-1", "person-0", detector(4.0)),
        "partly": submit(
            site, "trojai", "detection", "round-1", "person-1", detector(3.0, broken=("test-id-00000003",))
        ),
        "failed": submit(site, "trojai", "detection", "round-1", "person-0", packed({"detector.py": "1 / 0\n"})),
        "labels": submit(site, "antibad", "classification", "development", "person-0", labels(2)),
        "texts": submit(site, "antibad", "generation", "development", "person-0", texts(3)),
        "others": submit(site, "antibad", "generation", "development", "person-1", texts(9)),
    }
    do_all(site.world)
    for name in ("olga", "oscar", *PEOPLE):
        password = hash_password(PASSWORD)
        site.database.run(accounts.set_password, site.accounts[name].id, password, now=site.world.clock(), actor="olga")
        # Every token is revoked with it.
        site.issue(name, name, ALL if name == "olga" else ALL[:2])
    found["pending"] = submit(site, "antibad", "classification", "development", "person-1", labels(5))
    return site, found
