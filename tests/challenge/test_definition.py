import contextlib
import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from palladion.challenge import METRICS, Challenge, challenge_schema, load_challenge, parse_challenge
from palladion.challenge.definition import Track
from palladion.challenge.settings import Feedback, Quotas
from palladion.errors import InputError
from tests.challenge.small import DETECTION, EXAMPLES, LANGUAGE, challenge_of, faults_in, track_with

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "challenge-file.md").read_text()


def test_what_is_left_out_has_its_default() -> None:
    challenge = challenge_of(DETECTION)
    track = challenge.track("detection")
    assert (challenge.stage_word, challenge.registration.approval, challenge.teams.most_members) == ("round", "open", 6)
    assert track.quotas == Quotas()
    assert track.quotas.scored.per_day is None
    assert track.feedback == Feedback(policy="bootstrap_ladder", level=0.05)
    assert (track.limits.seconds, track.limits.memory, track.limits.scratch) == (600, 4 << 30, 2 << 30)
    assert (track.limits.processes, track.limits.cpus, track.limits.gpus) == (256, 1, 0)
    assert track.limits.total_seconds is None
    assert (track.advance.when, track.advance.teams) == ("command", None)
    assert (track.submission.files, track.submission.bytes) == ((), 512 << 20)
    assert track.stage("round-1").prevalence == 0.5


def test_goals_follow_from_prevalence_and_task() -> None:
    stages: list[dict[str, Any]] = [{}, {}, {"prevalence": 0.02}, {"success": "none"}, {"success": 0.05}]
    track = challenge_of(track_with(DETECTION, stages=stages)).tracks[0]
    goals = [track.goal(stage) for stage in track.stages]
    assert goals[0] is None
    assert goals[1] == pytest.approx(0.34657, abs=1e-5)
    assert goals[2] == pytest.approx(0.0490, abs=1e-4)
    assert goals[3:] == [None, 0.05]
    language = challenge_of(track_with(LANGUAGE, stages=[{}, {"success": 80}])).tracks[0]
    assert [language.goal(stage) for stage in language.stages] == [None, 80.0]


def test_what_is_there_is_found_by_name() -> None:
    challenge = challenge_of(DETECTION)
    track = challenge.track("detection")
    following = track.next_stage("round-0")
    assert following is not None
    assert following.name == "round-1"
    assert track.next_stage("round-1") is None
    with pytest.raises(InputError, match=r"has no track 'detecton'; did you mean 'detection'\?"):
        challenge.track("detecton")
    with pytest.raises(InputError, match=r"has no stage 'x'; there are round-0, round-1"):
        track.stage("x")


def test_sizes_and_dates_are_read() -> None:
    data = track_with(
        DETECTION,
        submission={"kind": "code", "bytes": "3M", "files": ["detector.py", "learned/weights.bin"]},
        limits={"memory": "8G", "scratch": 1024},
        stages=[{"opens": "2026-01-05T09:00Z", "closes": "2026-01-06 10:30:00+02:00"}],
    )
    track = challenge_of(data).tracks[0]
    assert (track.submission.bytes, track.limits.memory, track.limits.scratch) == (3 << 20, 8 << 30, 1024)
    assert track.stages[0].opens == datetime(2026, 1, 5, 9, tzinfo=UTC)
    assert track.stages[0].closes == datetime(2026, 1, 6, 8, 30, tzinfo=UTC)
    assert track.stages[0].closes.tzinfo is UTC


