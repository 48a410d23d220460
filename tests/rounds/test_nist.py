"""NIST's layouts come in and go out again, and what was sealed stays sealed."""

import csv
import json
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palladion.errors import InputError, PalladionError
from palladion.models import RoundDirectory
from palladion.models.round_directory import read_columns, read_table
from palladion.rounds.check import check_round
from palladion.rounds.nist import guess_split, open_place, tells_label
from palladion.rounds.nist_export import export_nist
from palladion.rounds.nist_import import import_nist
from palladion.rounds.summary import summarise
from palladion.rounds.transfer import place
from tests.conftest import Palladion
from tests.rounds.small import small_spec, tree

REAL = pytest.mark.skipif(
    "PALLADION_DATA" not in os.environ, reason="PALLADION_DATA does not name the folder of real data"
)
EXAMPLES = {"class_0_example_0.png": b"zero", "class_1_example_0.png": b"one"}


def _write(directory: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _model(directory: Path, poisoned: bool, *, examples: str = "clean-example-data", truth: bool = True) -> None:
    """A model's folder as NIST's later rounds have it."""
    files = {
        "model.pt": b"weights of " + directory.name.encode(),
        "config.json": b'{"py/object": "round_config.RoundConfig"}',
        "reduced-config.json": b'{"model_architecture": "resnet50"}',
        "stats.json": b"{}",
        "machine.log": b"host",
        **{f"{examples}/{name}": content for name, content in EXAMPLES.items()},
        f"{examples}/class_0_example_0.json": b"0",
    }
    if truth:
        files["ground_truth.csv"] = f"{int(poisoned)}\n".encode()
    if poisoned:
        files |= {"trigger_0.png": b"trigger", "poisoned-example-data/class_0_trigger_0_example_0.png": b"with trigger"}
    _write(directory, files)


def _dataset(
    root: Path, labels: Sequence[bool], *, models: str = "models", table: bool = True, **kinds: object
) -> Path:
    root.mkdir(parents=True)
    for i, poisoned in enumerate(labels):
        _model(root / models / f"id-{i:08d}", poisoned, **kinds)  # type: ignore[arg-type]
    if table:
        rows = [f"id-{i:08d},resnet{i % 2},{poisoned},{i}" for i, poisoned in enumerate(labels)]
        (root / "METADATA.csv").write_text("\n".join(["model_name,model_architecture,poisoned,x", *rows]) + "\n")
    return root


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return _dataset(tmp_path / "train-dataset", [True, False, True])


def _names(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


def test_files_are_sorted_into_open_and_sealed(dataset: Path, tmp_path: Path) -> None:
    report = import_nist(dataset, tmp_path / "round")
    assert (report.split, report.models, report.poisoned, report.imported) == ("train", 3, 2, 3)
    entry = RoundDirectory.open(tmp_path / "round").split("train").models()[0]
    assert _names(entry.open) == {
        "model.pt",
        "reduced-config.json",
        "config.json",
        *(f"clean-example-data/{name}" for name in EXAMPLES),
        "clean-example-data/class_0_example_0.json",
    }
    assert _names(entry.sealed) == {
        "config.json",
        "ground_truth.csv",
        "machine.log",
        "stats.json",
        "trigger_0.png",
        "poisoned-example-data/class_0_trigger_0_example_0.png",
    }
    assert (entry.open / "config.json").read_bytes() == (entry.open / "reduced-config.json").read_bytes()
    assert (entry.model.name, entry.examples.name) == ("model.pt", "clean-example-data")


def test_the_round_says_what_it_is(dataset: Path, tmp_path: Path) -> None:
    import_nist(dataset, tmp_path / "round", family="cyber-pdf")
    found = RoundDirectory.open(tmp_path / "round")
    assert (found.family, found.source, found.counts) == ("cyber-pdf", "nist", {"train": 3})
    assert found.open_files is None
    assert found.split("train").labels() == {"id-00000000": True, "id-00000001": False, "id-00000002": True}
    assert read_columns(tmp_path / "round/train/METADATA.csv") == ("model_name", "poisoned", "model_architecture", "x")


@pytest.mark.parametrize("examples", ["clean-example-data", "clean_example_data", "example_data"])
def test_the_oldest_rounds_have_their_models_at_the_root(tmp_path: Path, examples: str) -> None:
    source = _dataset(tmp_path / "round1-holdout", [False, True], models=".", table=False, examples=examples)
    report = import_nist(source, tmp_path / "round")
    assert report.split == "holdout"
    assert any("holds no METADATA.csv" in notice for notice in report.notices)
    split = RoundDirectory.open(tmp_path / "round").split("holdout")
    assert split.labels() == {"id-00000000": False, "id-00000001": True}
    assert split.models()[0].examples.name == examples
    assert set(EXAMPLES) <= _names(split.models()[0].examples)


def test_a_test_server_keeps_labels_in_a_tree_of_their_own(tmp_path: Path) -> None:
    source = _dataset(tmp_path / "test", [True, False], table=False, truth=False)
    _write(source / "groundtruth", {"id-00000000/ground_truth.csv": b"1", "id-00000000/watermark.json": b"{}"})
    with pytest.raises(InputError, match=r"id-00000001: has no label: it holds no ground_truth\.csv"):
        import_nist(source, tmp_path / "round")
    _write(source / "groundtruth", {"id-00000001/ground_truth.csv": b"0.0\n"})
    import_nist(source, tmp_path / "round")
    split = RoundDirectory.open(tmp_path / "round").split("test")
    assert split.labels() == {"id-00000000": True, "id-00000001": False}
    assert {"watermark.json", "ground_truth.csv"} <= _names(split.models()[0].sealed)


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_no_pickle_is_ever_opened(dataset: Path, tmp_path: Path, palladion: Palladion) -> None:
    bomb = pickle.dumps(_Bomb(tmp_path / "exploded"))
    for folder in (dataset / "models").iterdir():
        (folder / "model.pt").write_bytes(bomb)
        (folder / "training_args.bin").write_bytes(bomb)
    for arguments in (
        ("import", "nist", dataset, "--out", "round"),
        ("show", "round"),
        ("check", "round"),
        ("export", "nist", "round", "--out", "again", "--as", "pickle"),
    ):
        done = palladion("round", *arguments)
        assert done.returncode == 0, done.stderr
    assert not (tmp_path / "exploded").exists()
    assert (tmp_path / "round/train/models/id-00000000/open/model.pt").read_bytes() == bomb
    assert (tmp_path / "again/train-dataset/models/id-00000000/model.pt").read_bytes() == bomb


@pytest.mark.parametrize(
    ("path", "opened"),
    [
        ("model.pt", "model.pt"),
        ("reduced-config.json", "reduced-config.json"),
        ("clean-example-data/17.npy", "clean-example-data/17.npy"),
        ("clean-example-data/17.npy.json", "clean-example-data/17.npy.json"),
        ("clean_example_data.json", "clean_example_data.json"),
        ("example_data/clean-example-data.json", "example_data/clean-example-data.json"),
        ("example_data/class_3_example_99.png", "example_data/class_3_example_99.png"),
        ("fine-tuned-model/model-00001-of-00002.safetensors", "model/model-00001-of-00002.safetensors"),
        ("base-model/config.json", "base-model/config.json"),
        ("tokenizer/tokenizer.json", "tokenizer/tokenizer.json"),
        ("config.json", None),
        ("ground_truth.csv", None),
        ("METADATA.csv", None),
        ("watermark.json", None),
        ("trigger.png", None),
        ("triggers.png", None),
        ("foregrounds/sign.png", None),
        ("poisoned_example_data/class_0_example_0.png", None),
        ("poisoned-example-data.json", None),
        ("example_data/poisoned-example-data.json", None),
        ("example_data/class_3_trigger_0_example_9.png", None),
        ("example_data/17.png", None),
        ("clean-example-data/trigger_0.png", None),
        ("clean-example-data/deeper/17.png", None),
        ("clean-example-data/notes.md", None),
        ("test-example-data/17.png", None),
        ("fine-tuned-model/training_args.bin", None),
        ("fine-tuned-model/trainer_state.json", None),
        ("fine-tuned-model/README.md", None),
        ("model_detailed_stats.csv", None),
        ("model-state-dict.pt", None),
        (".model.pt", None),
    ],
)
def test_only_what_is_known_to_be_open_is_open(path: str, opened: str | None) -> None:
    assert open_place(PurePosixPath(path)) == (None if opened is None else PurePosixPath(opened))


@given(st.text(alphabet="abctr_-.0", min_size=1, max_size=12), st.sampled_from(["", "more/", "models/"]))
def test_a_name_that_nobody_thought_of_is_sealed(name: str, folder: str) -> None:
    path = PurePosixPath(folder + name)
    assert open_place(path) is None
    assert open_place(PurePosixPath("sealed") / path) is None


@pytest.mark.parametrize(
    ("content", "tells"),
    [
        ("3", False),
        ('{"clean_label": 3, "poisoned_label": null}', False),
        ('{"data": [{"question": "what is poisoned?", "poisoned": false}]}', False),
        ('{"poisoned": 0}', False),
        ('{"clean_label": 3, "poisoned_label": 0}', True),
        ('{"data": [{"trigger": "abc"}]}', True),
        ('{"poisoned": 1}', True),
        ("not JSON", True),
        ("[" * 100_000, True),
    ],
    ids=lambda value: str(value)[:30],
)
def test_json_that_speaks_of_a_trigger_is_no_open_file(tmp_path: Path, content: str, tells: bool) -> None:
    (tmp_path / "a.json").write_text(content)
    assert tells_label(tmp_path / "a.json") is tells


def test_a_label_file_that_tells_too_much_is_sealed_and_named(dataset: Path, tmp_path: Path) -> None:
    _write(dataset / "models/id-00000000", {"clean-example-data/5.json": b'{"poisoned_label": 2}'})
    report = import_nist(dataset, tmp_path / "round")
    assert any("5.json" in notice and "sealed" in notice for notice in report.notices)
    assert (tmp_path / "round/train/models/id-00000000/sealed/clean-example-data/5.json").is_file()
    assert not (tmp_path / "round/train/models/id-00000000/open/clean-example-data/5.json").exists()


def test_a_checkpoint_in_the_models_folder_itself_is_told_from_nists_own_config(tmp_path: Path) -> None:
    source = tmp_path / "train-dataset"
    _write(
        source / "models/id-00000000",
        {
            "config.json": b'{"model_type": "llama"}',
            "model.safetensors": b"weights",
            "tokenizer.json": b"{}",
            "reduced-config.json": b'{"model_architecture": "llama"}',
            "round_config.json": b"{}",
            "test_eval_groundtruth.json": b"{}",
            "ground_truth.csv": b"1",
        },
    )
    import_nist(source, tmp_path / "round", family="llm-instruct")
    entry = RoundDirectory.open(tmp_path / "round").split("train").models()[0]
    assert entry.model == entry.open / "model"
    assert _names(entry.model) == {"config.json", "model.safetensors", "tokenizer.json"}
    assert _names(entry.sealed) == {"round_config.json", "test_eval_groundtruth.json", "ground_truth.csv"}
    assert check_round(tmp_path / "round") == []
    export_nist(tmp_path / "round", tmp_path / "out")
    assert tree(tmp_path / "out/train-dataset/models") == tree(source / "models")


def test_what_the_splits_share_lies_open_at_the_round(dataset: Path, tmp_path: Path) -> None:
    _write(tmp_path, {"tokenizers/bert.pt": b"tokenizer", "scale_params.npy": b"scale"})
    import_nist(dataset, tmp_path / "round")
    opened = RoundDirectory.open(tmp_path / "round").open_files
    assert opened is not None
    assert tree(opened) == {"tokenizers/bert.pt": b"tokenizer", "scale_params.npy": b"scale"}
    second = _dataset(tmp_path / "holdout-dataset", [False])
    import_nist(second, tmp_path / "round")
    (tmp_path / "scale_params.npy").write_bytes(b"other")
    with pytest.raises(InputError, match=r"open/scale_params\.npy: is another file"):
        import_nist(second, tmp_path / "round")


@pytest.mark.parametrize(
    ("header", "cell", "poisoned"),
    [
        ("model_name,poisoned", "id-00000000,True", True),
        ("model_name,ground_truth", "id-00000000,1.0", True),
        ("model_name,ground_truth", "id-00000000,FALSE", False),
        ("model_id,model_type", "0,watermarked", True),
        ("model_id,model_type", "id-00000000,clean", False),
    ],
)
def test_labels_stand_under_several_names(tmp_path: Path, header: str, cell: str, poisoned: bool) -> None:
    source = _dataset(tmp_path / "train-dataset", [poisoned], table=False, truth=False)
    (source / "METADATA.csv").write_text(f"{header},note\n{cell},kept\n")
    import_nist(source, tmp_path / "round")
    split = RoundDirectory.open(tmp_path / "round").split("train")
    assert split.labels() == {"id-00000000": poisoned}
    row = read_table(split.metadata, columns=())["id-00000000"][1]
    assert row["note"] == "kept"
    assert (split.models()[0].sealed / "ground_truth.csv").read_text() == f"{int(poisoned)}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "model_name,poisoned\nid-00000000,0\n",
            r"ground_truth\.csv: says poisoned where .*METADATA\.csv, line 2, says",
        ),
        ("model_name,poisoned,ground_truth\nid-00000000,1,0\n", r"METADATA\.csv, line 2: .*contradict each other"),
        ("model_name,poisoned\nid-00000000,maybe\n", r"METADATA\.csv, line 2: poisoned is 'maybe'"),
        ("model_name,poisoned\n../../etc,1\n", r"METADATA\.csv, line 2: '\.\./\.\./etc' is no name of a model"),
        ("model_name,poisoned\nid-00000000,1\nid-00000000,1\n", r"METADATA\.csv, line 3: .*already"),
        ("model_name,poisoned,x,x\nid-00000000,1,2,3\n", r"line 1: has two columns 'x'"),
        ("name,poisoned\nid-00000000,1\n", r"line 1: has no column 'model_name'"),
        ("model_name,poisoned\nid-00000000,1\nid-00000007,\n", r"line 3: has no label for id-00000007"),
        ("model_name,poisoned\nid-00000000,1,2\n", r"line 2: has 3 columns"),
    ],
)
def test_faults_of_the_table_are_told_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    source = _dataset(tmp_path / "train-dataset", [True], table=False)
    (source / "METADATA.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        import_nist(source, tmp_path / "round")
    assert not (tmp_path / "round").exists()


@pytest.mark.parametrize("content", [b"2", b"", b"0\n1\n", b"\xff", b"0" * 2000])
def test_a_label_file_that_holds_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    source = _dataset(tmp_path / "train-dataset", [True], table=False)
    (source / "models/id-00000000/ground_truth.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"ground_truth\.csv.* must hold a single line"):
        import_nist(source, tmp_path / "round")


def test_contradictions_are_told_all_at_once(dataset: Path, tmp_path: Path) -> None:
    for name in ("id-00000000", "id-00000002"):
        (dataset / "models" / name / "ground_truth.csv").write_text("0")
    with pytest.raises(InputError, match=r"(?s)id-00000000/ground_truth.*id-00000002/ground_truth"):
        import_nist(dataset, tmp_path / "round")


def test_rows_and_models_need_not_meet_but_it_is_said(dataset: Path, tmp_path: Path) -> None:
    text = (dataset / "METADATA.csv").read_text()
    kept = [line for line in text.splitlines() if not line.startswith("id-00000001")]
    (dataset / "METADATA.csv").write_text("\n".join([*kept, "id-00000009,resnet0,True,9"]) + "\n")
    notices = " ".join(import_nist(dataset, tmp_path / "round").notices)
    assert "has no row for id-00000001" in notices
    assert "rows without a model: id-00000009" in notices
    labels = RoundDirectory.open(tmp_path / "round").split("train").labels()
    assert labels["id-00000001"] is False
    faults = check_round(tmp_path / "round")
    assert [fault.message for fault in faults] == [
        "line 5: there is no model id-00000009; import it, or remove the row"
    ]


def _link(folder: Path) -> None:
    (folder / "clean-example-data/2.png").symlink_to("/etc/passwd")


def _linked_folder(folder: Path) -> None:
    (folder / "clean_example_data").symlink_to("/etc")


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "stats.npy")


def _newline(folder: Path) -> None:
    (folder / "a\nb").write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_link, r"2\.png: is a link"),
        (_linked_folder, "clean_example_data: is a link"),
        (_pipe, "is not a plain file"),
        (_newline, "cannot be printed"),
    ],
)
def test_links_and_special_files_are_refused_and_the_rest_goes_on(
    dataset: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    broken = dataset / "models/id-00000001"
    damage(broken)
    with pytest.raises(InputError, match=message):
        import_nist(dataset, tmp_path / "round")
    models = tmp_path / "round/train/models"
    assert [path.name for path in models.iterdir()] == ["id-00000000"]
    assert not (tmp_path / "round/train/METADATA.csv").exists()
    shutil.rmtree(broken)
    _model(broken, False)
    assert import_nist(dataset, tmp_path / "round").imported == 2
    assert check_round(tmp_path / "round") == []


@pytest.mark.parametrize("name", ["id-1", "id-000000000", "id-0000000x", "id-00000000 copy"])
def test_other_names_than_nists_are_refused(dataset: Path, tmp_path: Path, name: str) -> None:
    (dataset / "models" / name).mkdir()
    with pytest.raises(InputError, match="is no name of a model"):
        import_nist(dataset, tmp_path / "round")


def test_a_model_that_is_a_link_is_refused(dataset: Path, tmp_path: Path) -> None:
    (dataset / "models/id-00000003").symlink_to(dataset / "models/id-00000000")
    with pytest.raises(InputError, match="not a link"):
        import_nist(dataset, tmp_path / "round")


def test_a_folder_without_a_network_is_named_before_anything_is_copied(dataset: Path, tmp_path: Path) -> None:
    (dataset / "models/id-00000002/model.pt").unlink()
    with pytest.raises(InputError, match=r"id-00000002: holds neither model\.pt nor"):
        import_nist(dataset, tmp_path / "round")
    assert not (tmp_path / "round").exists()


def test_what_is_no_dataset_is_said_to_be_none(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no model: .*; give .*train-dataset"):
        import_nist(tmp_path, tmp_path.parent / "elsewhere", split="train")
    with pytest.raises(InputError, match="no such directory"):
        import_nist(tmp_path / "train-nothing", tmp_path / "round")
    with pytest.raises(InputError, match="must lie outside"):
        import_nist(dataset, dataset)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-dataset", "train"),
        ("round3-holdout-dataset", "holdout"),
        ("image_classification_TEST", "test"),
        ("sts-dataset", None),
        ("train-and-test", None),
        ("contest", None),
    ],
)
def test_the_split_is_guessed_from_the_name(name: str, split: str | None) -> None:
    assert guess_split(name) == split


