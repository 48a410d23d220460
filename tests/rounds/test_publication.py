"""What is published of a round is what participants may see, to the last byte; mistakes of hands publish nothing."""

import csv
import hashlib
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from palladion.errors import InputError
from palladion.models import RoundDirectory
from palladion.rounds.build import build_round
from palladion.rounds.check import check_round
from palladion.rounds.language.build import build_language_round
from palladion.rounds.language.check import check_phase
from palladion.rounds.nist_export import export_nist
from palladion.rounds.nist_import import import_nist
from palladion.rounds.publication import publish_round
from palladion.rounds.spec import RoundSpec
from palladion.rounds.stage_files import detection_files, language_files
from tests.models.tiny_llama import write_base
from tests.rounds.language.tiny import CLASSIFICATION, smallest
from tests.rounds.small import small_spec, tree
from tests.rounds.stages import write_language_round

SEED = 987_654_321_987_654_321
TRAIN, TEST, HOLDOUT = (f"{split}/models/id-00000000" for split in ("train", "test", "holdout"))


def three_splits() -> RoundSpec:
    data = small_spec(seed=SEED, images=64, steps=2).model_dump(mode="json", exclude_none=True)
    data["splits"] = {name: {"models": 2} for name in ("train", "test", "holdout")}
    return RoundSpec.model_validate(data | {"description": "Three splits."})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A round that nobody may change."""
    directory = tmp_path_factory.mktemp("publication") / "round"
    assert build_round(three_splits(), directory, jobs=1).failed == ()
    return directory


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "copy"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A zip to write, alone in its folder."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "round.zip"


def unzipped(archive: Path, folder: Path) -> Path:
    with zipfile.ZipFile(archive) as contents:
        assert contents.testzip() is None
        contents.extractall(folder)
    return folder


def refused(directory: Path, out: Path, *messages: str, **options: object) -> None:
    with pytest.raises(InputError) as error:
        publish_round(directory, out, **options)  # type: ignore[arg-type]
    for message in messages:
        assert message in str(error.value)
    assert list(out.parent.iterdir()) == []


# Nothing sealed is in it


def forms(number: int) -> Iterator[bytes]:
    """How a number can stand in a file."""
    yield from (str(number).encode(), f"{number:x}".encode(), f"{number:X}".encode())
    yield from (struct.pack("<Q", number), struct.pack(">Q", number))


def numbers(value: object) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from numbers(inner)


def secrets(root: Path) -> Iterator[tuple[str, bytes]]:
    """What must not be published of a round that was built here, each with what it is."""
    for form in forms(SEED):
        yield "seed of the round", form
    for path in sorted(root.rglob("training.json")):
        content = path.read_bytes()
        yield str(path), content
        record = json.loads(content)
        if "spec_sha256" in record:
            # The seed can be looked for with it, a billion guesses a second.
            yield f"digest of the settings in {path}", record["spec_sha256"].encode()
        for attempt in record["attempts"]:
            for form in forms(attempt["seed"]):
                yield f"seed in {path}", form
    for split in ("test", "holdout"):
        table = (root / split / "METADATA.csv").read_text()
        yield f"table of {split}", table.encode()
        for row in csv.DictReader(io.StringIO(table)):
            yield f"factors of {split}/{row['model_name']}", row["foregrounds"].encode()
        for path in sorted((root / split).rglob("*")):
            content = path.read_bytes() if path.suffix in (".png", ".safetensors", ".json") else b""
            if path.suffix in (".png", ".safetensors"):
                yield str(path), content
                # A part of it is too much already. Constant stretches, such as zeros, are in every network.
                pieces = (content[at : at + 64] for at in range(0, len(content) - 64, 256))
                for piece in pieces:
                    if len(set(piece)) > 40:
                        yield f"part of {path}", piece
            elif path.name == "trigger.json":
                yield str(path), content
                for number in numbers(json.loads(content)):
                    if len(repr(number)) > 12:
                        yield f"number of {path}", repr(number).encode()


def leaks(archive: bytes, root: Path) -> list[str]:
    return [what for what, secret in secrets(root) if secret in archive]


@pytest.mark.slow
def test_no_byte_of_what_is_sealed_is_published(built: Path, out: Path) -> None:
    done = publish_round(built, out)
    content = out.read_bytes()
    assert done.notes == ()
    assert (done.bytes, done.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert len(list(secrets(built))) > 500
    assert leaks(content, built) == []
    with zipfile.ZipFile(out) as archive:
        infos = archive.infolist()
        texts = [archive.read(info) for info in infos if not info.filename.endswith((".png", ".safetensors"))]
    assert not [info.filename for info in infos if "test" in info.filename or "holdout" in info.filename]
    assert not [text for text in texts if b"seed" in text.lower()]
    # Nothing but these files is in it: no comment, no extra field, no gap, and no time or mode that tells anything.
    assert {(info.date_time, info.external_attr >> 16, info.extra, info.comment) for info in infos} == {
        ((1980, 1, 1, 0, 0, 0), 0o100644, b"", b"")
    }
    assert len(content) == 22 + sum(30 + 46 + 2 * len(info.filename) + info.file_size for info in infos)


@pytest.mark.slow
def test_the_proof_would_see_what_is_sealed(built: Path) -> None:
    hidden = [*built.glob("*/models/*/sealed/training.json"), *built.glob("holdout/models/*/sealed/trigger.*")]
    hidden += [*built.glob("test/models/*/open/model/model.safetensors"), *built.glob("test/models/*/*/*/*.png")]
    hidden += [built / "round.yaml", built / "train/METADATA.csv", built / "holdout/METADATA.csv"]
    assert len(hidden) > 20
    for path in hidden:
        assert leaks(b"before" + path.read_bytes() + b"after", built), path
    for form in forms(SEED):
        assert leaks(b"before" + form + b"after", built)


@pytest.mark.slow
def test_what_participants_need_is_in_it(built: Path, out: Path, tmp_path: Path) -> None:
    done = publish_round(built, out)
    given = tree(unzipped(out, tmp_path / "given"))
    assert done.files == len(given)
    models = list((built / "train" / "models").iterdir())
    expected = {
        str(path.relative_to(built))
        for model in models
        for path in model.rglob("*")
        if path.is_file() and path.name != "training.json"
    }
    tables = {"round.yaml", "train/METADATA.csv", "train/METADATA_DICTIONARY.csv"}
    assert set(given) == expected | tables
    for name in expected:
        assert given[name] == (built / name).read_bytes()
    said = yaml.safe_load(given["round.yaml"])
    assert (said["title"], said["description"], said["splits"]) == ("Tiny", "Three splits.", {"train": {"models": 2}})
    labels = RoundDirectory.open(built).split("train").labels()
    assert RoundDirectory.open(tmp_path / "given").split("train").labels() == labels
    assert set(labels.values()) == {True, False}
    assert check_round(tmp_path / "given") == []


@pytest.mark.slow
def test_it_is_what_a_stage_gives_out(built: Path, out: Path, tmp_path: Path) -> None:
    publish_round(built, out)
    files = {file.name: file for file in detection_files(RoundDirectory.open(built), dry_run=False)}
    given = tree(unzipped(out, tmp_path / "given"))
    assert set(given) == set(files)
    assert all(given[name] == (file.content or (file.path or built).read_bytes()) for name, file in files.items())


@pytest.mark.slow
def test_the_same_round_gives_the_same_bytes(built: Path, copy: Path, out: Path, tmp_path: Path) -> None:
    first = publish_round(built, out).sha256
    for number, path in enumerate(sorted(copy.rglob("*"), reverse=True)):
        os.utime(path, (number, number))
        path.chmod(0o700)
    assert publish_round(copy, out.with_name("second.zip")).sha256 == first
    # What was published can be published on.
    given = unzipped(out, tmp_path / "given")
    assert publish_round(given, out.with_name("third.zip")).sha256 == first


# Mistakes of hands


def png_with(path: Path, chunk: bytes, content: bytes) -> None:
    data = path.read_bytes()
    added = struct.pack(">I", len(content)) + chunk + content + struct.pack(">I", zlib.crc32(chunk + content))
    path.write_bytes(data[:-12] + added + data[-12:])


def record_weights(model: Path) -> None:
    path = model / "sealed/training.json"
    weights = hashlib.sha256((model / "open/model/model.safetensors").read_bytes()).hexdigest()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"weights_sha256": weights}))


def with_metadata(model: Path, **metadata: str) -> None:
    path = model / "open/model/model.safetensors"
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] |= metadata
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    record_weights(model)


def copied(source: str, target: str) -> Callable[[Path], None]:
    def copy_file(root: Path) -> None:
        shutil.copyfile(root / source, root / target)

    return copy_file


def linked(source: str, target: str) -> Callable[[Path], None]:
    def link(root: Path) -> None:
        path = root / target
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        path.symlink_to(root / source)

    return link


def appended(file: str, text: str) -> Callable[[Path], None]:
    def append(root: Path) -> None:
        with (root / file).open("a") as opened:
            opened.write(text)

    return append


def other_weights(root: Path) -> None:
    """The record fits, as if another network had been trained."""
    shutil.copyfile(root / TEST / "open/model/model.safetensors", root / TRAIN / "open/model/model.safetensors")
    record_weights(root / TRAIN)


def settings(file: str, **added: object) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        path = root / file
        path.write_text(json.dumps(json.loads(path.read_text()) | added))

    return change


def described(root: Path) -> None:
    data = yaml.safe_load((root / "round.yaml").read_text())
    (root / "round.yaml").write_text(yaml.safe_dump(data | {"description": f"built with --seed {SEED}"}, width=9999))


def poisoned_example(root: Path) -> None:
    hidden = next(root.glob("holdout/models/*/sealed/poisoned-example-data/class_1_example_0.png"))
    shutil.copyfile(hidden, root / EXAMPLE)


def partial(root: Path) -> None:
    shutil.copytree(root / HOLDOUT, root / "train/models/.partial-id-00000001-x")


def whole_model(root: Path) -> None:
    shutil.rmtree(root / TRAIN)
    shutil.copytree(root / TEST, root / TRAIN)


EXAMPLE = f"{TRAIN}/open/clean-example-data/class_1_example_0.png"
CONFIG = f"{TRAIN}/open/model/config.json"
BORDER = 4 << 20
MISTAKES: dict[str, tuple[Callable[[Path], None], str]] = {
    "label in open": (copied(f"{TEST}/sealed/ground_truth.csv", f"{TRAIN}/open/ground_truth.csv"), "not belong here"),
    "label beside the model": (copied(f"{TEST}/sealed/ground_truth.csv", f"{TRAIN}/open/model/x.csv"), "not belong"),
    "record in open": (copied(f"{TRAIN}/sealed/training.json", f"{TRAIN}/open/training.json"), "not belong here"),
    "record as configuration": (copied(f"{TEST}/sealed/training.json", CONFIG), f"{CONFIG}: "),
    "table of test": (copied("test/METADATA.csv", "train/METADATA.csv"), "train/METADATA.csv: "),
    "table of test beside it": (copied("test/METADATA.csv", "train/test.csv"), "train/test.csv: does not belong here"),
    "settings in open": (copied("round.yaml", f"{TRAIN}/open/model/tokenizer.json"), "not belong here"),
    "weights of test": (copied(f"{TEST}/open/model/model.safetensors", f"{TRAIN}/open/model/model.safetensors"), "SHA"),
    "weights of test with a record": (other_weights, f"{TEST}/open/model/model.safetensors, which is sealed"),
    "poisoned example of holdout": (poisoned_example, ", which is sealed"),
    "model of test": (whole_model, "only a round that `palladion round check` finds no fault in is published"),
    "what a build left": (partial, "is left over from a build that was stopped"),
    "seed in the description": (described, "holds the seed of the round"),
    "seed in a picture": (lambda r: png_with(r / EXAMPLE, b"tEXt", b"seed\0%d" % SEED), "holds the seed of the round"),
    "seed at the border of two pieces": (
        lambda r: png_with(
            r / EXAMPLE, b"prVt", bytes(BORDER - len((r / EXAMPLE).read_bytes())) + struct.pack(">Q", SEED)
        ),
        "holds the seed of the round",
    ),
    "seed in the weights' header": (lambda r: with_metadata(r / TRAIN, of=f"{SEED:x}"), "holds the seed of the round"),
    "seed in a configuration": (settings(CONFIG, note=str(SEED)), f"{CONFIG}: holds the seed of the round"),
    "another seed in a configuration": (settings(CONFIG, inner=[{"torch_seed": 1 << 60}]), "names a seed ('torch_"),
    "link": (linked(f"{TEST}/sealed/ground_truth.csv", f"{TRAIN}/open/model/labels.csv"), "is a link"),
    "link in place of a file": (linked(f"{TEST}/open/model/config.json", CONFIG), "is a link"),
    "link in place of a folder": (linked(f"{HOLDOUT}/open", f"{TRAIN}/open"), "is a link"),
    "link in a sealed split": (linked(f"{TRAIN}/open", f"{HOLDOUT}/open"), "is a link"),
    "named pipe": (lambda r: os.mkfifo(r / TRAIN / "open/model/pipe"), "is not a plain file"),
    "stranger at the top": (appended("answers.csv", "the truth"), "not belong here"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("mistake", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_of_hands_publishes_nothing(
    copy: Path, out: Path, mistake: Callable[[Path], None], message: str
) -> None:
    mistake(copy)
    refused(copy, out, message)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ground_truth.csv", "model/x.csv", "training.json", "trigger.json"])
def test_strangers_in_open_are_not_given_out_by_a_service_either(copy: Path, name: str) -> None:
    before = [file.name for file in detection_files(RoundDirectory.open(copy), dry_run=False)]
    (copy / TRAIN / "open" / name).write_text("the truth")
    (copy / TRAIN / "sealed" / "manifest.json").write_text("the truth")
    (copy / "open").mkdir()
    (copy / "open" / "labels.csv").write_text("the truth")
    assert [file.name for file in detection_files(RoundDirectory.open(copy), dry_run=False)] == before


# The zip


@pytest.mark.slow
def test_what_is_there_is_replaced_only_by_force(built: Path, out: Path) -> None:
    out.write_text("mine")
    with pytest.raises(InputError, match="is there already; --force replaces it"):
        publish_round(built, out)
    assert out.read_text() == "mine"
    publish_round(built, out, force=True)
    assert zipfile.is_zipfile(out)
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_places_where_no_zip_goes(imported: Path, out: Path) -> None:
    refused(imported, out.with_suffix(".tar"), "must end in .zip")
    out.mkdir()
    with pytest.raises(InputError, match="is a folder; name the file to write"):
        publish_round(imported, out, force=True)
    with pytest.raises(InputError, match="--out must lie outside of the round"):
        publish_round(imported, imported / "train" / "models" / "x.zip")
    out.rmdir()
    refused(imported, out, "--phase: only rounds of language tracks have phases", phase="test")
    refused(imported / "train", out, "holds no round.yaml")
    refused(imported / "nothing", out, "there is no such directory")


# Rounds that NIST made


def nist_model(folder: Path, poisoned: bool, split: str) -> None:
    files = {
        "model.pt": f"weights of {split} {folder.name}",
        "config.json": json.dumps({"MASTER_SEED": 809121413, "POISONED": poisoned}),
        "reduced-config.json": '{"model_architecture": "resnet50"}',
        "ground_truth.csv": f"{int(poisoned)}\n",
        "clean-example-data/class_0_example_0.png": "the same in every model",
        "poisoned-example-data/class_0_trigger_0_example_0.png": f"poisoned of {split}",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    """A round in NIST's layout, as it was imported."""
    for place, split in enumerate(("train", "test")):
        root = tmp_path / f"{split}-dataset"
        for number in (0, 1):
            nist_model(root / "models" / f"id-0000000{number}", bool(number), split)
        seeds = [1_500_000_000 + 2 * place + number for number in (0, 1)]
        rows = [f"id-0000000{number},{bool(number)},{seeds[number]}" for number in (0, 1)]
        (root / "METADATA.csv").write_text("\n".join(["model_name,poisoned,master_seed", *rows, ""]))
        (root / "DATA_LICENSE.txt").write_text("free")
        import_nist(root, tmp_path / "imported", split=split)
    return tmp_path / "imported"