# One fault each: the change, and what is said of it.
_DETECTION_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"task": "detecting"}, "task: Input should be 'detection', 'classification' or 'generation'"),
    ({"metrics": []}, "metrics: must hold at least one"),
    ({"metrics": ["cross_entropi"]}, "metrics.0: there is no metric 'cross_entropi' of detection; did you mean"),
    ({"metrics": ["cross_entropy", "asr"]}, "metrics.1: there is no metric 'asr' of detection; there are cross_ent"),
    ({"metrics": ["roc_auc", "roc_auc"]}, "metrics.1: roc_auc is there twice"),
    ({"metrics": ["expected_calibration_error"]}, "metrics.0: expected_calibration_error cannot be the first"),
    ({"submission": {"kind": "outputs"}}, "submission.kind: a submission to a detection track is code, not outputs"),
    ({"submission": {"kind": "code", "bytes": "5X"}}, "submission.bytes: '5X' is not a size"),
    ({"submission": {"kind": "code", "bytes": 0}}, "submission.bytes: a size must be more than 0"),
    ({"submission": {"kind": "code", "files": ["../x"]}}, "submission.files.0: '../x' leads out"),
    ({"submission": {"kind": "code", "files": ["a", "a"]}}, "submission.files: 'a' is there twice"),
    ({"quotas": {"scored": {"per_day": 0}}}, "quotas.scored.per_day: Input should be greater than or equal to 1"),
    ({"quotas": {"scored": {"per_day": "3"}}}, "quotas.scored.per_day: Input should be a valid integer"),
    ({"quotas": {"scored": {"per_week": 3}}}, "there is no key 'tracks.0.quotas.scored.per_week'; did you mean"),
    ({"clusters": ["family", "family"]}, "clusters: 'family' is there twice"),
    ({"feedback": {"policy": "ladder"}}, "feedback.step: policy: ladder needs one"),
    ({"feedback": {"policy": "ladder", "step": 0}}, "feedback.step: Input should be greater than 0"),
    ({"feedback": {"policy": "ladder", "step": float("nan")}}, "feedback.step: Input should be a finite number"),
    ({"feedback": {"policy": "ladder", "step": 0.1, "digits": 2}}, "feedback.digits: does not belong to policy"),
    ({"feedback": {"policy": "exact", "step": 0.1}}, "feedback.step: does not belong to policy: exact"),
    ({"feedback": {"policy": "none", "digits": 2}}, "feedback.digits: does not belong to policy: none"),
    (
        {"feedback": {"digits": 2}},
        "feedback.digits: does not belong to policy: bootstrap_ladder, which is the default; leave it out, or write "
        "policy: rounded beside it",
    ),
    (
        {"feedback": {"policy": "ladder", "step": 0.1, "level": 0.1}},
        "feedback.level: does not belong to policy: ladder",
    ),
    ({"feedback": {"level": 0.6}}, "feedback.level: Input should be less than or equal to 0.5"),
    ({"feedback": {"public": 1.0}}, "feedback.public: Input should be less than 1"),
    ({"feedback": {"clip": 0.5}}, "feedback.clip: Input should be less than 0.5"),
    ({"feedback": {"clip": 0.0}}, "feedback.clip: Input should be greater than or equal to 0.000000000001"),
    ({"feedback": {"policy": "rounded", "digits": -1}}, "feedback.digits: Input should be greater than or equal to 0"),
    ({"limits": {"seconds": 0}}, "limits.seconds: Input should be greater than 0"),
    ({"limits": {"seconds": float("inf")}}, "limits.seconds: Input should be a finite number"),
    ({"limits": {"seconds": True}}, "limits.seconds: Input should be a valid number"),
    ({"advance": {"when": "date", "teams": 2}}, "advance.teams: does not belong to when: date"),
    ({"advance": {"when": "date"}}, "stages.0.closes: advance by date needs the day"),
    ({"advance": {"when": "goal"}, "stages": [{}, {"success": "none"}]}, "stages.1.success: advance by goal needs"),
    ({"advance": {"when": "goal"}, "stages": [{}, {"dry_run": True}]}, "stages.1.dry_run: advance by goal needs a"),
    ({"stages": [{"name": "Round 0"}]}, "stages.0.name: 'Round 0' must be lower-case letters"),
    ({"stages": [{"name": "round-1"}]}, "stages.1.name: there is another stage 'round-1' before"),
    ({"stages": [{"title": "a\nb"}]}, r"stages.0.title: 'a\nb' must be one line"),
    ({"stages": [{"data": "/data"}]}, "stages.0.data: '/data' is absolute"),
    ({"stages": [{"data": "a/../../b"}]}, "stages.0.data: 'a/../../b' leads out"),
    ({"stages": [{"data": "C:\\data"}]}, "has a backslash in it"),
    ({"stages": [{"data": "a/.hidden"}]}, "none begins with a dot"),
    ({"stages": [{"prevalence": 0}]}, "stages.0.prevalence: Input should be greater than 0"),
    ({"stages": [{"prevalence": 1}]}, "stages.0.prevalence: Input should be less than 1"),
    ({"stages": [{"dry_run": "yes, please"}]}, "stages.0.dry_run: Input should be a valid boolean"),
    ({"stages": [{"success": "half"}]}, "stages.0.success: a dry run has no goal"),
    ({"stages": [{"success": 0.3}]}, "stages.0.success: a dry run has no goal"),
    ({"stages": [{}, {"success": "quarter"}]}, "stages.1.success: must be half, none, or the number to reach"),
    ({"stages": [{}, {"success": True}]}, "stages.1.success: must be half, none, or the number to reach"),
    ({"stages": [{}, {"success": float("nan")}]}, "stages.1.success: must be half, none, or the number to reach"),
    ({"stages": [{}, {"success": -0.1}]}, "stages.1.success: cross_entropy lies between 0 and 27.63, not at -0.1"),
    ({"stages": [{}, {"success": 0.7}]}, "stages.1.success: 0.7 is no better than guessing, which has a cross_entropy"),
    ({"stages": [{}, {"phase": "development"}]}, "stages.1.phase: does not belong to a detection track"),
    ({"stages": [{}, {"code_required": True}]}, "stages.1.code_required: does not belong to a detection track"),
    ({"stages": [{"opens": "2026-01-05"}]}, "stages.0.opens: 2026-01-05 has no hours"),
    ({"stages": [{"opens": "2026-01-05T09:00:00"}]}, "stages.0.opens: 2026-01-05T09:00:00 has no zone"),
    ({"stages": [{"opens": "tomorrow"}]}, "stages.0.opens: 'tomorrow' must be a date with hours and zone"),
    ({"stages": [{"opens": "2026-02-30T09:00:00Z"}]}, "stages.0.opens: '2026-02-30T09:00:00Z' is no date"),
    ({"stages": [{"opens": 1767603600}]}, "stages.0.opens: must be a date with hours and zone"),
]