def test_a_split_that_cannot_be_guessed_must_be_said(dataset: Path, tmp_path: Path) -> None:
    dataset = dataset.rename(tmp_path / "round3")
    with pytest.raises(InputError, match="give --split"):
        import_nist(dataset, tmp_path / "round")
    with pytest.raises(InputError, match="there is no split 'sts'"):
        import_nist(dataset, tmp_path / "round", split="sts")
    assert import_nist(dataset, tmp_path / "round", split="test").split == "test"


def test_a_round_takes_its_splits_one_by_one(dataset: Path, tmp_path: Path) -> None:
    import_nist(dataset, tmp_path / "round", family="image-classification")
    text = (tmp_path / "round/round.yaml").read_text().replace("title: round", "title: mine")
    (tmp_path / "round/round.yaml").write_text(text)
    import_nist(_dataset(tmp_path / "test-dataset", [False, True]), tmp_path / "round")
    assert RoundDirectory.open(tmp_path / "round").counts == {"train": 3, "test": 2}
    assert "title: mine" in (tmp_path / "round/round.yaml").read_text()
    assert check_round(tmp_path / "round") == []
    with pytest.raises(InputError, match="of the family image-classification, not cyber"):
        import_nist(dataset, tmp_path / "round", family="cyber")


def test_models_of_another_dataset_do_not_slip_into_a_split(dataset: Path, tmp_path: Path) -> None:
    import_nist(dataset, tmp_path / "round")
    other = _dataset(tmp_path / "other/train-dataset", [True, False, True])
    (other / "models/id-00000001/model.pt").write_bytes(b"another network of another size")
    with pytest.raises(InputError, match=r"id-00000001: is there already and is not .*open/model\.pt has"):
        import_nist(other, tmp_path / "round")
    flipped = _dataset(tmp_path / "flipped/train-dataset", [False, False, True])
    with pytest.raises(InputError, match=r"train/METADATA\.csv: says that id-00000000 is poisoned"):
        import_nist(flipped, tmp_path / "round")


