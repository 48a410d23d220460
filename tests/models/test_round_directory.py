import os
from pathlib import Path

import pytest

from palladion.errors import InputError
from palladion.models import ModelEntry, RoundDirectory, read_labels
from palladion.models.round_directory import parse_label

HEADER = "model_name,poisoned\n"


def _table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "METADATA.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("cell", "poisoned"),
    [("True", True), ("False", False), ("true", True), ("1", True), ("0", False), ("1.0", True), ("0.0", False)],
)
def test_labels_are_written_in_several_ways(tmp_path: Path, cell: str, poisoned: bool) -> None:
    assert read_labels(_table(tmp_path, f"{HEADER}id-00000000,{cell}\n")) == {"id-00000000": poisoned}


def test_round_0_of_nist_calls_the_label_ground_truth(tmp_path: Path) -> None:
    assert read_labels(_table(tmp_path, "model_name, ground_truth, x\nid-0, 1.0, a\n")) == {"id-0": True}


def test_a_byte_order_mark_and_empty_lines_do_not_matter(tmp_path: Path) -> None:
    assert read_labels(_table(tmp_path, f"\ufeff{HEADER}a,1\n\n,\nb,0\n")) == {"a": True, "b": False}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "METADATA.csv: is empty"),
        (HEADER, "holds no rows"),
        ("name,poisoned\na,1\n", "line 1: has no column 'model_name'"),
        ("model_name,label\na,1\n", "line 1: has no column 'poisoned'"),
        (f"{HEADER}a,1\nb,maybe\n", "line 3: poisoned is 'maybe'"),
        (f"{HEADER}a,0.5\n", "line 2: poisoned is '0.5'"),
        (f"{HEADER}a,nan\n", "line 2: poisoned is 'nan'"),
        (f"{HEADER}a,1\na,0\n", "line 3: a stands in line 2 already"),
        (f"{HEADER},1\n", "line 2: the model_name is empty"),
        (f"{HEADER}a,1,2\n", "line 2: has 3 columns where the header has 2"),
        (f'{HEADER}"a,1\n', "is not CSV"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_labels(_table(tmp_path, text))


def test_a_binary_file_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "METADATA.csv"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InputError, match="cannot be read as text"):
        read_labels(path)


def _round(tmp_path: Path) -> Path:
    (tmp_path / "round.yaml").write_text("splits: {train: {models: 1}, test: {same_as: train}}\n")
    (tmp_path / "train/models/id-00000000/open").mkdir(parents=True)
    (tmp_path / "train/METADATA.csv").write_text(f"{HEADER}id-00000000,True\n")
    return tmp_path


def test_a_split_that_is_another_one_is_found_there(tmp_path: Path) -> None:
    found = RoundDirectory.open(_round(tmp_path))
    assert found.split("test").path == tmp_path / "train"
    assert found.split("test").labels() == {"id-00000000": True}
    assert [entry.name for entry in found.split("train").models()] == ["id-00000000"]


@pytest.mark.parametrize(
    ("name", "message"), [("holdout", "has no holdout split"), ("../secret", "no split '../secret'")]
)
def test_splits_that_are_not_there_are_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        RoundDirectory.open(_round(tmp_path)).split(name)


def test_a_round_cannot_point_out_of_itself(tmp_path: Path) -> None:
    _round(tmp_path)
    (tmp_path / "round.yaml").write_text("splits: {test: {same_as: ../../other}}\n")
    with pytest.raises(InputError, match=r"names a split '\.\./\.\./other'"):
        RoundDirectory.open(tmp_path)


def test_a_model_that_is_a_link_is_refused(tmp_path: Path) -> None:
    directory = _round(tmp_path)
    (directory / "train/models/id-00000001").symlink_to("/etc")
    with pytest.raises(InputError, match="not a link"):
        RoundDirectory.open(directory).split("train").models()


def test_a_model_without_a_row_is_named(tmp_path: Path) -> None:
    directory = _round(tmp_path)
    (directory / "train/models/id-00000001").mkdir()
    with pytest.raises(InputError, match="no row for the model id-00000001"):
        RoundDirectory.open(directory).split("train").labels()


