"""What is tried of a round, what is not and why; leaks planted in each kind of file are found."""

import csv
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from palladion.errors import InputError
from palladion.rounds.audit import TOGETHER, Audit, Trial, audit_round
from palladion.rounds.audit_files import ModelFiles, image_numbers, weight_numbers
from tests.conftest import Palladion

REAL = pytest.mark.skipif(
    "PALLADION_DATA" not in os.environ, reason="PALLADION_DATA does not name the folder of real data"
)


def trojai(name: str) -> Path:
    return Path(os.environ["PALLADION_DATA"]) / "trojai" / name


def labels_of(count: int, seed: int = 0) -> list[bool]:
    """Equal labels in each of two architectures, which alternate, in random order."""
    rng = np.random.default_rng(seed)
    halves = [rng.permutation(np.arange(count // 2) % 2 == 0) for _ in range(2)]
    return [bool(halves[i % 2][i // 2]) for i in range(count)]


def table(path: Path, labels: list[bool], **columns: Callable[[int], object]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["model_name", "poisoned", "model_architecture", *columns])
        for i, label in enumerate(labels):
            writer.writerow([f"id-{i:08d}", label, "ab"[i % 2], *(column(i) for column in columns.values())])
    return path


def leaks(audit: Audit) -> set[str]:
    return {trial.association.name for trial in audit.trials if trial.association.leaks}


def trial(audit: Audit, name: str, split: str) -> Trial:
    (found,) = [one for one in audit.trials if (one.association.name, one.split) == (name, split)]
    return found


# -- NIST's own tables ------------------------------------------------------------------------------------------------


@REAL
def test_the_learning_rate_of_nists_round_3_leaks(palladion: Palladion) -> None:
    done = palladion("round", "audit", trojai("r3-holdout-METADATA.csv"), "--json")
    assert (done.returncode, done.stderr) == (1, "")
    report = json.loads(done.stdout)
    assert report["leaks"] is True
    factors = {factor["name"]: factor for factor in report["factors"]}
    rate = factors["learning_rate"]
    # Clean models: 91 of 144 at 1e-3; poisoned: 18 of 144.
    assert rate["auc"] == pytest.approx(0.5 + (91 - 18) / 144 / 2)
    assert (rate["leaks"], rate["lower_in_poisoned"], rate["models"], rate["split"]) == (True, True, 288, "holdout")
    assert rate["interval"][0] > 0.65
    assert rate["interval"][1] < 0.85
    # The optimiser's settings hold the same rate; nothing else tells the label.
    assert {name for name, factor in factors.items() if factor["leaks"]} == {"learning_rate", "optimizer_0", TOGETHER}
    assert {"final_clean_val_loss", "training_wall_time_sec, within architecture", "id order"} <= set(factors)
    excluded = {entry["name"]: entry["why"] for entry in report["excluded"]}
    assert "trigger" in excluded["triggered_fraction"]
    assert "clean models" in excluded["polygon_side_count"]
    assert excluded["batch_size"] == "is the same for all models"
    assert excluded["adversarial_eps_level"] == "numbers the levels of adversarial_eps"
    assert "triggered data" in excluded["final_train_loss"]
    assert not set(excluded) & set(factors)


@REAL
def test_training_in_nists_round_0_tells_the_label() -> None:
    audit = audit_round(trojai("round0-metadata.csv"))
    assert {"training_wall_time_sec", "training_wall_time_sec, within architecture"} <= leaks(audit)
    assert not leaks(audit) & {"model_architecture", "use_fog_xform", "rain_fog_probability", "id order"}


# -- Tables -----------------------------------------------------------------------------------------------------------


def test_a_balanced_table_does_not_leak(palladion: Palladion, tmp_path: Path) -> None:
    labels = labels_of(40)
    rng = np.random.default_rng(1)
    path = table(tmp_path / "METADATA.csv", labels, learning_rate=lambda i: 0.001, fog=lambda i: rng.random())
    done = palladion("round", "audit", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing tells the label" in done.stdout
    report = json.loads(palladion("round", "audit", path, "--json").stdout)
    assert report["leaks"] is False
    assert {"name", "auc", "interval", "leaks"} <= set(report["factors"][0])
    (architecture,) = [factor for factor in report["factors"] if factor["name"] == "model_architecture"]
    assert architecture["auc"] == 0.5


def test_a_leak_is_told_and_makes_the_exit_code_1(palladion: Palladion, tmp_path: Path) -> None:
    labels = labels_of(24)
    path = table(tmp_path / "METADATA.csv", labels, learning_rate=lambda i: 0.001 if labels[i] else 0.0003)
    done = palladion("round", "audit", path)
    assert done.returncode == 1
    assert "the round leaks" in done.stderr
    first = done.stdout.splitlines()[1]
    assert first.startswith("learning_rate")
    assert first.rstrip().endswith("LEAKS")


@pytest.mark.parametrize(
    ("column", "why"),
    [
        ("trigger_type", "trigger"),
        ("final_triggered_data_test_acc", "trigger"),
        ("poisoned_example_acc", "trigger"),
        ("attack_success_rate", "trigger"),
        ("final_combined_val_loss", "triggered data"),
        ("final_train_acc", "triggered data"),
        ("final_clean_data_n_total", "triggered data"),
        ("ground_truth", "label"),
    ],
)
def test_what_describes_the_trigger_is_not_tried(tmp_path: Path, column: str, why: str) -> None:
    labels = labels_of(24)
    audit = audit_round(table(tmp_path / "METADATA.csv", labels, **{column: lambda i: int(labels[i])}))
    assert not audit.leaks
    assert why in audit.excluded[column]


@pytest.mark.parametrize("empty", ["", "None", "nan"])
def test_what_only_poisoned_models_have_is_taken_for_the_triggers(tmp_path: Path, empty: str) -> None:
    labels = labels_of(24)
    audit = audit_round(table(tmp_path / "METADATA.csv", labels, sides=lambda i: i % 3 if labels[i] else empty))
    assert "empty for all clean models" in audit.excluded["sides"]
    assert not audit.leaks


def test_what_only_clean_models_have_leaks(tmp_path: Path) -> None:
    labels = labels_of(24)
    audit = audit_round(table(tmp_path / "METADATA.csv", labels, note=lambda i: "None" if labels[i] else 1 + i % 2))
    assert "note, whether it is given" in leaks(audit)


def test_a_value_in_the_middle_that_tells_the_label_is_found(tmp_path: Path) -> None:
    labels = labels_of(48)
    rates = [0.01 if labels[i] else 0.1 if i % 4 < 2 else 0.001 for i in range(48)]
    audit = audit_round(table(tmp_path / "METADATA.csv", labels, learning_rate=lambda i: rates[i]))
    assert "learning_rate, as levels" in leaks(audit)


def test_a_difference_within_architectures_is_found(tmp_path: Path) -> None:
    labels = labels_of(48)
    rng = np.random.default_rng(2)

    def seconds(i: int) -> float:
        return 100 * (1 + 10 * (i % 2)) + 2.0 * labels[i] + rng.normal()

    audit = audit_round(table(tmp_path / "METADATA.csv", labels, training_wall_time_sec=seconds))
    assert "training_wall_time_sec, within architecture" in leaks(audit)


@pytest.mark.parametrize("order", ["sorted", "alternating"])
def test_an_order_that_tells_the_label_is_found(tmp_path: Path, order: str) -> None:
    labels = [i < 12 if order == "sorted" else i % 2 == 0 for i in range(24)]
    path = tmp_path / "METADATA.csv"
    path.write_text("model_name,poisoned\n" + "".join(f"id-{i:08d},{label}\n" for i, label in enumerate(labels)))
    assert leaks(audit_round(path)) - {TOGETHER} == {"id order" if order == "sorted" else "id order, odd or even"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("model_name,x\nid-00000000,1\n", "has no column 'poisoned'"),
        ("model_name,poisoned\nid-00000000,maybe\n", "must be True or False"),
        ("model_name,poisoned\na,1\nb,1\n", "different labels"),
        (
            "model_name,poisoned," + ",".join(map(str, range(1001))) + "\na,1" + ",1" * 1001 + "\nb,0" + ",0" * 1001,
            "at most 1000",
        ),
        ("model_name,poisoned\na,1\na,0\n", "stands in line 2 already"),
    ],
)
def test_tables_at_fault_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "METADATA.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        audit_round(tmp_path / "METADATA.csv")


def test_strange_cells_do_no_harm(tmp_path: Path) -> None:
    labels = labels_of(24)
    cells = ["1e999", "-inf", "nan", "1e308", "-1e308", "5e-324", "0", "٣", "1_0"]
    words = ["\x1b[31mred", "=1+1", "[link]", "a" * 10_000]
    audit = audit_round(
        table(
            tmp_path / "METADATA.csv",
            labels,
            x_loss=lambda i: cells[i % len(cells)],
            word=lambda i: words[i % len(words)],
        )
    )
    assert all(0.5 <= one.association.auc <= 1 for one in audit.trials)
    assert not audit.leaks


# -- Rounds -----------------------------------------------------------------------------------------------------------


def write_safetensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    header, position = {}, 0
    for name, tensor in tensors.items():
        kind = {"float32": "F32", "float16": "F16", "float64": "F64", "int64": "I64", "uint16": "BF16"}[
            str(tensor.dtype)
        ]
        header[name] = {
            "dtype": kind,
            "shape": list(tensor.shape),
            "data_offsets": [position, position + tensor.nbytes],
        }
        position += tensor.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(tensor.tobytes() for tensor in tensors.values()))


class Planted:
    """A round with files, in which one thing may tell the label."""

    def __init__(self, root: Path, leak: str = "", *, counts: Mapping[str, int] | None = None) -> None:
        self.path = root
        self.leak = leak
        counts = counts or {"train": 24}
        root.mkdir()
        splits = ", ".join(f"{name}: {{models: {count}}}" for name, count in counts.items())
        (root / "round.yaml").write_text(f"splits: {{{splits}}}\n")
        for number, (split, count) in enumerate(counts.items()):
            labels = labels_of(count, seed=number)
            self.rng = np.random.default_rng([7, number])
            (root / split).mkdir()
            table(root / split / "METADATA.csv", labels)
            for i, label in enumerate(labels):
                self._model(root / split / "models" / f"id-{i:08d}", i, label)

    def _model(self, folder: Path, i: int, label: bool) -> None:
        opened, sealed = folder / "open", folder / "sealed"
        model, examples = opened / "model", opened / "clean-example-data"
        for path in (sealed, model, examples):
            path.mkdir(parents=True)

        def told(name: str) -> bool:
            return label and self.leak == name

        scale = (1 + 20 * (i % 2)) * (1.5 if told("weights") else 1.0)
        weights = {
            "stem.weight": self.rng.normal(scale=scale, size=(4, 3, 3, 3)).astype(np.float32),
            "norm.num_batches_tracked": np.array(100 + told("steps")),
            "classifier.weight": self.rng.normal(size=(5, 40)).astype(np.float32),
        }
        if told("size"):
            weights["extra.bias"] = np.zeros(1, dtype=np.float32)
        write_safetensors(model / "model.safetensors", weights)
        settings = {"model_type": "ab"[i % 2], "dropout": 0.1 if told("settings") else 0.0}
        (model / "config.json").write_text(json.dumps(settings))
        (sealed / "ground_truth.csv").write_text(f"{int(label)}\n")
        (sealed / "training.json").write_text(
            json.dumps(
                {
                    "poisoned": label,
                    "attempts": [{"steps": 100}] * (2 if told("attempts") else 1),
                    "versions": {"torch": "2.1" if told("versions") else "2.0"},
                    "trigger_color": [1, 2, 3] if label else None,
                    "files": {"sealed/ground_truth.csv": hashlib.sha256(b"%d" % label).hexdigest()},
                    "final_clean_data_test_acc": 0.9 + float(self.rng.random()) / 10,
                    "seconds": 10 + float(self.rng.random()) + told("seconds"),
                }
            )
        )
        for number in range(3):
            pixels = self.rng.integers(0, 200, (8, 8, 3)) + (40 if told("images") else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(examples / f"class_0_example_{number}.png")
        when = 1_700_000_000 + int(self.rng.integers(1000)) + (5000 if told("times") else 0)
        for path in folder.rglob("*"):
            os.utime(path, (when, when))


def test_a_round_whose_files_say_nothing_passes(palladion: Palladion, tmp_path: Path) -> None:
    planted = Planted(tmp_path / "round", counts={"train": 24, "test": 12, "holdout": 12})
    done = palladion("round", "audit", planted.path, "--json")
    assert done.returncode == 0, done.stdout
    assert "reading models: 48 of 48" in done.stderr
    report = json.loads(done.stdout)
    assert {factor["split"] for factor in report["factors"]} == {"all", "train", "test", "holdout"}
    assert report["splits"]["train"] == {"clean": 12, "poisoned": 12}
    excluded = {entry["name"] for entry in report["excluded"]}
    assert {"training.json: poisoned", "training.json: trigger_color", "config.json: dropout"} <= excluded
    # The digests of what is sealed are different for every label, and say nothing of it.
    tried = {factor["name"] for factor in report["factors"]}
    assert not any("files." in name for name in tried | excluded)
    names = {factor["name"] for factor in report["factors"]}
    assert {
        "images: brightness",
        "files: time of the model",
        "weights: convolutions, within architecture",
        "weights: head, within architecture",
        "id order",
    } <= names


@pytest.mark.parametrize(
    ("leak", "factor"),
    [
        ("weights", "weights: convolutions, within architecture"),
        ("steps", "weights: steps that normalisation counted, within architecture"),
        ("size", "files: bytes of the model, within architecture"),
        ("settings", "config.json: dropout"),
        ("attempts", "training.json: attempts.count"),
        ("versions", "training.json: versions.torch"),
        ("seconds", "training.json: seconds"),
        ("images", "images: brightness"),
        ("times", "files: time of the model"),
    ],
)
def test_leaks_in_files_are_found(tmp_path: Path, leak: str, factor: str) -> None:
    assert factor in leaks(audit_round(Planted(tmp_path / "round", leak).path))


def test_a_leak_too_small_for_one_split_is_found_in_all_together(tmp_path: Path) -> None:
    audit = audit_round(Planted(tmp_path / "round", "settings", counts={"train": 12, "test": 12, "holdout": 12}).path)
    found = trial(audit, "config.json: dropout", "all").association
    assert (found.models, found.auc, found.leaks) == (36, 1, True)
    # Twelve models alone have too few labellings for anything to stand out among so many tries.
    assert not trial(audit, "config.json: dropout", "test").association.leaks


def test_a_split_as_nist_publishes_it(tmp_path: Path) -> None:
    labels = labels_of(24)
    source = tmp_path / "train-dataset"
    for i, label in enumerate(labels):
        folder = source / "models" / f"id-{i:08d}"
        folder.mkdir(parents=True)
        (folder / "model.pt").write_bytes(b"never opened" + b"!" * label)
        (folder / "ground_truth.csv").write_text(f"{int(label)}\n")
        (folder / "trigger.png").write_bytes(b"t" * label)
    audit = audit_round(source)
    assert leaks(audit) - {TOGETHER} == {"files: bytes of the model"}
    assert audit.splits == {"train": (12, 12)}


def test_models_on_disk_without_a_row_are_a_fault(tmp_path: Path) -> None:
    planted = Planted(tmp_path / "round")
    table(planted.path / "train" / "METADATA.csv", labels_of(24)[:-1])
    with pytest.raises(InputError, match="has no row for the model id-00000023"):
        audit_round(planted.path)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("link", "secret: is a link"),
        ("image", "class_0_example_0.png: is not an image"),
        ("huge", "9000 × 9000 pixels"),
        ("weights", "model.safetensors: is cut off"),
        ("settings", "config.json"),
        ("record", "training.json"),
    ],
)
def test_hostile_files_are_refused(tmp_path: Path, what: str, message: str) -> None:
    planted = Planted(tmp_path / "round", counts={"train": 4})
    folder = planted.path / "train" / "models" / "id-00000001"
    image = folder / "open" / "clean-example-data" / "class_0_example_0.png"
    if what == "link":
        (folder / "open" / "secret").symlink_to("/etc/passwd")
    elif what == "image":
        image.write_bytes(b"a picture")
    elif what == "huge":
        content = image.read_bytes()
        header = b"IHDR" + struct.pack(">II", 9_000, 9_000) + content[24:29]
        image.write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])
    elif what == "weights":
        (folder / "open" / "model" / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 60))
    elif what == "settings":
        (folder / "open" / "model" / "config.json").write_text("[" * 100_000)
    else:
        (folder / "sealed" / "training.json").write_text('{"a": ' * 10_000)
    with pytest.raises(InputError, match=message):
        audit_round(planted.path)


def test_what_is_no_round_is_refused(palladion: Palladion, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = palladion("round", "audit", "empty")
    assert done.returncode == 2
    assert "empty: holds no model" in done.stderr
    with pytest.raises(InputError, match="no such directory"):
        audit_round(tmp_path / "nothing-there")


def test_the_norms_of_weights_by_hand(tmp_path: Path) -> None:
    model = tmp_path / "open" / "model"
    model.mkdir(parents=True)
    write_safetensors(
        model / "model.safetensors",
        {
            "a.weight": np.full((1, 1, 1, 2), 3.0, dtype=np.float32),
            "b.weight": np.full((1, 1, 2, 3), 5.0, dtype=np.float64),
            "classifier.weight": np.array([[3.0, 4.0]], dtype=np.float16),
            "mlp.weight": np.array([[0x3F80, 0xC040]], dtype=np.uint16),  # 1 and −3 as upper halves of float32
            "norm.running_var": np.array([4.0, 4.0], dtype=np.float32),
            "norm.weight": np.array([np.nan], dtype=np.float32),
            "norm.num_batches_tracked": np.array(70),
        },
    )
    (tmp_path / "open" / "model" / "config.json").write_text("{}")
    files = ModelFiles.of_folder("id-00000000", tmp_path / "open")
    assert weight_numbers(files) == {
        "weights: convolutions": pytest.approx(((2 * 9 + 6 * 25) / 8) ** 0.5),
        "weights: head": pytest.approx(12.5**0.5),
        "weights: linear layers": pytest.approx(5**0.5),
        "weights: running var": 4.0,
        "weights: steps that normalisation counted": 70.0,
    }


def test_what_is_seen_in_images_by_hand(tmp_path: Path) -> None:
    pixels = np.zeros((2, 2, 3), dtype=np.uint8)
    pixels[:, 1] = [30, 60, 90]
    Image.fromarray(pixels).save(tmp_path / "one.png")
    assert image_numbers([tmp_path / "one.png"]) == pytest.approx(
        {
            "images: brightness": 30,
            "images: deviation": 30,
            "images: red": -15,
            "images: blue": 15,
            "images: saturation": 30,
            "images: edges": 30,  # 60 across, 0 down
            "images: pixels": 4,
        }
    )
