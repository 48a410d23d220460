"""Which stage is meant where none is named."""

from palladion.challenge.fields import nearest
from palladion.client.addresses import Place
from palladion.client.answers import Challenge, Stage, Submission, Track
from palladion.client.api import Client
from palladion.client.errors import Conflict
from palladion.client.words import name_in_words
from palladion.errors import InputError

__all__ = ["find_stage", "find_track", "shown_stage", "stage_to_submit_to", "track_of"]


def find_track(challenge: Challenge, place: Place) -> Track:
    """The track that a place names.

    Raises:
        InputError: there is none of this name.
    """
    names = [track.name for track in challenge.tracks]
    for track in challenge.tracks:
        if track.name == place.track:
            return track
    raise InputError(f"challenge {challenge.name} has no track {place.track!a}; {nearest(str(place.track), names)}")


def find_stage(track: Track, place: Place) -> Stage:
    """The stage that a place names.

    Raises:
        InputError: there is none of this name.
    """
    names = [stage.name for stage in track.stages]
    for stage in track.stages:
        if stage.name == place.stage:
            return stage
    raise InputError(f"track {track.name} has no stage {place.stage!a}; {nearest(str(place.stage), names)}")


def shown_stage(client: Client, place: Place) -> tuple[str, str, str]:
    """Challenge, track and stage to look at: the one that is named, the open one, or else the last that was open.

    Raises:
        InputError: there is no such track.
        Conflict: none of its stages has been open.
        ServiceError: there is no such challenge.
    """
    if place.stage is not None:
        assert place.track is not None
        return place.challenge, place.track, place.stage
    track = find_track(client.challenge(place.challenge), place)
    begun = [stage for stage in track.stages if stage.current] or [
        stage for stage in track.stages if stage.state != "planned"
    ]
    if not begun:
        raise Conflict(f"no stage of {place} has been open yet")
    return place.challenge, track.name, begun[-1].name


def stage_to_submit_to(track: Track, place: Place) -> Stage:
    """The stage that takes a submission: the one that is named, or the open one.

    Raises:
        InputError: there is none of this name.
        Conflict: it is not open.
    """
    if place.stage is None:
        stage = next((stage for stage in track.stages if stage.current), None)
    else:
        stage = find_stage(track, place)
        if not stage.current and stage.state != "open":
            raise Conflict(f"{place} is {name_in_words(stage.state)}; it takes no submissions", code="stage_not_open")
    if stage is None:
        states = ", ".join(f"{stage.name} is {name_in_words(stage.state)}" for stage in track.stages)
        raise Conflict(f"no stage of {place} is open: {states}", code="stage_not_open")
    return stage


def track_of(client: Client, submission: Submission) -> Track | None:
    """The track that a submission is of; None where its challenge does not know it any more."""
    tracks = client.challenge(submission.challenge).tracks
    return next((track for track in tracks if track.name == submission.track), None)
