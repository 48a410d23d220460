"""Challenges: the definition as it was installed, and the stages that it names."""

from datetime import datetime
from pathlib import Path

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from palladion.challenge.definition import CHALLENGE_FILE, parse_challenge
from palladion.challenge.definition import Challenge as Definition
from palladion.storage import audit
from palladion.storage.errors import Conflict, NotFound
from palladion.storage.ids import new_id
from palladion.storage.tables import Challenge, Stage, StageStep, Submission

__all__ = ["FIRST_SCORER", "by_id", "by_name", "definition_of", "install", "listing"]

FIRST_SCORER = "1"
"""The version of the scorer that a new stage starts with."""

# Above every ordinal there can be; see _stages.
_ASIDE = 1_000_000


def install(
    tx: Session,
    definition: str,
    folder: Path,
    *,
    now: datetime,
    actor: str,
    scorer: str = FIRST_SCORER,
) -> Challenge:
    """Install a challenge, or change the one of this name to what the definition says now.

    Stages that are new are planned. What has been opened stays what it was: such a stage can neither be left out nor
    get other data, and the task of its track cannot change.

    Args:
        tx: a write transaction.
        definition: the text of challenge.yaml.
        folder: what its paths are relative to.
        now: the time.
        actor: who installs it.
        scorer: version of the scorer that new stages start with.

    Raises:
        InputError: the definition is not as it must be; every fault with its line.
        Conflict: it would change what has been opened.
    """
    wanted = parse_challenge(definition, folder / CHALLENGE_FILE)
    place = str(folder.absolute())
    challenge = tx.execute(
        select(Challenge).where(Challenge.name == wanted.name).with_for_update(),
        execution_options={"populate_existing": True},
    ).scalar_one_or_none()
    if challenge is None:
        challenge = Challenge(
            id=new_id(),
            name=wanted.name,
            title=wanted.title,
            definition=definition,
            folder=place,
            created=now,
            changed=now,
        )
        tx.add(challenge)
        tx.flush()
        action = "challenge.install"
    elif challenge.definition == definition and challenge.folder == place:
        return challenge
    else:
        _must_fit(tx, challenge, wanted)
        challenge.title, challenge.definition = wanted.title, definition
        challenge.folder, challenge.changed = place, now
        tx.flush()
        action = "challenge.change"
    _stages(tx, challenge, wanted, scorer)
    subject = f"challenge:{challenge.id}"
    audit.add(tx, actor=actor, action=action, subject=subject, challenge_id=challenge.id, now=now)
    return challenge


def by_name(tx: Session, name: str) -> Challenge:
    """The challenge.

    Raises:
        NotFound: there is none.
    """
    challenge = tx.execute(select(Challenge).where(Challenge.name == name)).scalar_one_or_none()
    if challenge is None:
        raise NotFound(f"there is no challenge {name[:80]!a}")
    return challenge


def by_id(tx: Session, challenge_id: str) -> Challenge:
    """The challenge.

    Raises:
        NotFound: there is none.
    """
    challenge = tx.get(Challenge, challenge_id)
    if challenge is None:
        raise NotFound(f"there is no challenge {challenge_id[:40]!a}")
    return challenge


def listing(tx: Session) -> list[Challenge]:
    """All challenges, by name."""
    return list(tx.execute(select(Challenge).order_by(Challenge.name)).scalars())


def definition_of(challenge: Challenge) -> Definition:
    """What the definition says. Reading it takes some milliseconds: keep it by ``challenge.changed``.

    Raises:
        InputError: it was installed by a version of Palladion that allowed what this one does not.
    """
    return parse_challenge(challenge.definition, Path(challenge.folder) / CHALLENGE_FILE)


def _must_fit(tx: Session, challenge: Challenge, wanted: Definition) -> None:
    """Raises Conflict where the new definition would change what has been opened."""
    before = definition_of(challenge)
    stages = tx.execute(select(Stage).where(Stage.challenge_id == challenge.id, Stage.state != "planned")).scalars()
    faults = []
    for row in stages:
        old_track = before.track(row.track)
        new_track = next((track for track in wanted.tracks if track.name == row.track), None)
        new = None if new_track is None else next((s for s in new_track.stages if s.name == row.name), None)
        name = f"{row.track}/{row.name}"
        if new_track is None or new is None:
            faults.append(f"{name} is {row.state} and cannot be left out")
            continue
        if new_track.task != old_track.task:
            faults.append(f"{name} is {row.state}: the task of its track cannot change")
        old = old_track.stage(row.name)
        changed = [key for key in ("data", "phase", "dry_run") if getattr(old, key) != getattr(new, key)]
        faults += [f"{name} is {row.state}: {key} cannot change" for key in changed]
    if faults:
        raise Conflict("\n".join(faults))


def _stages(tx: Session, challenge: Challenge, wanted: Definition, scorer: str) -> None:
    rows = {
        (row.track, row.name): row
        for row in tx.execute(
            select(Stage).where(Stage.challenge_id == challenge.id).with_for_update(),
            execution_options={"populate_existing": True},
        ).scalars()
    }
    named = {(track.name, stage.name) for track in wanted.tracks for stage in track.stages}
    gone = [row.id for key, row in rows.items() if key not in named]
    if gone:
        if tx.execute(select(Submission.id).where(Submission.stage_id.in_(gone)).limit(1)).first():
            raise Conflict("a stage with submissions cannot be left out")
        tx.execute(delete(StageStep).where(StageStep.stage_id.in_(gone)))
        tx.execute(delete(Stage).where(Stage.id.in_(gone)), execution_options={"synchronize_session": "fetch"})
    # Out of the way first: while they change places, no two of them may be in the same one.
    tx.execute(
        update(Stage).where(Stage.challenge_id == challenge.id).values(ordinal=Stage.ordinal + _ASIDE),
        execution_options={"synchronize_session": "fetch"},
    )
    for track in wanted.tracks:
        for ordinal, stage in enumerate(track.stages):
            row = rows.get((track.name, stage.name))
            if row is None:
                row = Stage(
                    id=new_id(),
                    challenge_id=challenge.id,
                    track=track.name,
                    name=stage.name,
                    state="planned",
                    scorer=scorer,
                    ordinal=ordinal,
                )
                tx.add(row)
            row.ordinal, row.opens, row.closes = ordinal, stage.opens, stage.closes
            # Titles, digits, goals: what its leaderboard shows may be another.
            row.revision = (row.revision or 0) + 1
    tx.flush()
