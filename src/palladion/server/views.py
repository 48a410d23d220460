"""The one place where rows become what is shown.

Every score goes through :mod:`palladion.challenge.visibility` here, whoever asks and in whatever format; a route has no
other way to answer with one. What may not be seen is null, and the reason stands beside it.
"""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from palladion.challenge import Asked, Ending, Hidden, Kind, Role, Viewer, metric_of
from palladion.challenge import Metric as MetricDefinition
from palladion.challenge import Track as TrackDefinition
from palladion.challenge import quotas as quota_rules
from palladion.challenge.feedback import policy_words
from palladion.challenge.lifecycle import submission_refusal
from palladion.challenge.quotas import Spent, Usage
from palladion.challenge.visibility import visibility
from palladion.errors import PalladionError
from palladion.jobs import conclusion
from palladion.jobs.context import TEST, StageInfo
from palladion.reports.figures.attacks import RowGroup
from palladion.reports.figures.rows import Rows
from palladion.server import models, queries
from palladion.server.boards import Board, Boards, Listing, audience_of, goal_reached, leak_of, make_listing, splits_of
from palladion.server.points import PointTable, language_rows, point_table, row_groups
from palladion.server.scores import Told, failures, goals_shown, known_scores, published, seconds
from palladion.server.scores import told as tell_scores
from palladion.sizes import size_text
from palladion.storage import audit, evaluations, stages, submissions, teams, workers
from palladion.storage import tables as rows
from palladion.storage.errors import NotFound
from palladion.storage.uploads import UploadState

if TYPE_CHECKING:
    from palladion.jobs.context import Service

__all__ = ["Views"]

_ENDINGS = {"pending": Ending.RUNNING, "done": Ending.SCORED, "failed": Ending.FAILED, "cancelled": Ending.FAILED}
_SUBMISSION_ENDINGS = {"pending": Ending.RUNNING, "scored": Ending.SCORED}
_LEAK_SECONDS = 20
_MOST_SUBMISSIONS, _MOST_STUCK, _MOST_FAILING, _MOST_LINES = 50, 100, 25, 50