@pytest.mark.parametrize(
    "text", ["", "[]", "splits: 3", "splits: {train: 3}", "a: 1", "{" * 3000], ids=lambda text: text[:12]
)
def test_files_that_are_no_round_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "round.yaml").write_text(text)
    with pytest.raises(InputError):
        RoundDirectory.open(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("splits: {dev: {models: 1}}", "names a split 'dev'"),
        ("splits: {train: {models: many}}", r"splits\.train\.models is 'many'"),
        ("splits: {train: {models: true}}", r"splits\.train\.models is True"),
        ("splits: {train: {models: -1}}", r"splits\.train\.models is -1"),
        ("splits: {train: null}", "has no splits"),
        ("family: ../x\nsplits: {train: {}}", r"family is '\.\./x'"),
        ("family: [a]\nsplits: {train: {}}", "family is"),
        ("family: " + "a" * 65 + "\nsplits: {train: {}}", "family is"),
        ("source: elsewhere\nsplits: {train: {}}", "source is 'elsewhere'"),
        ("source: [nist]\nsplits: {train: {}}", "source is"),
        ("!!python/object/apply:os.system [id]", "cannot be read"),
        ("splits: {? [a] : {}}", "cannot be read|names a split"),
        ("a: 2020-99-99\nsplits: {train: {}}", "cannot be read"),
        ("#" * (1 << 20) + "\nsplits: {train: {}}", "larger than 1 MiB"),
    ],
    ids=lambda text: text[:30],
)
def test_a_round_file_says_only_what_it_can_say(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "round.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        RoundDirectory.open(tmp_path)


def test_a_round_tells_its_family_and_where_it_comes_from(tmp_path: Path) -> None:
    built = RoundDirectory.open(_round(tmp_path))
    assert (built.family, built.source, built.counts) == ("image-classification", "palladion", {"train": 1})
    (tmp_path / "round.yaml").write_text("family: cyber-pdf\nsource: nist\nsplits: {train: {}}\n")
    imported = RoundDirectory.open(tmp_path)
    assert (imported.family, imported.source, imported.counts) == ("cyber-pdf", "nist", {})


def test_files_for_all_models_are_a_folder_of_the_rounds_own(tmp_path: Path) -> None:
    found = RoundDirectory.open(_round(tmp_path))
    assert found.open_files is None
    (tmp_path / "open").mkdir()
    assert found.open_files == tmp_path / "open"
    (tmp_path / "open").rmdir()
    (tmp_path / "open").symlink_to("/etc")
    with pytest.raises(InputError, match="not a link"):
        _ = found.open_files


@pytest.mark.parametrize(
    ("there", "model", "examples"),
    [
        ([], "model", "clean-example-data"),
        (["model.pt"], "model.pt", "clean-example-data"),
        (["model/", "model.pt"], "model", "clean-example-data"),
        (["model.pt", "example_data/"], "model.pt", "example_data"),
        (["clean_example_data/", "example_data/"], "model", "clean_example_data"),
        (["example_data/", "clean-example-data/"], "model", "clean-example-data"),
        (["model.pt/", "clean-example-data"], "model", "clean-example-data"),
    ],
)
def test_model_and_examples_are_found_under_nists_names(
    tmp_path: Path, there: list[str], model: str, examples: str
) -> None:
    for name in there:
        if name.endswith("/"):
            (tmp_path / "open" / name).mkdir(parents=True)
        else:
            (tmp_path / "open").mkdir(exist_ok=True)
            (tmp_path / "open" / name).write_bytes(b"")
    entry = ModelEntry("id-00000000", tmp_path)
    assert (entry.model, entry.examples) == (entry.open / model, entry.open / examples)
    assert (str(entry.model_in_open), str(entry.examples_in_open)) == (model, examples)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 1: has two columns 'poisoned'"):
        read_labels(_table(tmp_path, "model_name,poisoned,poisoned\na,1,0\n"))


@pytest.mark.parametrize("text", ["2", "", "nan", "yes", "1e400", "0x1", "1 0"])
def test_what_is_no_label_is_none(text: str) -> None:
    assert parse_label(text) is None


@pytest.mark.skipif("PALLADION_DATA" not in os.environ, reason="PALLADION_DATA does not name the folder of real data")
@pytest.mark.parametrize(
    ("name", "models", "poisoned"), [("round0-metadata.csv", 200, 100), ("r3-holdout-METADATA.csv", 288, 144)]
)
def test_the_real_tables_of_nist_are_read(name: str, models: int, poisoned: int) -> None:
    labels = read_labels(Path(os.environ["PALLADION_DATA"]) / "trojai" / name)
    assert (len(labels), sum(labels.values())) == (models, poisoned)