@pytest.mark.parametrize(("change", "message"), _DETECTION_FAULTS, ids=[str(change) for change, _ in _DETECTION_FAULTS])
def test_a_fault_of_a_detection_track(change: dict[str, Any], message: str) -> None:
    (fault,) = faults_in(track_with(DETECTION, **change))
    assert message in fault
    assert fault.startswith("challenge.yaml, line ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": ["asr"]}, "metrics.0: asr cannot be the first, which ranks"),
        ({"submission": {"kind": "code"}}, "submission.kind: a submission to a classification track is outputs"),
        ({"stages": [{"success": "half"}]}, "stages.0.success: a classification track has no guess"),
        ({"stages": [{"success": 101}]}, "stages.0.success: overall lies between -100 and 100, not at 101"),
        ({"stages": [{"prevalence": 0.4}]}, "stages.0.prevalence: does not belong to a classification track"),
        ({"stages": [{"dry_run": True}]}, "stages.0.dry_run: does not belong to a classification track"),
        ({"stages": [{"phase": None}]}, "stages.0.phase: a classification track needs the phase"),
        ({"clusters": ["source"]}, "clusters: does not belong to a classification track"),
        ({"feedback": {"clip": 0.01}}, "feedback.clip: the answers of a classification track are no probabilities"),
        ({"advance": {"when": "goal"}}, "stages.0.success: advance by goal needs a goal to reach here"),
    ],
    ids=str,
)
def test_a_fault_of_a_language_track(change: dict[str, Any], message: str) -> None:
    (fault,) = faults_in(track_with(LANGUAGE, **change))
    assert message in fault


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "palladion-challenge/2"}, "format: Input should be 'palladion-challenge/1'"),
        ({"name": "a b"}, "name: 'a b' must be lower-case letters"),
        ({"name": "a" * 65}, "must be lower-case letters"),
        ({"titel": "x"}, "there is no key 'titel'; did you mean 'title'?"),
        ({"description": "a\x1b[31m"}, r"description: has the character '\x1b' in it"),
        ({"stage_word": "lap"}, "stage_word: Input should be 'round' or 'phase'"),
        ({"registration": {"approval": "domain"}}, "registration.domains: approval by domain needs at least one"),
        ({"registration": {"domains": ["example.org"]}}, "registration.domains: does not belong to approval: open"),
        ({"registration": {"approval": "domain", "domains": ["@x"]}}, "registration.domains.0: '@x' is no domain"),
        ({"teams": {"most_members": 0}}, "teams.most_members: Input should be greater than or equal to 1"),
        ({"tracks": []}, "tracks: must hold at least one"),
        ({"tracks": "x"}, "tracks: 'str' instances are not allowed"),
    ],
    ids=str,
)
def test_a_fault_of_the_file(change: dict[str, Any], message: str) -> None:
    (fault,) = faults_in(copy.deepcopy(DETECTION) | change)
    assert message in fault


DATES = "2026-01-05T09:00:00Z", "2026-01-06T09:00:00Z", "2026-01-07T09:00:00Z", "2026-01-08T09:00:00Z"