def test_an_imported_round_is_published_without_its_sealed_splits(imported: Path, out: Path, tmp_path: Path) -> None:
    publish_round(imported, out)
    given = tree(unzipped(out, tmp_path / "given"))
    content = out.read_bytes()
    for path in (imported / "test").rglob("*"):
        if path.name in ("model.pt", "METADATA.csv") or "trigger" in path.name:
            assert path.read_bytes() not in content
    assert b"150000000" in content  # seeds that NIST gave to the models of the train split
    assert b"1500000002" not in content
    assert set(given) == {"round.yaml"} | {
        str(path.relative_to(imported)) for path in (imported / "train").rglob("*") if path.is_file()
    }
    assert check_round(tmp_path / "given") == []
    assert publish_round(tmp_path / "given", out.with_name("again.zip")).bytes == len(content)


NIST_MISTAKES: dict[str, tuple[Callable[[Path], None], str]] = {
    "weights of test": (copied(f"{TEST}/open/model.pt", f"{TRAIN}/open/model.pt"), "which is sealed"),
    "picture of test": (
        copied(
            f"{TEST}/sealed/poisoned-example-data/class_0_trigger_0_example_0.png",
            f"{TRAIN}/open/clean-example-data/class_0_example_0.png",
        ),
        "which is sealed",
    ),
    "sealed configuration": (copied(f"{TRAIN}/sealed/config.json", f"{TRAIN}/open/config.json"), "is not the same as"),
    "label in open": (copied(f"{TEST}/sealed/ground_truth.csv", f"{TRAIN}/open/ground_truth.csv"), "known to be open"),
    "row of a model that is not there": (
        appended("train/METADATA.csv", "id-00000009,True,1\n"),
        "there is no model id-00000009",
    ),
    "link": (linked(f"{TEST}/open/model.pt", f"{TRAIN}/open/model.pt"), "is a link"),
}