@dataclass(frozen=True, slots=True)
class Views:
    """What one viewer sees now.

    Attributes:
        service: definitions of challenges.
        viewer: who asks: their role in the challenge, and their team.
        now: the time.
        boards: leaderboards that were made before, for all who ask.
    """

    service: "Service"
    viewer: Viewer
    now: datetime
    boards: Boards = field(default_factory=Boards)

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

    def stages(self, tx: Session, row: rows.Challenge, *, steps: bool = False) -> list[models.Stage]:
        """The stages of a challenge, track by track in the order of the file; ``steps`` as of :meth:`stage`."""
        definition = self.service.definition(row)
        found = {(stage.track, stage.name): stage for stage in stages.of_challenge(tx, row.id)}
        shown = []
        for track in definition.tracks:
            current = current_stages(tx, row.id, track.name, self.now)
            for stage in track.stages:
                if (track.name, stage.name) in found:
                    info = self.service.stage(tx, found[track.name, stage.name].id)
                    shown.append(self.stage(tx, info, current=stage.name in current, steps=steps))
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
            goal_reached=goal_reached(tx, info, self.viewer, self.now),
            scorer=row.scorer,
            steps=self._steps(tx, row.id) if steps and self.viewer.role is Role.ORGANISER else None,
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

    def board(self, tx: Session, info: StageInfo, *, every: bool, split: str | None = None) -> Board:
        """The leaderboard of a stage as everybody of the viewer's audience sees it; see :meth:`leaderboard`."""
        if split is not None and split not in splits_of(info, self.viewer, self.now):
            raise NotFound(f"there is no leaderboard of {info.row.name} on the split {split[:40]!a}")
        return self.boards.get(
            ("board", info.row.id, split, every, audience_of(self.viewer).role),
            self._revision(info),
            lambda: self.listing(tx, info, every=every, split=split).whole(tx),
        )

    def listing(self, tx: Session, info: StageInfo, *, every: bool, split: str | None = None) -> Listing:
        """The same in its order, whose rows are made when somebody looks at them.

        Raises:
            NotFound: as of :meth:`leaderboard`.
        """
        if split is not None and split not in splits_of(info, self.viewer, self.now):
            raise NotFound(f"there is no leaderboard of {info.row.name} on the split {split[:40]!a}")
        audience = audience_of(self.viewer)
        leak = self._leak(tx, info) if audience.role is Role.ORGANISER else None

        def make() -> Listing:
            return make_listing(tx, info, every=every, split=split, viewer=audience, now=self.now, leak=leak)

        # The best of each team are one page; what is listed of them is kept as a board.
        if not every:
            return make()
        return self.boards.get(("listing", info.row.id, split, audience.role), self._revision(info), make)

    def _revision(self, info: StageInfo) -> tuple[object, ...]:
        """Of a board: its revision, and what time changes alone."""
        return (info.row.revision, info.row.scorer, published(info, self.now), info.challenge.changed)

    def leaderboard(
        self, tx: Session, info: StageInfo, *, every: bool = False, split: str | None = None
    ) -> models.Leaderboard:
        """The leaderboard of a stage: the best submission of each team, or ``every`` one.

        Args:
            tx: a read transaction.
            info: the stage.
            every: every submission.
            split: that the values are of, and that ranks: test or holdout. None: of test, ranked by holdout where its
                results are published.

        Raises:
            NotFound: there is no such split, or nothing of it is to be seen.
        """
        return self.board(tx, info, every=every, split=split).for_team(self.viewer.team)

    # --- Submissions --------------------------------------------------------------------------------------------------

    def submissions(self, tx: Session, found: Sequence[rows.Submission]) -> list[models.Submission]:
        """Submissions that the viewer may know of: those of their own team, or any for an organiser."""
        details = queries.details_of(tx, found)
        infos = {stage_id: self.service.stage(tx, stage_id) for stage_id in {row.stage_id for row in found}}
        done = [e for shown in details.evaluations.values() for e in shown if e.state == "done"]
        known = known_scores(tx, [evaluation.id for evaluation in done])
        of = {row.id: row for row in found}
        told = {}
        for evaluation in done:
            row = of[evaluation.submission_id]
            told[evaluation.id] = tell_scores(
                infos[row.stage_id], evaluation.split, row.team_id, known[evaluation.id], self.viewer, self.now
            )
        return [self._submission(row, infos[row.stage_id], details, told) for row in found]

    def _submission(
        self, row: rows.Submission, info: StageInfo, details: queries.Details, told: Mapping[str, Told]
    ) -> models.Submission:
        evaluations = [
            evaluation for evaluation in details.evaluations[row.id] if self._evaluation_shown(row, info, evaluation)
        ]
        main = next((e for e in evaluations if e.split == TEST and e.scorer == info.row.scorer), None)
        scored = told.get(main.id) if main is not None and row.state == "scored" else None
        job = None if main is None else details.jobs.get(main.id)
        pending = row.state == "pending"
        organises = self.viewer.role is Role.ORGANISER
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
            progress_points=self._progress(row, info, main, details) if pending and main is not None else None,
            reason=row.reason,
            created=row.created,
            started=None if job is None else job.started,
            finished=row.finished,
            goal_reached=row.goal is not None and goals_shown(info, self.viewer, self.now),
            scores=None if scored is None or hidden else scored.of(info.track),
            tasks={} if scored is None or hidden else scored.by_task(info.track),
            hidden=hidden,
            command=_command(row, info),
            failures=self._failures(row, info, main),
            job=job.id if organises and job is not None and job.state in ("failed", "cancelled") else None,
            worker=job.worker if organises and job is not None else None,
            evaluations=[
                self._evaluation(row, evaluation, info, told.get(evaluation.id)) for evaluation in evaluations
            ],
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

    def _progress(
        self, row: rows.Submission, info: StageInfo, evaluation: rows.Evaluation, details: queries.Details
    ) -> models.Points | None:
        """How many data points have ended. Who asks again and again would know how long each took: of a sealed split
        that is not for those who hand in.
        """
        points = details.points.get(evaluation.id)
        if points is None or self._points_shown(row, info, evaluation) is not None:
            return None
        return models.Points(done=points.done, total=None)

    def _points_shown(self, row: rows.Submission, info: StageInfo, evaluation: rows.Evaluation) -> str | None:
        """Why the viewer may not see single data points; None: they may."""
        asked = Asked(
            Kind.OUTCOME,
            row.team_id,
            _ENDINGS[evaluation.state],
            evaluation.split,
            dry_run=info.stage.dry_run,
            concluded=info.row.concluded,
        )
        seen = visibility(asked, self.viewer, self.now)
        return seen.reason if isinstance(seen, Hidden) else None

    def _failures(self, row: rows.Submission, info: StageInfo, evaluation: rows.Evaluation | None) -> dict[str, int]:
        """Which errors there were how often: who made them could say by them what was seen in sealed data."""
        if evaluation is None or self._points_shown(row, info, evaluation) is not None:
            return {}
        found = evaluation.report.get("failures")
        return dict(found) if isinstance(found, dict) else {}

    def _evaluation(
        self, of: rows.Submission, row: rows.Evaluation, info: StageInfo, told: Told | None
    ) -> models.Evaluation:
        shown = told is not None and not told.hidden
        points_shown = self._points_shown(of, info, row) is None
        counted = failures(row.report) if row.state == "done" else None
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
            points_shown=points_shown and row.state == "done" and info.detection,
            points=None if counted is None else counted[0],
            missing=None if counted is None else counted[1],
            seconds=seconds(row.report) if points_shown else None,
        )

    def point_table(self, tx: Session, evaluation_id: str) -> PointTable | str:
        """What came of each data point of an evaluation; or why the viewer may not see it, in a sentence.

        Raises:
            NotFound: there is no such evaluation, or the viewer may not know of it.
            InputError: the data of the stage cannot be read.
        """
        info, evaluation, reason = self._looked_into(tx, evaluation_id)
        if reason is not None:
            return reason
        if not info.detection:
            return "the data points of a language track are the rows of its files; they are shown by task and attack"
        return point_table(tx, info, evaluation)

    def language_rows(self, tx: Session, evaluation_id: str) -> tuple[list[RowGroup], Rows | None] | str:
        """What came of the rows of a language track: by task and attack, and of each where that was kept; or why the
        viewer may not see it, in a sentence.

        Raises:
            NotFound: there is no such evaluation, or the viewer may not know of it.
        """
        _, evaluation, reason = self._looked_into(tx, evaluation_id)
        if reason is not None:
            return reason
        return row_groups(evaluation.report), language_rows(tx, evaluation)

    def _looked_into(self, tx: Session, evaluation_id: str) -> tuple[StageInfo, rows.Evaluation, str | None]:
        """(its stage, an evaluation, why the viewer may not look into it)."""
        evaluation = evaluations.by_id(tx, evaluation_id)
        row = submissions.by_id(tx, evaluation.submission_id)
        info = self.service.stage(tx, row.stage_id)
        own = self.viewer.team is not None and self.viewer.team == row.team_id
        if not (own or self.viewer.role is Role.ORGANISER) or not self._evaluation_shown(row, info, evaluation):
            raise NotFound(f"there is no evaluation {evaluation_id[:40]!a}")
        reason = self._points_shown(row, info, evaluation)
        if reason is None and evaluation.state != "done":
            reason = f"the evaluation on the {evaluation.split} split is {evaluation.state}"
        return info, evaluation, reason

    def data_points(self, tx: Session, row: rows.Submission, split: str) -> models.DataPoints | str:
        """The same for a submission, by the version of the scorer that the leaderboard shows, as it is answered.

        Raises:
            NotFound: nothing of it was evaluated on this split, or the viewer may not know of it.
            InputError: the data of the stage cannot be read.
        """
        info = self.service.stage(tx, row.stage_id)
        for evaluation in evaluations.of_submission(tx, row.id):
            if evaluation.split == split and evaluation.scorer == info.row.scorer:
                found = self.point_table(tx, evaluation.id)
                if isinstance(found, str):
                    return found
                return models.DataPoints(
                    submission=row.id, evaluation=evaluation.id, split=split, points=_data_points(found)
                )
        raise NotFound(f"there is no evaluation of this submission on the split {split[:40]!a}")

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
            baseline=row.baseline,
            members=[
                models.Member(id=member.account_id, name=member.name, captain=member.captain, joined=member.joined)
                for member in teams.members(tx, row.id)
            ]
            if told
            else [],
        )

    def quotas(self, tx: Session, challenge: rows.Challenge, team_id: str) -> list[models.TrackQuota]:
        """What a team may still submit, track by track."""
        found = []
        for track in self.service.definition(challenge).tracks:
            earlier = submissions.earlier(tx, team_id, challenge.id, track.name)
            decision = quota_rules.decide(track.quotas, earlier, self.now)
            refused = decision if isinstance(decision, quota_rules.Refused) else None
            found.append(
                track_quota(
                    track.name,
                    next(iter(current_stages(tx, challenge.id, track.name, self.now)), None),
                    decision.usage,
                    reason=None if refused is None else refused.reason,
                    next_slot=None if refused is None else refused.next_slot,
                )
            )
        return found

    def team_page(self, tx: Session, challenge: rows.Challenge, account_id: str | None) -> models.TeamPage:
        """What the viewer's team needs to know of itself.

        Args:
            tx: a read transaction.
            challenge: the challenge.
            account_id: the account of the viewer, whose tokens are told that can be used.
        """
        own = None if self.viewer.team is None else teams.by_id(tx, self.viewer.team)
        page: list[rows.Submission] = []
        following = None
        if own is not None:
            wanted = queries.SubmissionFilter(challenge.id, own.id)
            page, following = queries.submissions_page(tx, wanted, after=None, most=_MOST_SUBMISSIONS)
        return models.TeamPage(
            challenge=challenge.name,
            title=challenge.title,
            team=None if own is None else self.team(tx, own),
            quotas=[] if own is None else self.quotas(tx, challenge, own.id),
            submissions=self.submissions(tx, page),
            next=following,
            tokens=[]
            if account_id is None
            else [token(row) for row in queries.usable_tokens(tx, account_id, self.now)],
            made=self.now,
        )

    # --- What organisers see ------------------------------------------------------------------------------------------

    def organising(self, tx: Session, challenge: rows.Challenge) -> models.Organising:
        """Everything that an organiser should look at.

        Raises:
            NotFound: the viewer is none.
        """
        if self.viewer.role is not Role.ORGANISER:
            raise NotFound("there is no such page")
        shown = self.stages(tx, challenge, steps=True)
        leaks = []
        for row in stages.of_challenge(tx, challenge.id):
            if row.opened is None:
                continue
            info = self.service.stage(tx, row.id)
            budget = self._leak(tx, info)
            if budget is not None:
                leaks.append(models.StageLeak(track=row.track, stage=row.name, title=info.stage.title, leak=budget))
        return models.Organising(
            challenge=challenge.name,
            title=challenge.title,
            stuck=self.jobs(tx, queries.stuck_jobs(tx, challenge.id, self.now, most=_MOST_STUCK)),
            counts=queries.job_counts(tx, challenge.id),
            failing=self.submissions(tx, queries.failing_submissions(tx, challenge.id, most=_MOST_FAILING)),
            waiting_accounts=[account(row) for row in queries.waiting_accounts(tx, most=_MOST_STUCK)],
            waiting_teams=[self.team(tx, row) for row in queries.waiting_teams(tx, challenge.id, most=_MOST_STUCK)],
            stages=shown,
            leaks=leaks,
            audit=[audit_line(row) for row in audit.listing(tx, challenge_id=challenge.id, most=_MOST_LINES)],
            workers=[worker(row) for row in workers.listing(tx)],
            made=self.now,
        )

    def _leak(self, tx: Session, info: StageInfo) -> models.LeakBudget | None:
        # It takes long where much was told, and nothing is lost if it is some seconds old.
        revision = (info.row.scorer, info.challenge.changed, self.now.timestamp() // _LEAK_SECONDS)

        def made() -> models.LeakBudget | None:
            try:
                return leak_of(tx, info)
            except PalladionError:
                return None  # the data of the stage is not there: what it has given away is the least of it

        return self.boards.get(("leak", info.row.id), revision, made)

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


def _command(row: rows.Submission, info: StageInfo) -> str:
    """What does as the service does on one's own machine, with what ``palladion download`` has put into a folder of the
    stage's name: on the open data, for the sealed is nowhere else.
    """
    name, folder = shlex.quote(row.name), info.row.name
    if not info.detection:
        return f"palladion submission check {name} --track {folder}/phases/{info.stage.phase}"
    limits = info.track.limits
    options = [f"--time-limit {limits.seconds:g}", f"--memory {size_text(limits.memory).replace(' ', '')}"]
    if limits.total_seconds is not None:
        options.append(f"--budget {limits.total_seconds:g}")
    return f"palladion evaluate {name} --round {folder} --split train {' '.join(options)}"


def _data_points(table: PointTable) -> list[models.DataPoint]:
    return [
        models.DataPoint(
            name=name,
            poisoned=bool(table.poisoned[i]),
            probability=None if table.missing[i] else float(table.probability[i]),
            missing=bool(table.missing[i]),
            error=table.errors[i],
            seconds=None if math.isnan(table.seconds[i]) else float(table.seconds[i]),
            factors={column: values[i] for column, values in table.factors.items()},
        )
        for i, name in enumerate(table.names)
    ]


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
        feedback=models.Feedback(**feedback, words=policy_words(track.feedback, track.metric)),
        limits=models.CodeLimits.model_validate(track.limits.model_dump()),
        advance=models.Advance.model_validate(track.advance.model_dump()),
        stages=shown,
    )