@pytest.mark.parametrize(
    ("first", "second", "fault"),
    [
        ((0, 1), (1, 2), None),  # one may open in the moment that the other closes
        ((0, 1), (2, 3), None),
        ((0, None), (1, None), None),
        ((None, 0), (None, 1), None),
        ((None, None), (3, None), None),
        ((1, 0), (None, None), "stages.0.closes: Mon 5 Jan 2026, 09:00 UTC is not after opens of round-0"),
        ((1, 1), (None, None), "stages.0.closes"),  # it would never be open
        ((1, 2), (0, None), "stages.1.opens: Mon 5 Jan 2026, 09:00 UTC is not after closes of round-0 (Wed 7 Jan"),
        ((1, None), (1, None), "stages.1.opens"),  # both at a time
        ((None, 2), (None, 1), "stages.1.closes"),
    ],
    ids=str,
)
def test_dates_go_forward(
    first: tuple[int | None, int | None], second: tuple[int | None, int | None], fault: str | None
) -> None:
    stages = [
        {key: DATES[at] for key, at in zip(("opens", "closes"), dates, strict=True) if at is not None}
        for dates in (first, second)
    ]
    data = track_with(DETECTION, stages=stages)
    if fault is None:
        challenge_of(data)
    else:
        (found,) = faults_in(data)
        assert fault in found


def test_every_fault_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "challenge.yaml"
    path.write_text("""format: palladion-challenge/1
name: many faults
title: "Many"
tracks:
  - name: one
    title: "One"
    task: detection
    metrics: [cross_entropy]
    submission: {kind: code}
    quotas:
      scored: {per_day: 0}
    stages:
      - name: a
        titel: "A"
        data: data/a
        opens: 2026-01-05T09:00:00Z
        closes: 2026-01-04T09:00:00Z
      - name: a
        title: "{braces} stay"
        data: ../data
        phase: development
        success: 3.0
  - name: one
    title: "Two"
    task: generation
    metrics: [utility, nothing]
    submission: {kind: code}
    stages: [{name: b, title: B, data: b}]
""")
    wanted = [
        (2, "name"),
        (11, "quotas.scored.per_day"),
        (13, "stages.0.title: Field required"),
        (14, "did you mean 'title'?"),
        (17, "stages.0.closes: Sun 4 Jan 2026, 09:00 UTC is not after opens of a"),
        (18, "there is another stage 'a' before"),
        (20, "leads out of the folder"),
        (21, "stages.1.phase: does not belong"),
        (22, "no better than guessing"),
        (23, "there is another track 'one' before"),
        (26, "tracks.1.metrics.1: there is no metric 'nothing' of generation"),
        (27, "tracks.1.submission.kind: a submission to a generation track is outputs"),
        (28, "stages.0.phase: a generation track needs the phase"),
    ]
    found = faults_in(path)
    for line, message in wanted:
        assert [fault for fault in found if fault.startswith(f"{path}, line {line}: ") and message in fault], (
            line,
            message,
            found,
        )
    assert len(found) == len(wanted)


def test_one_fault_of_a_stage_hides_no_other() -> None:
    stage = {"data": "/x", "success": 0.9, "opens": DATES[1], "closes": DATES[0], "phase": "x", "strange": 1}
    found = "\n".join(faults_in(track_with(DETECTION, stages=[{}, stage])))
    for key in ("data: '/x'", "success: 0.9", "closes: Mon", "phase: does not", "'tracks.0.stages.1.strange'"):
        assert key in found
    assert found.count("\n") == 4


def test_what_hangs_on_a_key_that_is_at_fault_is_not_told() -> None:
    # Nobody knows whether a phase belongs to a task that there is not.
    (fault,) = faults_in(track_with(DETECTION, task="detecting", stages=[{}, {"phase": "x", "success": "half"}]))
    assert "task: " in fault
    (fault,) = faults_in(track_with(LANGUAGE, stages=[{"phase": "A B"}]))
    assert "must be lower-case" in fault
    (fault,) = faults_in(track_with(DETECTION, advance={"when": "date"}, stages=[{"closes": "soon"}]))
    assert "'soon'" in fault
    (fault,) = faults_in(track_with(DETECTION, stages=[{}, {"success": 0.3, "prevalence": 7}]))
    assert "prevalence" in fault
    (fault,) = faults_in(track_with(LANGUAGE, advance={"when": "goal"}, stages=[{"success": "x"}]))
    assert "success: must be" in fault


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2026-02-30T09:00:00Z\n", "challenge.yaml, line 2: cannot be read: day is out of range"),
        (f"a: 1\nb: 1\nc: {'9' * 5000}\n", "challenge.yaml, line 3: cannot be read: Exceeds the limit"),
        ("a: [", "line 1: is not YAML"),
        ("a: &b [1]\nc: *b", "line 2: is not YAML: aliases"),
        ("[" * 3000, "is not YAML"),
        ("- 1", "must hold keys and values"),
        ("", "must hold keys and values"),
        ("a: !!python/object/apply:os.system [true]", "is not YAML"),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_file_of_settings(text: str, message: str) -> None:
    assert message in faults_in(text)[0]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "there is no such file; palladion challenge new" in faults_in(tmp_path / "challenge.yaml")[0]
    assert "there is no such file" in faults_in(tmp_path)[0]  # the folder is there
    large = tmp_path / "large.yaml"
    large.write_text("a: b\n" * 300_000)
    assert "is larger than 1 MiB" in faults_in(large)[0]
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as text" in faults_in(binary)[0]


