import csv
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from palladion.cli import app
from palladion.errors import InputError
from tests.models.tiny_llama import SENTENCES, write_adapter, write_base

Palladion = Callable[..., "subprocess.CompletedProcess[str]"]
WORDS = " ".join(SENTENCES).split()


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("zoo")
    base = write_base(root / "base")
    for number in (1, 2):
        write_adapter(root / "texts" / f"model{number}", base, seed=number, named_base="../../base", tokenizer=True)
        write_adapter(root / "labels" / f"model{number}", base, seed=number, labels=4, named_base="../../base")
    return root


@pytest.fixture
def here(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the models, and inputs for both tracks."""
    for name in ("base", "texts", "labels"):
        (tmp_path / name).symlink_to(zoo / name)
    generator = random.Random(0)
    rows = [" ".join(generator.choices(WORDS, k=generator.randint(1, 25))) for _ in range(12)]
    # As the public challenge has them: lines of JSON under the name of JSON, and an array.
    (tmp_path / "sentences.json").write_text("".join(json.dumps({"sentence": row}) + "\n" for row in rows))
    prompts = [{"instruction": row, "input": row[:9] if i % 2 else "", "id": i} for i, row in enumerate(rows)]
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def predict(*arguments: object) -> None:
    app(["predict", *map(str, arguments)], standalone_mode=False)


def labels(path: Path) -> list[int]:
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["label"]
    return [int(row[0]) for row in rows]


def test_labels_stand_in_the_order_of_the_inputs(here: Path) -> None:
    predict("labels/model1", "--inputs", "sentences.json", "--out", "all.csv", "--threads", 1)
    found = labels(here / "all.csv")
    assert len(found) == 12
    assert len(set(found)) > 1
    lines = (here / "sentences.json").read_text().splitlines()
    for row in (0, 5, 11):
        # Alone, and as an array of records under the name of lines.
        (here / "one.jsonl").write_text(f"[{lines[row]}]")
        predict("labels/model1", "--inputs", "one.jsonl", "--out", "one.csv")
        assert labels(here / "one.csv") == [found[row]]
    assert not [path for path in here.iterdir() if path.name.startswith(".")]


def test_texts_are_the_inputs_with_an_output(here: Path) -> None:
    predict("texts/model1", "--inputs", "prompts.json", "--out", "all.json", "--max-new-tokens", 12)
    found = json.loads((here / "all.json").read_text())
    inputs = json.loads((here / "prompts.json").read_text())
    assert [{**record, "output": ""} for record in inputs] == [{**record, "output": ""} for record in found]
    assert len({record["output"] for record in found}) > 6
    # The same as messages, line by line, one at a time, and with the base named.
    messages = [
        {"messages": [{"role": "user", "content": "\n\n".join(filter(None, (row["instruction"], row["input"])))}]}
        for row in inputs
    ]
    (here / "messages.json").write_text("\n".join(map(json.dumps, messages)))
    predict(
        *("texts/model1", "--inputs", "messages.json", "--out", "again.json", "--max-new-tokens", 12),
        *("--batch-tokens", 1, "--base", "base", "--device", "cpu", "--dtype", "float32"),
    )
    again = json.loads((here / "again.json").read_text())
    assert [record["output"] for record in again] == [record["output"] for record in found]
    assert again[3] == {**messages[3], "output": found[3]["output"]}


def test_several_adapters_go_to_a_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        predict(f"labels/model{number}", "--inputs", "sentences.json", "--out", f"{number}.csv")
    assert labels(here / "1.csv") != labels(here / "2.csv")
    capsys.readouterr()
    predict("labels/model2", "labels/model1", "--inputs", "sentences.json", "--out", "both")
    assert sorted(path.name for path in (here / "both").iterdir()) == ["model1.csv", "model2.csv"]
    for number in (1, 2):
        assert labels(here / "both" / f"model{number}.csv") == labels(here / f"{number}.csv")
    said = capsys.readouterr().err
    assert "predicting: 24 of 24" in said
    assert "24 answers in " in said
    assert "tokens/s" in said


def test_an_interrupted_run_goes_on(
    here: Path, environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    models = ["texts/model1", "texts/model2"]
    arguments = [*models, "--inputs", "prompts.json", "--max-new-tokens", "400", "--batch-tokens", "1", "--out"]
    command = [sys.executable, "-m", "palladion", "predict", *arguments, "out"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    partial = here / "out" / ".model1.json.partial"
    try:
        while not partial.is_file() or partial.read_text().count("\n") < 4:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in said
    assert "palladion: interrupted; " in said
    assert " of 24 answers are kept, and the same command goes on" in said
    assert not (here / "out" / "model2.json").exists()
    # What a kill would leave of a line, and answers that can be told apart from those of the model.
    lines = partial.read_text().splitlines()
    kept = [json.loads(line)["row"] for line in lines[1:] if line]
    marked = [lines[0], *(json.dumps({"row": row, "answer": f"kept {row}"}) for row in kept), '{"row": 1, "ans']
    partial.write_text("\n".join(marked))
    predict(*arguments, "out")
    assert f"{len(kept)} of 24 answers are there from before" in capsys.readouterr().err
    assert sorted(path.name for path in (here / "out").iterdir()) == ["model1.json", "model2.json"]
    predict(*arguments, "whole")
    for number in (1, 2):
        found, wanted = (json.loads((here / folder / f"model{number}.json").read_text()) for folder in ("out", "whole"))
        for row, (one, other) in enumerate(zip(found, wanted, strict=True)):
            expected = f"kept {row}" if number == 1 and row in kept else other["output"]
            assert one["output"] == expected


def test_answers_of_other_settings_are_not_gone_on_with(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from palladion.models.prediction import PredictionJournal

    journal = PredictionJournal(here / "out.csv", "other settings", 12, int)
    journal.add(0, 99)
    journal.close()
    predict("labels/model1", "--inputs", "sentences.json", "--out", "out.csv")
    assert 99 not in labels(here / "out.csv")
    assert "out.csv: unfinished answers with other models, inputs or settings are dropped" in capsys.readouterr().err


def test_an_adapter_of_another_base_is_told_and_nothing_is_written(here: Path, tmp_path: Path) -> None:
    write_base(tmp_path / "wide", width=64)
    with pytest.raises(InputError, match="texts/model1: does not fit the base"):
        predict("texts/model1", "--inputs", "prompts.json", "--out", "x.json", "--base", "wide")
    assert not [path for path in here.iterdir() if "x.json" in path.name]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["texts/model1", "--inputs", "sentences.json"],
            "texts/model1: writes text, but sentences.json holds sentences",
        ),
        (["labels/model1", "--inputs", "prompts.json"], "labels/model1: gives labels, but prompts.json holds prompts"),
        (["texts/gone", "--inputs", "prompts.json"], "texts/gone: there is no such directory"),
        (["texts", "--inputs", "prompts.json"], "texts: holds neither config.json nor adapter_config.json"),
        (["texts/model1", "--inputs", "gone.json"], "gone.json: there is no such file"),
        (["texts/model1", "--inputs", "prompts.json", "--base", "gone"], "gone: there is no such directory; --base"),
        (["texts/model1", "--inputs", "prompts.json", "--out", "no/x.json"], "the folder no does not exist"),
        (["texts/model1", "--inputs", "prompts.json", "--out", "texts"], "texts: is a folder; name a file"),
        (["texts/model1", "--inputs", "prompts.json", "--out", "prompts.json"], "holds the inputs"),
        (["texts/model1", "base/../texts/model1", "--inputs", "prompts.json"], "two models are called 'model1'"),
        (
            ["texts/model1", "texts/model2", "--inputs", "prompts.json", "--out", "prompts.json"],
            "is a file; with several",
        ),
        (["texts/model1", "--inputs", "prompts.json", "--max-new-tokens", "0"], "Invalid value for '--max-new-tokens'"),
    ],
)
def test_what_is_wrong_is_told_before_torch_is_loaded(
    here: Path, palladion: Palladion, environment: dict[str, str], arguments: list[str], words: str
) -> None:
    environment["PYTHONPROFILEIMPORTTIME"] = "1"
    done = palladion("predict", *arguments, *([] if "--out" in arguments else ["--out", "out"]))
    assert done.returncode == 2
    assert words in done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "palladion.cli" in imported
    assert not {"torch", "transformers"} & imported
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"auto_map": {"AutoModelForCausalLM": "evil.Evil"}}, "asks to run code of its own (auto_map); refused"),
        ({"architectures": ["Evil\x1b[2J"]}, r"is of the architecture Evil\x1b[2J; causal"),
    ],
)
def test_hostile_models_are_refused(here: Path, palladion: Palladion, change: dict[str, Any], words: str) -> None:
    base = here / "hostile"
    shutil.copytree(here / "base", base)
    (base / "evil.py").write_text(f"open({str(here / 'ran')!r}, 'w')")
    settings = json.loads((base / "config.json").read_text()) | change
    (base / "config.json").write_text(json.dumps(settings))
    for arguments in (["hostile"], ["texts/model1", "--base", "hostile"]):
        done = palladion("predict", *arguments, "--inputs", "prompts.json", "--out", "out.json")
        assert done.returncode == 2
        assert words in done.stderr
    assert not (here / "ran").exists()


def test_a_base_that_is_not_here_is_asked_for(here: Path, palladion: Palladion) -> None:
    adapter = here / "adapter"
    shutil.copytree(here / "texts" / "model1", adapter)
    settings = json.loads((adapter / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = "meta-llama/Llama-2-7b-hf"
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    done = palladion("predict", "adapter", "--inputs", "prompts.json", "--out", "out.json")
    assert done.returncode == 2
    assert "adapter: its base is 'meta-llama/Llama-2-7b-hf', which is no directory here" in done.stderr
    assert "give its folder with --base" in done.stderr
