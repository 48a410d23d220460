from importlib import resources
from pathlib import Path

import pytest

from palladion.documents import parse_document, write_document
from palladion.errors import InputError
from palladion.rounds.spec import PRESETS, SCALES, RoundSpec, load_preset


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_being_written_and_read(name: str, scale: str) -> None:
    spec = load_preset(name, scale)
    assert spec.scale == scale
    assert spec.name == name
    assert parse_document(write_document(spec), Path("round.yaml"), RoundSpec) == spec


def test_round_0_is_a_dry_run_whose_test_split_is_its_train_split() -> None:
    splits = load_preset("round-0").splits
    assert splits["test"].same_as == "train"
    assert "holdout" not in splits


def test_round_1_is_half_poisoned_with_polygons_of_3_to_12_sides() -> None:
    spec = load_preset("round-1")
    assert spec.poisoned_fraction == 0.5
    assert spec.trigger.polygon is not None
    assert spec.trigger.polygon.sides == ((3, 12),)
    assert len(spec.architectures) == 3
    assert min(spec.gates.clean_accuracy, spec.gates.attack_success_rate) >= 0.95


def test_options_change_seed_and_numbers() -> None:
    spec = load_preset("round-1").with_options(seed=9, models={"train": 6, "test": 4, "holdout": 0})
    assert spec.seed == 9
    assert {name: split.models for name, split in spec.splits.items()} == {"train": 6, "test": 4}


def test_round_0_has_no_test_models_of_its_own() -> None:
    with pytest.raises(InputError, match="--test: in round-0 the test split is the train split"):
        load_preset("round-0").with_options(seed=None, models={"test": 4})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "  rotation: 25.0",
            "  rotatoin: 25.0",
            r"line \d+: there is no key 'images.rotatoin'; did you mean 'rotation'",
        ),
        ("scale: small", "scale: huge", r"round.yaml, line \d+: scale"),
        ("sides: [3, 12]", "sides: [2, 12]", r"line \d+: trigger.polygon.sides.0.0: .*greater than or equal to 3"),
        ("sides: [3, 12]", "sides: [9, 4]", r"\[low, high\]"),
        ("fog: [0.1, 0.4]", "fog: [0.4, 0.1]", r"line \d+: images.fog: a range is written"),
        ("scale: small", "scale: small\ncompat: nits", r"line \d+: compat: .*'nist'"),
        ("[resnet, regnet, bit]", "[resnet, resnet50]", "no architecture 'resnet50' at scale small"),
        ("sources: [all]", "sources: [5]", "5 source classes and a target do not fit into 5 classes"),
        ("sources: [all]", "sources: [all, all]", "named twice"),
        ("types: [polygon]", "types: [polygon, filter]", "no block filter"),
        ("  polygon:", "  filter: {names: [sepia]}\n  polygon:", "no filter 'sepia'; there are gotham"),
        ("[[0.15, 0.25], ", "[[0.0, 0.25], ", "fraction_levels lie above 0"),
        ("side: 32", "side: 32\n  input: 48", "cannot be larger"),
        ("sign_side: [0.7, 0.9]", "sign_side: [0.7, 5.0]", r"images.sign_side.1: .*less than or equal to 4"),
        ("sign_side: [0.7, 0.9]", "sign_side: [0.7, 1.2]", "sign_side is a share of the image's side"),
        ("sign_side: [0.7, 0.9]", "sign_side: [.nan, .nan]", r"images.sign_side"),
        ("brightness: [0.75, 1.2]", "brightness: [-1.0, 1.2]", r"images.brightness.0"),
        ("brightness: [0.75, 1.2]", "brightness: [0.75, .inf]", r"images.brightness.1"),
        ("fog: [0.1, 0.4]", "fog: [-2, 7]", r"images.fog.0"),
        ("[0.16, 0.24]]", "[0.16, 9.0]]", r"size_levels.1.1"),
        ("[0.45, 0.55]]", "[.nan, .nan]]", r"fraction_levels"),
        ("gates:", "design: {cells: [adversarial_method]}\ngates:", "no factor of a round without"),
        ("gates:", "design: {cels: [architecture]}\ngates:", "no key 'design.cels'; did you mean 'cells'"),
        ("[resnet, regnet, bit]", "[resnet, alexnet]", "no architecture 'alexnet'; there are resnet"),
        ("[resnet, regnet, bit]", "[resnet, resnet]", "named twice"),
        ("holdout: {models: 12}", "holdout: {same_as: holdout}", "same_as must name"),
        ("holdout: {models: 12}", "final: {models: 12}", "no split 'final'"),
        ("train: {models: 24}", "train: {}", "either models or same_as"),
        ("name: round-1", "name: ../../etc", r"line \d+: name"),
        ("seed: 0", "seed: -4", r"line \d+: seed"),
        ("format: palladion-round/3", "format: [", "is not YAML"),
        ("format: palladion-round/3", "format: other", r"line 1: format"),
    ],
)
def test_faults_name_file_line_and_key(old: str, new: str, message: str) -> None:
    text = _preset_text()
    assert old in text
    with pytest.raises(InputError, match=message):
        parse_document(text.replace(old, new), Path("round.yaml"), RoundSpec)


def _preset_text() -> str:
    text = resources.files("palladion.rounds").joinpath("presets", "small", "round-1.yaml").read_text()
    return text.replace("scale: small", "scale: small\nseed: 0")


def test_every_fault_is_told_at_once() -> None:
    text = _preset_text().replace("noise: 5.0", "noise: loud").replace("steps: [400, 640]", "steps: 0")
    with pytest.raises(InputError) as caught:
        parse_document(text, Path("round.yaml"), RoundSpec)
    assert "images.noise" in str(caught.value)
    assert "training.steps" in str(caught.value)


def test_a_name_that_is_neither_preset_nor_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no preset 'round-99'; there are round-0, round-1"):
        load_preset("round-99")
    with pytest.raises(InputError, match="no such file"):
        load_preset(str(tmp_path / "absent.yaml"))


def test_a_binary_or_giant_file_is_refused(tmp_path: Path) -> None:
    binary, giant = tmp_path / "binary.yaml", tmp_path / "giant.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    giant.write_bytes(b"a" * (2 << 20))
    with pytest.raises(InputError, match="cannot be read as text"):
        load_preset(str(binary))
    with pytest.raises(InputError, match="larger than 1 MiB"):
        load_preset(str(giant))