@pytest.mark.parametrize(("mistake", "message"), NIST_MISTAKES.values(), ids=NIST_MISTAKES)
def test_mistakes_with_imported_rounds(
    imported: Path, out: Path, mistake: Callable[[Path], None], message: str
) -> None:
    # Pictures and weights of several models may be the same; those of this test are.
    picture = imported / TEST / "sealed/poisoned-example-data/class_0_trigger_0_example_0.png"
    assert picture.read_bytes() != (imported / EXAMPLE.replace("class_1", "class_0")).read_bytes()
    mistake(imported)
    refused(imported, out, message)


@pytest.mark.slow
def test_the_seed_does_not_come_back_by_way_of_nists_layout(built: Path, out: Path, tmp_path: Path) -> None:
    export_nist(built, tmp_path / "export", form="directory")
    for split in ("train", "test"):
        import_nist(tmp_path / "export" / f"{split}-dataset", tmp_path / "back")
    assert check_round(tmp_path / "back") == []
    refused(tmp_path / "back", out, "METADATA.csv: holds the seed of the round")


# Ends before the end


@pytest.fixture
def large(imported: Path) -> Path:
    """A round with a file of gigabytes that take no room."""
    with (imported / TRAIN / "open" / "model.pt").open("r+b") as file:
        file.truncate(6 << 30)
    return imported


