"""The one place where rows become what is shown.

Every score goes through :mod:`palladion.challenge.visibility` here, whoever asks and in whatever format; a route has no
other way to answer with one. What may not be seen is null, and the reason stands beside it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from palladion.challenge import Asked, Ending, Entry, Full, Hidden, Kind, Role, Viewer, metric_of, rank
from palladion.challenge import Metric as MetricDefinition
from palladion.challenge import Track as TrackDefinition
from palladion.challenge.feedback import policy_words, tell
from palladion.challenge.lifecycle import submission_refusal
from palladion.challenge.quotas import Spent, Usage
from palladion.challenge.ranking import best_of_each_team
from palladion.challenge.visibility import visibility
from palladion.jobs import conclusion
from palladion.jobs.context import HOLDOUT, TEST, StageInfo
from palladion.server import models, queries
from palladion.storage import stages, teams
from palladion.storage import tables as rows
from palladion.storage.uploads import UploadState

if TYPE_CHECKING:
    from palladion.jobs.context import Service

__all__ = ["Views"]

_ENDINGS = {"pending": Ending.RUNNING, "done": Ending.SCORED, "failed": Ending.FAILED, "cancelled": Ending.FAILED}
_SUBMISSION_ENDINGS = {"pending": Ending.RUNNING, "scored": Ending.SCORED}
_DIGITS = 4

Key = tuple[str, str]
"""(task, metric); the task is empty of the whole."""


@dataclass(frozen=True, slots=True)
class _Told:
    """The scores of an evaluation as one viewer may see them.

    Attributes:
        values: by (task, metric).
        hidden: why they are not shown; None where they are.
    """

    values: dict[Key, models.Value | None]
    hidden: str | None

    def of(self, track: TrackDefinition, task: str = "") -> dict[str, models.Value | None]:
        """The values of one task, or of the whole, by metric; of a task those alone that it has."""
        if task:
            return {metric: value for (part, metric), value in sorted(self.values.items()) if part == task}
        return {metric.name: self.values.get(("", metric.name)) for metric in track.all_metrics}

    def by_task(self, track: TrackDefinition) -> dict[str, dict[str, models.Value | None]]:
        """The values of each task."""
        return {task: self.of(track, task) for task in sorted({task for task, _ in self.values if task})}


@dataclass(frozen=True, slots=True)
class Views:
    """What one viewer sees now.

    Attributes:
        service: definitions of challenges.
        viewer: who asks: their role in the challenge, and their team.
        now: the time.
    """

    service: "Service"
    viewer: Viewer
    now: datetime

    # --- Scores -------------------------------------------------------------------------------------------------------

    def _told(self, stage: StageInfo, split: str, done: Iterable[queries.Evaluated]) -> dict[str, _Told]:
        """The scores of evaluations of one stage on one split, as the viewer may see them, by evaluation.

        Args:
            stage: the stage.
            split: the split.
            done: all of the stage, or of one team in it, in the order in which they ended: what a team is told may
                depend on what it was told before.
        """
        names = {metric.name: metric for metric in stage.track.all_metrics}
        best: dict[tuple[str, Key], float] = {}
        told = {}
        for entry in done:
            values: dict[Key, models.Value | None] = {}
            hidden = None
            for key, score in entry.scores.items():
                metric = names.get(key[1])
                if metric is None:
                    continue
                mark = (entry.submission.team_id, key)
                values[key], reason = self._score(stage, split, entry, metric, score, best.get(mark))
                hidden = hidden or reason
                said = tell(stage.track.feedback, metric, score.value, best.get(mark)).value
                if said is not None and (mark not in best or metric.is_better(said, best[mark])):
                    best[mark] = said
            told[entry.evaluation.id] = _Told(values, hidden)
        return told

    def _score(
        self,
        stage: StageInfo,
        split: str,
        entry: queries.Evaluated,
        metric: MetricDefinition,
        score: rows.Score,
        best: float | None,
    ) -> tuple[models.Value | None, str | None]:
        """One score as the viewer may see it, and why not where they may not."""
        asked = Asked(
            Kind.SCORE,
            entry.submission.team_id,
            Ending.SCORED,
            split,
            dry_run=stage.stage.dry_run,
            concluded=stage.row.concluded,
            feedback=stage.track.feedback,
            metric=metric,
            value=score.value,
            best=best,
        )
        seen = visibility(asked, self.viewer, self.now)
        if isinstance(seen, Hidden):
            return None, seen.reason
        if isinstance(seen, Full):
            if seen.value is None:
                return None, None
            text = f"{seen.value:.{_DIGITS}f}"
            return models.Value(value=seen.value, text=text, low=score.low, high=score.high), None
        if seen.told.value is None:
            return None, seen.told.note or None
        # An interval is made of the same answers as the score: it is told where the whole score is, and nowhere else.
        whole = seen.told.value == score.value and self._is_whole(stage)
        return models.Value(
            value=seen.told.value,
            text=seen.told.text,
            low=score.low if whole else None,
            high=score.high if whole else None,
        ), None

    def _is_whole(self, stage: StageInfo) -> bool:
        """Whether the policy of a stage tells whole scores now."""
        policy = stage.track.feedback.policy
        return policy == "exact" or (policy != "rounded" and self._published(stage))

    def _published(self, stage: StageInfo) -> bool:
        return stage.row.concluded is not None and stage.row.concluded <= self.now

    def _goals_shown(self, stage: StageInfo) -> bool:
        """Whether it is told who has reached the goal: it says as much as a score."""
        if self.viewer.role is Role.ORGANISER or self._published(stage):
            return True
        return stage.track.feedback.policy != "none"

    # --- Challenges and stages ----------------------------------------------------------------------------------------

    def challenge(self, tx: Session, row: rows.Challenge) -> models.Challenge:
        """A challenge."""
        definition = self.service.definition(row)
        shown = self.stages(tx, row)
        return models.Challenge(
            name=row.name,
            title=row.title,
            description=definition.description,
            stage_word=definition.stage_word,
            registration=models.Registration(
                approval=definition.registration.approval, domains=list(definition.registration.domains)
            ),
            teams=models.TeamRules(most_members=definition.teams.most_members),
            tracks=[
                _track(track, [stage for stage in shown if stage.track == track.name]) for track in definition.tracks
            ],
            created=row.created,
            changed=row.changed,
        )

    def challenge_summary(self, tx: Session, row: rows.Challenge) -> models.ChallengeSummary:
        """A challenge in a list."""
        definition = self.service.definition(row)
        return models.ChallengeSummary(
            name=row.name,
            title=row.title,
            stage_word=definition.stage_word,
            tracks=[
                models.TrackSummary(
                    name=track.name,
                    title=track.title,
                    task=track.task,
                    current=next(iter(current_stages(tx, row.id, track.name, self.now)), None),
                )
                for track in definition.tracks
            ],
        )

    def stages(self, tx: Session, row: rows.Challenge) -> list[models.Stage]:
        """The stages of a challenge, track by track in the order of the file."""
        definition = self.service.definition(row)
        found = {(stage.track, stage.name): stage for stage in stages.of_challenge(tx, row.id)}
        shown = []
        for track in definition.tracks:
            current = current_stages(tx, row.id, track.name, self.now)
            for stage in track.stages:
                if (track.name, stage.name) in found:
                    info = self.service.stage(tx, found[track.name, stage.name].id)
                    shown.append(self.stage(tx, info, current=stage.name in current, steps=False))
        return shown

    def stage(self, tx: Session, info: StageInfo, *, current: bool | None = None, steps: bool = True) -> models.Stage:
        """A stage; ``steps``: with how far its conclusion is, for those who may know."""
        row, stage, track = info.row, info.stage, info.track
        if current is None:
            current = row.name in current_stages(tx, row.challenge_id, row.track, self.now)
        goal = track.goal(stage)
        return models.Stage(
            challenge=info.challenge.name,
            track=row.track,
            name=row.name,
            title=stage.title,
            ordinal=row.ordinal,
            state=row.state,
            current=current,
            opens=row.opens,
            closes=row.closes,
            opened=row.opened,
            closed=row.closed,
            concluded=row.concluded,
            dry_run=stage.dry_run,
            phase=stage.phase,
            code_required=stage.code_required,
            prevalence=stage.prevalence if track.task == "detection" else None,
            goal=None if goal is None else models.Goal(metric=track.metric.name, value=goal),
            goal_reached=self._goal_reached(tx, info),
            scorer=row.scorer,
            steps=self._steps(tx, row.id) if steps and self.viewer.role is Role.ORGANISER else None,
        )

    def _goal_reached(self, tx: Session, info: StageInfo) -> models.GoalReached | None:
        first = next(iter(stages.goals_of(tx, info.row.id)), None)
        if first is None or first.goal is None or not self._goals_shown(info):
            return None
        team = teams.by_id(tx, first.team_id)
        mine = self.viewer.role is Role.ORGANISER or team.id == self.viewer.team
        return models.GoalReached(
            at=first.goal, team=models.TeamName(id=team.id, name=team.name), submission=first.id if mine else None
        )

    def _steps(self, tx: Session, stage_id: str) -> list[models.Step]:
        return [
            models.Step(
                name=step.name,
                title=step.title,
                started=step.started,
                finished=step.finished,
                waits=step.waits,
                detail=None if step.detail is None else dict(step.detail),
            )
            for step in conclusion.progress(tx, stage_id)
        ]

    # --- Leaderboards -------------------------------------------------------------------------------------------------

    def leaderboard(self, tx: Session, info: StageInfo, *, every: bool) -> models.Leaderboard:
        """The leaderboard of a stage: the best submission of each team, or ``every`` one."""
        track = info.track
        done = queries.evaluated(tx, info.row, TEST)
        told = self._told(info, TEST, done)
        shown = [entry for entry in done if entry.submission.state == "scored"]
        held = {}
        if self._holdout_shown(info):
            run = queries.evaluated(tx, info.row, HOLDOUT)
            values = self._told(info, HOLDOUT, run)
            held = {entry.submission.id: values[entry.evaluation.id] for entry in run}
        points = queries.outcome_counts(tx, [entry.evaluation.id for entry in shown])
        entries = [
            Entry(
                entry.submission.team_id,
                entry.submission.id,
                _ranking(told[entry.evaluation.id], track),
                entry.submission.created,
                entry,
            )
            for entry in shown
        ]
        ranked_by = TEST
        if not every:
            # The best on test was chosen before anything was known of the holdout; another choice would not be honest.
            entries = best_of_each_team(entries, track.metric)
            if any(entry.submission in held for entry in entries):
                ranked_by = HOLDOUT
                entries = [
                    Entry(
                        entry.team,
                        entry.submission,
                        _ranking(held.get(entry.submission), track),
                        entry.accepted,
                        entry.item,
                    )
                    for entry in entries
                ]
        reached = {row.id for row in stages.goals_of(tx, info.row.id)} if self._goals_shown(info) else set()
        goal = track.goal(info.stage)
        return models.Leaderboard(
            challenge=info.challenge.name,
            track=info.row.track,
            stage=info.row.name,
            title=info.stage.title,
            state=info.row.state,
            all=every,
            final=self._published(info),
            ranked_by=ranked_by,
            hidden=next(
                (told[entry.evaluation.id].hidden for entry in shown if told[entry.evaluation.id].hidden), None
            ),
            metrics=[
                models.BoardMetric(**_metric(metric).model_dump(), digits=_digits(track))
                for metric in track.all_metrics
            ],
            goal=None if goal is None else models.Goal(metric=track.metric.name, value=goal),
            goal_reached=self._goal_reached(tx, info),
            made=self.now,
            rows=[
                self._row(
                    placed.rank,
                    placed.entry.item,
                    told[placed.entry.item.evaluation.id],
                    held.get(placed.entry.submission),
                    points.get(placed.entry.item.evaluation.id),
                    track,
                    goal_reached=placed.entry.submission in reached,
                )
                for placed in rank(entries, track.metric)
            ],
        )

    def _holdout_shown(self, info: StageInfo) -> bool:
        asked = Asked(
            Kind.STATUS, None, Ending.SCORED, HOLDOUT, dry_run=info.stage.dry_run, concluded=info.row.concluded
        )
        return not isinstance(visibility(asked, self.viewer, self.now), Hidden)

    def _row(
        self,
        place: int | None,
        entry: queries.Evaluated,
        told: _Told,
        held: _Told | None,
        points: queries.Points | None,
        track: TrackDefinition,
        *,
        goal_reached: bool,
    ) -> models.Row:
        submission = entry.submission
        mine = self.viewer.team is not None and submission.team_id == self.viewer.team
        return models.Row(
            rank=place,
            team=models.TeamName(id=submission.team_id, name=entry.team),
            mine=mine,
            submission=submission.id if mine or self.viewer.role is Role.ORGANISER else None,
            ordinal=submission.ordinal,
            created=submission.created,
            scores=told.of(track),
            tasks=told.by_task(track),
            holdout=None if held is None else held.of(track),
            failed=None if points is None else models.Failed(points=points.done, failed=points.failed),
            goal_reached=goal_reached,
        )

    # --- Submissions --------------------------------------------------------------------------------------------------

    def submissions(self, tx: Session, found: Sequence[rows.Submission]) -> list[models.Submission]:
        """Submissions that the viewer may know of: those of their own team, or any for an organiser."""
        details = queries.details_of(tx, found)
        infos = {stage_id: self.service.stage(tx, stage_id) for stage_id in {row.stage_id for row in found}}
        told: dict[tuple[str, str], dict[str, _Told]] = {}
        for stage_id, team_id in {(row.stage_id, row.team_id) for row in found}:
            info = infos[stage_id]
            told[stage_id, team_id] = {}
            for split in (TEST, HOLDOUT):
                done = queries.evaluated(tx, info.row, split, team_id=team_id)
                told[stage_id, team_id] |= self._told(info, split, done)
            if self.viewer.role is Role.ORGANISER:
                told[stage_id, team_id] |= self._told_of_others(found, info, team_id, details)
        return [self._submission(row, infos[row.stage_id], details, told[row.stage_id, row.team_id]) for row in found]

    def _told_of_others(
        self, found: Sequence[rows.Submission], info: StageInfo, team_id: str, details: queries.Details
    ) -> dict[str, _Told]:
        """The scores by versions of the scorer that the leaderboard does not show."""
        told: dict[str, _Told] = {}
        for row in found:
            if (row.stage_id, row.team_id) != (info.row.id, team_id):
                continue
            for evaluation in details.evaluations[row.id]:
                if evaluation.state == "done" and evaluation.scorer != info.row.scorer:
                    scores = details.scores.get(evaluation.id, {})
                    entry = queries.Evaluated(row, details.teams[team_id], evaluation, scores)
                    told |= self._told(info, evaluation.split, [entry])
        return told

    def _submission(
        self, row: rows.Submission, info: StageInfo, details: queries.Details, told: Mapping[str, _Told]
    ) -> models.Submission:
        evaluations = [
            evaluation for evaluation in details.evaluations[row.id] if self._evaluation_shown(row, info, evaluation)
        ]
        main = next((e for e in evaluations if e.split == TEST and e.scorer == info.row.scorer), None)
        scored = told.get(main.id) if main is not None and row.state == "scored" else None
        job = None if main is None else details.jobs.get(main.id)
        pending = row.state == "pending"
        hidden = scored.hidden if scored is not None else None
        return models.Submission(
            id=row.id,
            challenge=info.challenge.name,
            track=info.row.track,
            stage=info.row.name,
            team=models.TeamName(id=row.team_id, name=details.teams[row.team_id]),
            account=details.accounts[row.account_id],
            ordinal=row.ordinal,
            kind=row.kind,
            filename=row.name,
            sha256=row.artifact,
            bytes=details.bytes[row.artifact],
            state=row.state,
            progress=("running" if job is not None and job.state == "running" else "queued") if pending else None,
            progress_points=_progress(details.points.get(main.id)) if pending and main is not None else None,
            reason=row.reason,
            created=row.created,
            started=None if job is None else job.started,
            finished=row.finished,
            goal_reached=row.goal is not None and self._goals_shown(info),
            scores=None if scored is None or hidden else scored.of(info.track),
            tasks={} if scored is None or hidden else scored.by_task(info.track),
            hidden=hidden,
            evaluations=[self._evaluation(evaluation, info, told.get(evaluation.id)) for evaluation in evaluations],
        )

    def _evaluation_shown(self, row: rows.Submission, info: StageInfo, evaluation: rows.Evaluation) -> bool:
        """Whether the viewer may know that there is this evaluation."""
        asked = Asked(
            Kind.STATUS,
            row.team_id,
            _ENDINGS[evaluation.state],
            evaluation.split,
            dry_run=info.stage.dry_run,
            concluded=info.row.concluded,
        )
        if isinstance(visibility(asked, self.viewer, self.now), Hidden):
            return False
        # What another version of the scorer finds is for the organiser to compare, until the board shows it.
        return self.viewer.role is Role.ORGANISER or evaluation.scorer == info.row.scorer

    def _evaluation(self, row: rows.Evaluation, info: StageInfo, told: _Told | None) -> models.Evaluation:
        shown = told is not None and not told.hidden
        return models.Evaluation(
            id=row.id,
            split=row.split,
            scorer=row.scorer,
            current=row.scorer == info.row.scorer,
            state=row.state,
            reason=row.reason,
            created=row.created,
            finished=row.finished,
            scores=told.of(info.track) if told is not None and shown else None,
            tasks=told.by_task(info.track) if told is not None and shown else {},
        )

    def artifact_shown(self, row: rows.Submission) -> bool:
        """Whether the viewer may have the file of a submission."""
        asked = Asked(Kind.ARTIFACT, row.team_id, _SUBMISSION_ENDINGS.get(row.state, Ending.FAILED))
        return not isinstance(visibility(asked, self.viewer, self.now), Hidden)

    # --- Teams --------------------------------------------------------------------------------------------------------

    def team(self, tx: Session, row: rows.Team) -> models.Team:
        """A team; its members for themselves and for organisers."""
        mine = row.id == self.viewer.team
        told = mine or self.viewer.role is Role.ORGANISER
        return models.Team(
            id=row.id,
            name=row.name,
            state=row.state,
            created=row.created,
            mine=mine,
            members=[
                models.Member(id=member.account_id, name=member.name, captain=member.captain, joined=member.joined)
                for member in teams.members(tx, row.id)
            ]
            if told
            else [],
        )

    # --- What organisers see ------------------------------------------------------------------------------------------

    def jobs(self, tx: Session, found: Sequence[rows.Job]) -> list[models.Job]:
        """Jobs."""
        submissions = queries.submissions_of_jobs(tx, found)
        return [
            models.Job(
                id=row.id,
                kind=row.kind,
                subject=row.subject,
                state=row.state,
                stuck=queries.is_stuck(row, self.now),
                submission=submissions.get(row.id),
                worker=row.worker,
                due=row.due,
                lease_until=row.lease_until,
                attempts=row.attempts,
                losses=row.losses,
                reason=row.reason,
                created=row.created,
                started=row.started,
                finished=row.finished,
            )
            for row in found
        ]


def account(row: rows.Account) -> models.Account:
    """An account, for itself and for organisers."""
    return models.Account(
        id=row.id,
        name=row.name,
        role=row.role,
        state=row.state,
        email=row.email,
        mail=row.mail,
        created=row.created,
    )


def token(row: rows.Token) -> models.Token:
    """A token, for its account."""
    return models.Token(
        id=row.id,
        name=row.name,
        scopes=[scope for scope in row.scopes if scope in ("read", "submit", "organise")],
        created=row.created,
        expires=row.expires,
        used=row.used,
        revoked=row.revoked,
    )


def upload(state: UploadState) -> models.Upload:
    """An upload, for its account."""
    return models.Upload(
        id=state.id,
        sha256=state.sha256,
        bytes=state.bytes,
        offset=state.offset,
        complete=state.completed,
        expires=state.expires,
    )


def webhook(row: rows.Webhook) -> models.Webhook:
    """A webhook, for whose it is."""
    return models.Webhook(id=row.id, url=row.url, events=row.events, team=row.team_id, created=row.created)


def new_webhook(row: rows.Webhook) -> models.NewWebhook:
    """A webhook with its secret, told once."""
    return models.NewWebhook(**webhook(row).model_dump(), secret=row.secret)


def audit_line(row: rows.Audit) -> models.AuditLine:
    """A line of the audit log."""
    return models.AuditLine(
        number=row.number, at=row.at, actor=row.actor, action=row.action, subject=row.subject, detail=row.detail
    )


def worker(row: rows.Worker) -> models.Worker:
    """A worker."""
    return models.Worker(
        name=row.name,
        kinds=row.kinds,
        host=row.host,
        process=row.process,
        started=row.started,
        seen=row.seen,
        stopped=row.stopped,
    )


def current_stages(tx: Session, challenge_id: str, track: str, now: datetime) -> list[str]:
    """The stages of a track that take submissions now: one at most."""
    found = stages.statuses(tx, challenge_id, track)
    return [status.name for status in found if submission_refusal(status, now) is None]


def use(spent: Spent) -> models.Use:
    """What is used of a quota."""
    return models.Use(
        day=models.DayUse(used=spent.today, limit=spent.per_day),
        total=models.DayUse(used=spent.total, limit=spent.most),
    )


def track_quota(
    track: str, stage: str | None, usage: Usage, *, reason: str | None, next_slot: datetime | None
) -> models.TrackQuota:
    """What a team may still submit to a track."""
    return models.TrackQuota(
        track=track,
        stage=stage,
        open=stage is not None,
        allowed=reason is None,
        reason=reason,
        next_slot=next_slot,
        scored=use(usage.scored),
        attempted=use(usage.attempted),
        concurrent=models.DayUse(used=usage.running, limit=usage.concurrent),
    )


def _progress(points: queries.Points | None) -> models.Points | None:
    return None if points is None else models.Points(done=points.done, total=None)


def _ranking(told: _Told | None, track: TrackDefinition) -> float | None:
    value = None if told is None else told.values.get(("", track.metric.name))
    return None if value is None else value.value


def _digits(track: TrackDefinition) -> int:
    feedback = track.feedback
    if feedback.digits is not None:
        return feedback.digits
    if feedback.step is not None:
        return next((n for n in range(12) if abs(round(feedback.step, n) - feedback.step) < 1e-12), 12)
    return _DIGITS


def _metric(metric: MetricDefinition) -> models.Metric:
    return models.Metric(
        name=metric.name, title=metric.title, unit=metric.unit, higher_is_better=metric.higher_is_better
    )


def _track(track: TrackDefinition, shown: list[models.Stage]) -> models.Track:
    feedback: dict[str, Any] = track.feedback.model_dump()
    return models.Track(
        name=track.name,
        title=track.title,
        task=track.task,
        metrics=[_metric(metric_of(track.task, name)) for name in track.metrics],
        submission=models.SubmissionRule(
            kind=track.submission.kind, files=list(track.submission.files), bytes=track.submission.bytes
        ),
        quotas=models.Quotas.model_validate(track.quotas.model_dump()),
        feedback=models.Feedback(**feedback, words=policy_words(track.feedback)),
        limits=models.CodeLimits.model_validate(track.limits.model_dump()),
        advance=models.Advance.model_validate(track.advance.model_dump()),
        stages=shown,
    )