@given(st.text(max_size=60) | st.text("{}[]&*!?:-,'\"|>%@`#ab1 \n", max_size=60))
def test_no_text_raises_anything_but_an_input_error(text: str) -> None:
    with pytest.raises(InputError):
        parse_challenge(text)


_junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_junk_in_the_place_of_any_value_is_refused_in_words(data: st.DataObject) -> None:
    document = copy.deepcopy(data.draw(st.sampled_from([DETECTION, LANGUAGE])))
    holder: Any = document
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(holder[key], dict | list) and data.draw(st.booleans()):
            holder = holder[key]
            continue
        holder[key] = data.draw(_junk)
        break
    try:
        text = yaml.safe_dump(document, allow_unicode=True)
    except yaml.YAMLError:
        return
    # Anything but an InputError is an error of ours.
    with contextlib.suppress(InputError):
        parse_challenge(text)


@pytest.mark.parametrize("name", ["trojai", "antibad"])
def test_the_examples_pass_and_fit_the_schema(name: str) -> None:
    path = EXAMPLES / name / "challenge.yaml"
    challenge = load_challenge(path)
    assert challenge.name == name
    Draft202012Validator(challenge_schema()).validate(yaml.safe_load(path.read_text()))


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    validator = Draft202012Validator(challenge_schema())
    Draft202012Validator.check_schema(challenge_schema())
    json.dumps(challenge_schema(), allow_nan=False)
    for data in (DETECTION, LANGUAGE):
        assert validator.is_valid(data)
    changes: list[dict[str, Any]] = [
        {"task": "detecting"},
        {"metrics": []},
        {"stages": []},
        {"submission": {"kind": "code", "bytes": "5X"}},
        {"feedback": {"policy": "loud"}},
        {"strange": 1},
        {"quotas": {"concurrent": 0}},
    ]
    for change in changes:
        changed = copy.deepcopy(DETECTION)
        changed["tracks"][0] |= change
        assert not validator.is_valid(changed), change


def _models(model: type[BaseModel], seen: dict[str, type[BaseModel]]) -> dict[str, type[BaseModel]]:
    seen[model.__name__] = model
    for field in model.model_fields.values():
        for found in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(found, type) and issubclass(found, BaseModel) and found.__name__ not in seen:
                _models(found, seen)
    return seen


def test_every_key_is_documented() -> None:
    models = _models(Challenge, {})
    assert {"Challenge", "Track", "Stage", "Feedback", "Limits", "Advance", "Quota"} <= set(models)
    for model in models.values():
        for key in model.model_fields:
            assert f"`{key}`" in PAGE, f"{model.__name__}.{key}"
    for metric in METRICS:
        better = "higher" if metric.higher_is_better else "lower"
        assert f"| `{metric.name}` | {', '.join(metric.tasks)} | {metric.unit} | {better} |" in PAGE


def test_a_dump_is_read_as_the_same_challenge() -> None:
    for name in ("trojai", "antibad"):
        challenge = load_challenge(EXAMPLES / name)
        data = challenge.model_dump(mode="json", exclude_none=True)
        assert parse_challenge(yaml.safe_dump(data)) == challenge
    data = track_with(DETECTION, stages=[{"opens": DATES[0]}])
    assert challenge_of(data).model_dump(mode="json")["tracks"][0]["stages"][0]["opens"] == "2026-01-05T09:00:00Z"


def test_it_cannot_be_changed() -> None:
    challenge = challenge_of(DETECTION)
    assert isinstance(challenge.tracks, tuple)
    assert isinstance(challenge.tracks[0], Track)
    with pytest.raises(ValueError, match="frozen"):
        challenge.name = "other"
