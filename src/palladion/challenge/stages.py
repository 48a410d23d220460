"""The stages of a track: rounds or phases, one after the other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, WithJsonSchema

from palladion.challenge.fields import Fault, Instant, Name, RelativePath, Share, Strict, Title
from palladion.challenge.instants import in_words
from palladion.challenge.metrics import LANGUAGE_TASKS, Metric, Task
from palladion.challenge.settings import Advance
from palladion.challenge.success import Criterion, guess_value

__all__ = ["Stage", "StageDraft", "drafts_of", "stage_faults"]


def _criterion(value: object) -> Criterion | None:
    if value is None or value in ("half", "none"):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9:
        return float(value)
    raise ValueError("must be half, none, or the number to reach")


Success = Annotated[
    Criterion | None,
    BeforeValidator(_criterion),
    WithJsonSchema({"anyOf": [{"enum": ["half", "none"]}, {"type": "number"}, {"type": "null"}]}),
]


class Stage(Strict):
    """One stage: a round or a phase.

    Attributes:
        name: within its track.
        title: one line for people.
        data: a round directory, relative to the folder of the challenge file.
        phase: of a language track: the phase of that round directory.
        opens: when it opens; None: by command, or after the stage before.
        closes: when it closes; None: by command, or when it is concluded.
        dry_run: of a detection track: the test split is the train split, there is no goal and no holdout.
        prevalence: of a detection track: the share of poisoned models, from which the goal is computed.
        success: what has to be reached; None where the file does not say, see :meth:`Track.criterion`.
        code_required: of a language track: outputs count only with the code that made them.
    """

    name: Name
    title: Title
    data: RelativePath
    phase: Name | None = None
    opens: Instant | None = None
    closes: Instant | None = None
    dry_run: bool = Field(default=False, strict=True)
    prevalence: Share = 0.5
    success: Success = None
    code_required: bool = Field(default=False, strict=True)


@dataclass(frozen=True, slots=True)
class StageDraft:
    """A stage as far as it is right: where one key is at fault, the others are looked at all the same.

    Attributes:
        stage: with the default in the place of what is at fault.
        wrong: keys that are at fault.
        given: keys that the file has.
    """

    stage: Stage
    wrong: frozenset[str] = frozenset()
    given: frozenset[str] = frozenset()

    def says(self, key: str) -> bool:
        """Whether the file has this key, with a value that may stand there."""
        return key in self.given and key not in self.wrong


_STAND_INS = {"name": "stage", "title": "Stage", "data": "data"}


def drafts_of(values: Sequence[object]) -> list[StageDraft | None]:
    """What stages there are, as far as they are right; None for one that holds no keys at all."""
    return [_draft(value) for value in values]


def _draft(value: object) -> StageDraft | None:
    if isinstance(value, Stage):
        return StageDraft(value, given=frozenset(value.model_fields_set))
    if not isinstance(value, Mapping):
        return None
    given = {str(key): entry for key, entry in value.items() if str(key) in Stage.model_fields}
    try:
        return StageDraft(Stage.model_validate(given), given=frozenset(given))
    except ValidationError as error:
        wrong = {str(fault["loc"][0]) for fault in error.errors(include_url=False)}
    right: dict[str, Any] = {key: entry for key, entry in given.items() if key not in wrong}
    return StageDraft(Stage.model_validate(_STAND_INS | right), frozenset(wrong), frozenset(given))


def stage_faults(
    drafts: Sequence[StageDraft | None], task: Task | None, metric: Metric | None, advance: Advance | None
) -> Iterator[Fault]:
    """What is wrong with stages beside each other, and with what they say beside what their track says.

    Args:
        drafts: in their order.
        task: of the track; None where it is at fault itself.
        metric: that ranks, likewise.
        advance: likewise.
    """
    there = [(i, draft) for i, draft in enumerate(drafts) if draft is not None]
    yield from _same_names(there)
    yield from _order(there)
    for i, draft in there:
        found = [*_of_task(draft, task), *_success(draft, task, metric)]
        yield from (((i, key), message) for key, message in found)
    if advance is not None:
        yield from _advance(there, task, advance)


_Numbered = Sequence[tuple[int, StageDraft]]


def _same_names(drafts: _Numbered) -> Iterator[Fault]:
    seen: set[str] = set()
    for i, draft in drafts:
        if draft.says("name"):
            name = draft.stage.name
            if name in seen:
                yield (i, "name"), f"there is another stage {name!r} before; give each its own name"
            seen.add(name)


def _order(drafts: _Numbered) -> Iterator[Fault]:
    """Dates, read stage by stage, never go back."""
    before: tuple[datetime, str, bool] | None = None
    for i, draft in drafts:
        for key in ("opens", "closes"):
            instant: datetime | None = getattr(draft.stage, key)
            if instant is None:
                continue
            if before is not None:
                last, what, opening = before
                # A stage may open in the moment that the one before closes; it may not close when it opens.
                if instant < last or (opening and instant == last):
                    yield (
                        (i, key),
                        f"{in_words(instant)} is not after {what} ({in_words(last)}); stages follow each other",
                    )
                    continue
            where = draft.stage.name if draft.says("name") else f"stage {i + 1}"
            before = (instant, f"{key} of {where}", key == "opens")


def _of_task(draft: StageDraft, task: Task | None) -> Iterator[tuple[str, str]]:
    if task is None:
        return
    if task in LANGUAGE_TASKS and draft.stage.phase is None and "phase" not in draft.wrong:
        yield "phase", f"a {task} track needs the phase of its round, such as phase: development"
    for key in ("prevalence", "dry_run") if task in LANGUAGE_TASKS else ("phase", "code_required"):
        # The default may stand there: a file that a program wrote has every key.
        if draft.says(key) and getattr(draft.stage, key) != Stage.model_fields[key].default:
            yield key, f"does not belong to a {task} track; leave it out"


def _success(draft: StageDraft, task: Task | None, metric: Metric | None) -> Iterator[tuple[str, str]]:
    success = draft.stage.success
    if success is None or success == "none" or not draft.says("success"):
        return
    if draft.stage.dry_run and task not in LANGUAGE_TASKS:
        yield "success", "a dry run has no goal, because its test labels are open; leave success out, or dry_run"
        return
    if task in LANGUAGE_TASKS and success == "half":
        yield "success", f"a {task} track has no guess to be half way from; write none, or the number to reach"
    elif metric is not None and success == "half":
        if metric.guess is None:
            yield "success", f"{metric.name} has no guess to be half way from; write none, or the number to reach"
    elif metric is not None:
        value = float(success)
        guess = guess_value(metric, draft.stage.prevalence)
        if not metric.lowest <= value <= metric.highest:
            yield "success", f"{metric.name} lies between {metric.lowest:g} and {metric.highest:.4g}, not at {value:g}"
        elif guess is not None and "prevalence" not in draft.wrong and not metric.is_better(value, guess):
            yield "success", f"{value:g} is no better than guessing, which has a {metric.name} of {guess:.4f}"


def _advance(drafts: _Numbered, task: Task | None, advance: Advance) -> Iterator[Fault]:
    if advance.when == "date":
        for i, draft in drafts[:-1]:
            if draft.stage.closes is None and "closes" not in draft.wrong:
                yield (i, "closes"), "advance by date needs the day that this stage closes"
    if advance.when == "goal" and task is not None:
        with_goal = False
        for i, draft in drafts:
            # A dry run is concluded by command, whatever follows it.
            if (draft.stage.dry_run and task not in LANGUAGE_TASKS) or {"success", "dry_run"} & draft.wrong:
                with_goal |= "success" in draft.wrong
                continue
            with_goal = True
            if draft.stage.success == "none" or (draft.stage.success is None and task in LANGUAGE_TASKS):
                yield (i, "success"), "advance by goal needs a goal to reach here, and this stage has none"
        if drafts and not with_goal:
            yield (drafts[-1][0], "dry_run"), "advance by goal needs a stage that has one, and all are dry runs"
