"""``palladion round build``, ``verify`` and ``picture``, as an organiser types them."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from palladion.rounds.build import build_round
from palladion.rounds.picture_sheet import choose_plans, picture_sheet
from tests.cli.conftest import Cli
from tests.rounds.small import small_spec, tree, write_spec

SPEC = small_spec(train=2, test=2, images=64, steps=2)
ENTRY = "train/models/id-00000000"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("factory") / "built"
    build_round(SPEC, directory, jobs=2)
    return directory


@pytest.fixture
def built(whole: Path, tmp_path: Path) -> Path:
    """A round that may be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "built"))


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    return write_spec(SPEC, tmp_path / "own.yaml")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("round-1", "--scale", "huge"), "--scale: round-1 has no scale 'huge'; there are small, nist"),
        (("round-1", "--device", "tpu"), "--device: there is no 'tpu'; there are cpu and cuda"),
        (("antibad-generation", "--device", "cuda"), "--device: a language round has no such option"),
        (("antibad-generation", "--scale", "nist"), "--scale: a language round has no scale 'nist'"),
        (("round-4",), "there is no preset 'round-4'; there are round-0, round-1, round-2, round-3"),
    ],
)
def test_what_cannot_be_built_is_told_before_anything_is_written(
    cli: Cli, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    done = cli("round", "build", *options, "--out", tmp_path / "out")
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert not (tmp_path / "out").exists()


def test_a_specification_has_one_scale(cli: Cli, spec_file: Path, tmp_path: Path) -> None:
    for command in ("build", "picture"):
        done = cli("round", command, spec_file, "--scale", "nist", "--out", tmp_path / "out")
        assert done.code == 2
        assert done.err == f"palladion: --scale: {spec_file} is of scale small; leave this option out\n"
    assert not (tmp_path / "out").exists()


def test_where_there_is_no_gpu_cuda_is_refused(cli: Cli, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = cli("round", "build", "round-1", "--device", "cuda", "--out", tmp_path / "out")
    assert done.code == 2
    assert "--device cuda: there is no GPU that torch" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed")
def test_where_torchvision_is_absent_its_networks_are_refused_with_what_to_install(cli: Cli, tmp_path: Path) -> None:
    done = cli("round", "build", "round-2", "--scale", "nist", "--out", tmp_path / "out")
    assert done.code == 2
    assert "torchvision is not installed; these networks need: pip install torchvision" in done.err
    assert not (tmp_path / "out").exists()


def test_a_misspelt_key_is_refused_with_its_line_and_the_right_one(cli: Cli, spec_file: Path, tmp_path: Path) -> None:
    lines = spec_file.read_text().splitlines()
    line = next(number for number, text in enumerate(lines, start=1) if "  rain_probability:" in text)
    spec_file.write_text(spec_file.read_text().replace("rain_probability", "rain_probabillity"))
    done = cli("round", "build", spec_file, "--out", tmp_path / "out")
    assert done.code == 2
    assert done.err == (
        f"palladion: {spec_file}, line {line}: there is no key 'images.rain_probabillity'; "
        "did you mean 'rain_probability'?\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_round_is_built_verified_and_drawn(cli: Cli, spec_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = cli("round", "build", spec_file, "--out", out, "--jobs", 2)
    assert (done.code, done.out) == (0, f"{out}: Tiny, seed 7: train 2, test 2 models; built 4\n")
    before = tree(out)
    again = cli("round", "build", spec_file, "--out", out)
    assert again.out == f"{out}: Tiny, seed 7: train 2, test 2 models; built 0, 4 were there already\n"
    assert tree(out) == before
    other = cli("round", "build", spec_file, "--out", out, "--seed", 8)
    assert (other.code, "holds another round: seed is 7 there, 8 is wanted" in other.err) == (2, True)

    verified = cli("round", "verify", out, "--retrain", 1, "--jobs", 2)
    assert verified.code == 0
    assert verified.out.startswith(
        f"{out}: 4 models are what their records say; trained again and equal to the last bit: "
    )
    assert verified.out.count("id-0000000") == 1
    assert tree(out) == before


@pytest.mark.slow
def test_what_differs_is_told_with_its_file(cli: Cli, built: Path) -> None:
    path = built / ENTRY / "open" / "clean-example-data" / "class_0_example_0.png"
    image = np.asarray(Image.open(path)).copy()
    image[0, 0, 0] ^= 1
    Image.fromarray(image).save(path)
    done = cli("round", "verify", built)
    assert done.code == 1
    assert done.out.splitlines() == [
        f"{path.parent}: 1 of 6 images differ from those drawn again",
        f"{path}: differs (SHA-256 in training.json)",
    ]
    assert "2 faults found" in done.err


@pytest.mark.slow
def test_weights_that_were_not_trained_so_are_found_by_training_again(cli: Cli, built: Path) -> None:
    """All records are made to agree with forged weights: nothing but training again can tell."""
    import hashlib

    sealed = built / ENTRY / "sealed" / "training.json"
    weights = built / ENTRY / "open" / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-4] ^= 1  # the last bit of the last number: no answer changes
    weights.write_bytes(content)
    record = json.loads(sealed.read_text())
    record["weights_sha256"] = record["files"]["open/model/model.safetensors"] = hashlib.sha256(content).hexdigest()
    sealed.write_text(json.dumps(record))
    done = cli("round", "verify", built)
    assert (done.code, done.out) == (0, f"{built}: 4 models are what their records say\n")
    done = cli("round", "verify", built, "--retrain", 4)
    assert (done.code, done.out.splitlines()) == (
        1,
        [f"{built / ENTRY}: trained again, it comes out otherwise: open/model/model.safetensors"],
    )
    assert "1 fault found" in done.err


@pytest.mark.slow
def test_a_built_round_is_drawn_as_what_it_was_built_from(
    cli: Cli, built: Path, spec_file: Path, tmp_path: Path
) -> None:
    [poisoned] = choose_plans(SPEC, "test", [])
    for source in (built, spec_file):
        done = cli("round", "picture", source, "--split", "test", "--out", tmp_path / f"{source.name}.png")
        assert (done.code, done.err) == (0, "")
        assert done.out == f"{tmp_path / source.name}.png: {poisoned.name} of tiny, split test, seed 7\n"
    assert (tmp_path / "built.png").read_bytes() == (tmp_path / "own.yaml.png").read_bytes()


@pytest.mark.slow
def test_a_model_that_was_tried_again_is_drawn_with_the_trigger_that_it_has(
    cli: Cli, built: Path, tmp_path: Path
) -> None:
    [poisoned] = choose_plans(SPEC, "test", [])
    path = built / "test" / "models" / poisoned.name / "sealed" / "training.json"
    record = json.loads(path.read_text())
    [first] = record["attempts"]
    path.write_text(json.dumps(record | {"attempts": [first, first | {"attempt": 1}]}))
    cli("round", "picture", built, "--split", "test", "--out", tmp_path / "sheet.png")
    wanted = picture_sheet(SPEC, [poisoned], attempts={poisoned: 1})
    assert np.array_equal(np.asarray(Image.open(tmp_path / "sheet.png")), np.asarray(wanted))
    path.write_text("{}")
    refused = cli("round", "picture", built, "--split", "test", "--out", tmp_path / "none.png")
    assert refused.code != 0
    assert "training.json: is not a training record" in refused.err
    assert not (tmp_path / "none.png").exists()


def test_the_sheet_is_that_of_the_models_that_were_asked_for(cli: Cli, spec_file: Path, tmp_path: Path) -> None:
    names = ("id-00000001", "id-00000000")
    path = tmp_path / "sheet.png"
    done = cli("round", "picture", spec_file, "--model", names[0], "--model", names[1], "--seed", 9, "--out", path)
    assert done.out == f"{path}: id-00000001, id-00000000 of tiny, split train, seed 9\n"
    spec = SPEC.with_options(seed=9, models={})
    wanted = picture_sheet(spec, choose_plans(spec, "train", names))
    assert np.array_equal(np.asarray(Image.open(path)), np.asarray(wanted))


def test_a_preset_is_drawn_without_being_built(cli: Cli, tmp_path: Path) -> None:
    done = cli("round", "picture", "round-2", "--model", "id-00000003", "--seed", 5, "--out", tmp_path / "sheet.png")
    assert done.out == f"{tmp_path / 'sheet.png'}: id-00000003 of round-2, split train, seed 5\n"
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.format == "PNG"
        # 64 samples, 16 beside each other, without and with the trigger; a caption above.
        assert image.size in {(16 * 98, 14 + rows * 98 + 4) for rows in (4, 8)}
    assert [path.name for path in tmp_path.glob("*.png")] == ["sheet.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("round-1", "--split", "final"), "--split: round-1 has no split 'final'; there are train, test, holdout"),
        (("round-0", "--split", "holdout"), "--split: round-0 has no split 'holdout'; there are train, test"),
        (("round-1", "--model", "id-00000024"), "no model 'id-00000024'; the last one is id-00000023"),
        (("round-1", "--scale", "huge"), "--scale: round-1 has no scale 'huge'; there are small, nist"),
        (("round-4",), "there is no preset 'round-4'"),
        (("antibad-generation",), "antibad-generation: is of a language track"),
        ((".",), "holds no round.yaml; is this a round?"),
    ],
)
def test_what_cannot_be_drawn_is_told(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("round", "picture", *options, "--out", "sheet.png")
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert not (tmp_path / "sheet.png").exists()


def test_what_was_not_built_here_is_neither_drawn_nor_verified(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "round.yaml").write_text(
        "name: other\nsource: nist\nfamily: image-classification\nsplits: {train: {models: 1}}\n"
    )
    for options in (("picture", tmp_path, "--out", tmp_path / "sheet.png"), ("verify", tmp_path)):
        done = cli("round", *options)
        assert (done.code, done.out) == (2, "")
        assert f"{tmp_path}: does not hold what it was built from" in done.err
    assert not (tmp_path / "sheet.png").exists()