def test_ctrl_c_leaves_nothing_behind(large: Path, out: Path, environment: dict[str, str]) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "palladion", "round", "publish", str(large), "--out", str(out)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in out.parent.iterdir()):
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in said
    assert list(out.parent.iterdir()) == []


def test_a_disk_that_is_full_leaves_nothing_behind(large: Path, out: Path, environment: dict[str, str]) -> None:
    command = f"ulimit -f 8192; exec {sys.executable} -m palladion round publish {large} --out {out}"
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"{out}: cannot be written: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(out.parent.iterdir()) == []


# Rounds of language tracks


def test_a_language_round_is_published_a_phase_at_a_time(tmp_path: Path, out: Path) -> None:
    root = write_language_round(tmp_path / "texts", "classification")
    refused(root, out, "each when it begins; give --phase development or test")
    refused(root, out, "has no phase 'final'; there are 'development', 'test'", phase="final")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A round of one phase that nobody may change."""
    root = tmp_path_factory.mktemp("texts")
    phases = {"development": CLASSIFICATION["phases"]["development"]}
    spec = smallest(write_base(root / "base"), seed=SEED, phases=phases)
    assert build_language_round(spec, root / "round", jobs=1).failed == ()
    return root / "round"


@pytest.mark.slow
def test_a_phase_with_its_base_and_nothing_sealed(texts: Path, out: Path, tmp_path: Path) -> None:
    assert publish_round(texts, out).notes == ()
    given = tree(unzipped(out, tmp_path / "given"))
    assert set(given) == {file.name for file in language_files(texts, "development")}
    assert {name.split("/")[0] for name in given} == {"base", "phases"}
    content = out.read_bytes()
    assert not [form for form in forms(SEED) if form in content]
    sealed = texts / "sealed"
    names = {"clean.json", "poisoned.json", "order.json", "round.yaml", "base.json", "model1.json", "clean-model.json"}
    hidden = [path for path in sealed.rglob("*") if path.name in names or path.suffix == ".safetensors"]
    assert len(hidden) == 6
    assert not [path for path in hidden if path.read_bytes() in content]
    for part in ("clean", "poisoned"):
        rows = (sealed / "development" / "task1" / f"{part}.json").read_bytes().splitlines()
        assert len(rows) >= 20
        assert not [row for row in rows if row in content]
    assert check_phase(tmp_path / "given" / "phases" / "development") == []


@pytest.mark.slow
def test_the_clean_model_is_not_published_under_another_name(texts: Path, tmp_path: Path, out: Path) -> None:
    root = Path(shutil.copytree(texts, tmp_path / "round"))
    clean = next((root / "sealed/development/task1/clean-model").glob("*.safetensors"))
    shutil.copyfile(clean, root / "phases/development/models/task1/model1" / clean.name)
    refused(root, out, f"is the same as {clean}, which is sealed", phase="development")
    (root / "sealed/development/task1/order.json").write_text("{}")
    refused(root, out, "order.json", phase="development")