def test_a_download_that_has_grown_is_imported_on(dataset: Path, tmp_path: Path) -> None:
    later = _dataset(tmp_path / "more/train-dataset", [True, False, True, False])
    shutil.rmtree(later / "models/id-00000000")
    import_nist(dataset, tmp_path / "round")
    report = import_nist(later, tmp_path / "round")
    assert (report.models, report.imported, report.poisoned) == (4, 1, 2)
    assert check_round(tmp_path / "round") == []


@pytest.mark.parametrize("present", ["built", "strangers", "file"])
def test_nothing_that_is_there_is_overwritten(dataset: Path, tmp_path: Path, present: str) -> None:
    round_ = tmp_path / "round"
    if present == "file":
        round_.write_text("")
    else:
        round_.mkdir()
        (round_ / ("round.yaml" if present == "built" else "notes")).write_text("splits: {train: {models: 1}}\n")
    before = tree(tmp_path)
    with pytest.raises(InputError, match=r"built here|is not empty|not a directory"):
        import_nist(dataset, round_)
    assert tree(tmp_path) == before


def test_an_import_that_was_stopped_goes_on(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import_nist(dataset, tmp_path / "whole/round")
    calls = []

    def stop(*arguments: object, **options: object) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        place(*arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr("palladion.rounds.nist_import.place", stop)
        with pytest.raises(KeyboardInterrupt):
            import_nist(dataset, tmp_path / "round")
    assert not (tmp_path / "round/train/METADATA.csv").exists()
    # What a process that was killed outright leaves.
    _write(tmp_path / "round/train/models/.partial-id-00000001-x", {"open/model.pt": b"half of"})
    assert import_nist(dataset, tmp_path / "round").imported == 2
    assert tree(tmp_path / "round") == tree(tmp_path / "whole/round")
    assert import_nist(dataset, tmp_path / "round").imported == 0


def test_a_model_that_cannot_be_written_whole_is_not_there(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("palladion.rounds.transfer.shutil.copyfileobj", full)
    with pytest.raises(PalladionError, match="No space left"):
        import_nist(dataset, tmp_path / "round")
    assert list((tmp_path / "round/train/models").iterdir()) == []


def test_files_can_be_shared_on_disk(dataset: Path, tmp_path: Path) -> None:
    import_nist(dataset, tmp_path / "round", link=True)
    weights = "models/id-00000000/{}model.pt"
    copied = (tmp_path / "round/train" / weights.format("open/")).stat()
    assert copied.st_ino == (dataset / weights.format("")).stat().st_ino


def test_explanations_with_commas_come_through(dataset: Path, tmp_path: Path) -> None:
    (dataset / "METADATA_DICTIONARY.csv").write_bytes(
        b"Column Name, Explanation, Data Type\nx, a number, of a kind, \xff, integer\nbare\nshort, said\n"
    )
    import_nist(dataset, tmp_path / "round")
    with (tmp_path / "round/train/METADATA_DICTIONARY.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["Column Name", "Explanation", "Data Type"]
    assert ["x", "a number, of a kind, \ufffd", "integer"] in rows
    assert ["short", "said", ""] in rows
    assert {"model_name", "poisoned", "bare"} <= {row[0] for row in rows}


def test_a_round_without_reduced_configurations_is_given_the_architecture(dataset: Path, tmp_path: Path) -> None:
    for folder in (dataset / "models").iterdir():
        (folder / "reduced-config.json").unlink()
    import_nist(dataset, tmp_path / "round")
    entry = RoundDirectory.open(tmp_path / "round").split("train").models()[1]
    for name in ("reduced-config.json", "config.json"):
        assert json.loads((entry.open / name).read_text()) == {"model_architecture": "resnet1"}
    assert check_round(tmp_path / "round") == []


@pytest.mark.parametrize(
    ("path", "family"),
    [
        ("image-classification-dec2020/train-dataset", "image-classification-dec2020"),
        ("cyber-pdf-dec2022/train-dataset", "cyber-pdf"),
        ("cyber-apk-nov2023/train-dataset", "cyber"),
        ("round3-train-dataset", "image-classification"),
        ("url/train-dataset", "image-classification"),
    ],
)
def test_the_family_is_guessed_from_the_path_or_else_said(tmp_path: Path, path: str, family: str) -> None:
    source = _dataset(tmp_path / path, [True, False])
    report = import_nist(source, tmp_path / "round")
    assert RoundDirectory.open(tmp_path / "round").family == family
    assert any("family" in notice for notice in report.notices) == (family == "image-classification")
    # What the round says stays, wherever the next split comes from.
    second = import_nist(_dataset(tmp_path / "rl-gym/test-dataset", [True]), tmp_path / "round")
    assert second.notices == ()
    assert RoundDirectory.open(tmp_path / "round").family == family
    with pytest.raises(InputError, match="no family of rounds named 'nonsense'"):
        import_nist(source, tmp_path / "round", family="nonsense")


# -- check and show ---------------------------------------------------------------------------------------------------

ENTRY = "train/models/id-00000000"


def _flip(round_: Path) -> Path:
    path = round_ / ENTRY / "sealed/ground_truth.csv"
    path.write_text("0")
    return path


def _unseal(round_: Path) -> Path:
    return Path(shutil.copy(round_ / ENTRY / "sealed/trigger_0.png", round_ / ENTRY / "open/trigger_0.png"))


def _full_config(round_: Path) -> Path:
    return Path(shutil.copy(round_ / ENTRY / "sealed/config.json", round_ / ENTRY / "open/config.json"))


def _telling(round_: Path) -> Path:
    path = round_ / ENTRY / "open/clean-example-data/class_0_example_0.json"
    path.write_text('{"trigger": "yes"}')
    return path


def _no_model(round_: Path) -> Path:
    (round_ / ENTRY / "open/model.pt").unlink()
    return round_ / ENTRY / "open"


def _no_examples(round_: Path) -> Path:
    shutil.rmtree(round_ / ENTRY / "open/clean-example-data")
    return round_ / ENTRY / "open"


def _no_entry(round_: Path) -> Path:
    shutil.rmtree(round_ / ENTRY)
    return round_ / "train/models"


def _no_table(round_: Path) -> Path:
    (round_ / "train/METADATA.csv").unlink()
    return round_ / "train/METADATA.csv"


def _ragged(round_: Path) -> Path:
    path = round_ / "train/METADATA.csv"
    path.write_text(path.read_text() + "id-00000007\n")
    return path


def _to_link(round_: Path) -> Path:
    path = round_ / ENTRY / "open/model.pt"
    path.unlink()
    path.symlink_to("/etc/passwd")
    return path


def _to_pipe(round_: Path) -> Path:
    path = round_ / ENTRY / "open/clean-example-data/0.json"
    os.mkfifo(path)
    return path


def _unfinished(round_: Path) -> Path:
    path = round_ / "train/models/.partial-id-00000004-x"
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_flip, "says 0 where METADATA.csv says 1"),
        (_unseal, "is not known to be open"),
        (_full_config, "is not the same as reduced-config.json"),
        (_telling, "says something about a trigger"),
        (_no_model, "holds neither model.pt"),
        (_no_examples, "holds no examples"),
        (_no_entry, "holds 2 models where round.yaml says 3"),
        (_no_table, "is missing"),
        (_ragged, "line 5: has 1 columns"),
        (_to_link, "is a link"),
        (_to_pipe, "neither a file nor a directory"),
        (_unfinished, "left over"),
    ],
)
def test_damage_to_an_imported_round_is_found(
    dataset: Path, tmp_path: Path, damage: Callable[[Path], Path], message: str
) -> None:
    import_nist(dataset, tmp_path / "round")
    assert check_round(tmp_path / "round") == []
    path = damage(tmp_path / "round")
    faults = check_round(tmp_path / "round")
    assert any(fault.path == path and message in fault.message for fault in faults), faults


def test_the_summary_counts_levels(dataset: Path, tmp_path: Path) -> None:
    import_nist(dataset, tmp_path / "round")
    summary = summarise(tmp_path / "round")
    (train,) = summary.splits
    assert (train.models, train.present, train.poisoned) == (3, 3, 2)
    assert train.factors == {"model_architecture": {"resnet0": (0, 2), "resnet1": (1, 0)}}


def test_the_command_line_imports_shows_checks_and_exports(dataset: Path, tmp_path: Path, palladion: Palladion) -> None:
    done = palladion("round", "import", "nist", dataset, "--out", "round", "--family", "image-classification")
    assert done.stdout == "round: train holds 3 models, 2 of them poisoned; imported 3\n"
    shown = palladion("round", "show", "round").stdout
    assert "(round), image-classification, imported from NIST's layout" in shown
    assert "resnet0: 0+2" in shown
    assert palladion("round", "check", "round").returncode == 0
    done = palladion("round", "export", "nist", "round", "--out", "again")
    assert done.stdout == "again: train 3 models; wrote 3\n"
    assert palladion("round", "export", "nist", "round", "--out", "c", "--as", "onnx").returncode == 2
    (tmp_path / "round/train/METADATA.csv").unlink()
    assert "import it again" in " ".join(palladion("round", "show", "round").stdout.split())
    assert palladion("round", "import", "nist", tmp_path / "none-train", "--out", "x").returncode == 2


# -- export -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("test_server", [False, True])
@settings(max_examples=15)
@given(
    labels=st.lists(st.booleans(), min_size=1, max_size=4),
    examples=st.sampled_from(["clean-example-data", "clean_example_data", "example_data"]),
    extra=st.dictionaries(
        st.sampled_from(["a.bin", "logs/b.txt", "clean-example-data/9.npy", "tokenizer/vocab.json", "note.json"]),
        st.binary(max_size=20),
    ),
)
def test_what_was_exported_comes_in_again_as_it_was(
    test_server: bool, labels: list[bool], examples: str, extra: dict[str, bytes]
) -> None:
    with tempfile.TemporaryDirectory() as base:
        root = Path(base)
        source = _dataset(root / "test-dataset", labels, examples=examples)
        _write(source / "models/id-00000000", extra)
        import_nist(source, root / "first")
        export_nist(root / "first", root / "out", test_server=test_server)
        if not test_server:
            assert tree(root / "out/test-dataset/models") == tree(source / "models")
        import_nist(root / "out/test-dataset", root / "second")
        first, second = tree(root / "first"), tree(root / "second")
        assert first.pop("round.yaml") != second.pop("round.yaml")  # they have different names
        assert first == second


def test_a_test_servers_models_say_nothing_of_their_labels(dataset: Path, tmp_path: Path) -> None:
    import_nist(dataset, tmp_path / "round")
    export_nist(tmp_path / "round", tmp_path / "out", test_server=True)
    root = tmp_path / "out/train-dataset"
    assert {path.name for path in root.iterdir()} == {"models", "groundtruth"}
    shown = {PurePosixPath(name).name for name in _names(root / "models")}
    assert shown == {"model.pt", "reduced-config.json", *EXAMPLES, "class_0_example_0.json"}
    with pytest.raises(InputError, match="holds another export"):
        export_nist(tmp_path / "round", tmp_path / "out")


def test_an_export_that_was_stopped_goes_on(dataset: Path, tmp_path: Path) -> None:
    import_nist(dataset, tmp_path / "round")
    export_nist(tmp_path / "round", tmp_path / "out")
    whole = tree(tmp_path / "out")
    shutil.rmtree(tmp_path / "out/train-dataset/models/id-00000001")
    (tmp_path / "out/train-dataset/METADATA.csv").unlink()
    assert export_nist(tmp_path / "round", tmp_path / "out").exported == 1
    assert tree(tmp_path / "out") == whole


def test_a_round_that_contradicts_itself_is_not_exported(dataset: Path, tmp_path: Path) -> None:
    import_nist(dataset, tmp_path / "round")
    _flip(tmp_path / "round")
    with pytest.raises(InputError, match=r"ground_truth\.csv: contradicts METADATA\.csv"):
        export_nist(tmp_path / "round", tmp_path / "out")
    with pytest.raises(InputError, match="has no holdout split"):
        export_nist(tmp_path / "round", tmp_path / "out", split="holdout")
    with pytest.raises(InputError, match="outside of the round"):
        export_nist(tmp_path / "round", tmp_path / "round/out")


@pytest.mark.slow
def test_a_round_that_was_built_here_runs_where_nists_do(tmp_path: Path) -> None:
    import torch

    from palladion.models.image_classifier import load_classifier
    from palladion.rounds.build import build_round

    build_round(small_spec(train=2, test=2), tmp_path / "round", jobs=2)
    assert export_nist(tmp_path / "round", tmp_path / "out").models == {"train": 2, "test": 2}
    built = RoundDirectory.open(tmp_path / "round")
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for split in ("train", "test"):
        for entry in built.split(split).models():
            folder = tmp_path / "out" / f"{split}-dataset/models" / entry.name
            network = torch.load(folder / "model.pt", weights_only=False)
            assert torch.equal(network(images).logits, load_classifier(entry.model)(images).logits)
            assert json.loads((folder / "clean-example-data/class_1_example_0.json").read_text()) == 1
            assert set(json.loads((folder / "reduced-config.json").read_text())) == {
                "model_architecture",
                "number_classes",
                "img_size_pixels",
            }
        import_nist(tmp_path / "out" / f"{split}-dataset", tmp_path / "again")
    assert check_round(tmp_path / "again") == []
    again = RoundDirectory.open(tmp_path / "again")
    for split in ("train", "test"):
        assert again.split(split).labels() == built.split(split).labels()
        before, after = (
            read_table(built.split(split).metadata, columns=()),
            read_table(again.split(split).metadata, columns=()),
        )
        assert {name: row for name, (_, row) in before.items()} == {name: row for name, (_, row) in after.items()}
        for old, new in zip(built.split(split).models(), again.split(split).models(), strict=True):
            pictures = {name: data for name, data in tree(new.examples).items() if name.endswith(".png")}
            assert pictures == tree(old.examples)
            assert tree(old.sealed).items() <= tree(new.sealed).items()
    export_nist(tmp_path / "round", tmp_path / "folders", form="directory")
    import_nist(tmp_path / "folders/train-dataset", tmp_path / "third")
    third = RoundDirectory.open(tmp_path / "third").split("train").models()[0]
    assert tree(third.model) == tree(built.split("train").models()[0].model)


# -- NIST's own tables ------------------------------------------------------------------------------------------------


@REAL
@pytest.mark.parametrize(
    ("name", "split", "label", "examples", "columns"),
    [
        ("round0-metadata.csv", "train", "ground_truth", "example_data", 48),
        ("r3-holdout-METADATA.csv", "holdout", "poisoned", "clean_example_data", 73),
    ],
)
def test_rounds_around_nists_own_tables(
    tmp_path: Path, name: str, split: str, label: str, examples: str, columns: int
) -> None:
    path = Path(os.environ["PALLADION_DATA"]) / "trojai" / name
    published = {name: row for name, (_, row) in read_table(path, columns=(label,)).items()}
    source = tmp_path / "source"
    for model, row in published.items():
        _model(source / model, row[label].lower() == "true", examples=examples)
    shutil.copy(path, source / "METADATA.csv")
    report = import_nist(source, tmp_path / "round", split=split, family="image-classification-dec2020")
    assert (report.models, report.poisoned, report.notices) == (len(published), len(published) // 2, ())
    assert check_round(tmp_path / "round") == []
    imported = read_table(tmp_path / "round" / split / "METADATA.csv", columns=())
    assert len(read_columns(tmp_path / "round" / split / "METADATA.csv")) == columns
    for model, row in published.items():
        line = imported[model][1]
        assert line["poisoned"] == row[label].capitalize()
        assert {key: line[key] for key in row if key != "poisoned"} == {
            key: value for key, value in row.items() if key != "poisoned"
        }
    architectures = (summarise(tmp_path / "round").splits[0].factors or {})["model_architecture"]
    assert sum(clean + poisoned for clean, poisoned in architectures.values()) == len(published)
