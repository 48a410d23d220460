"""``palladion restore``: models and answers are written whole or not at all, and are what the method promises."""

import csv
import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from palladion.cli import app
from palladion.errors import InputError
from palladion.models.adapters import Adapter
from palladion.models.classification import encode_sentences
from palladion.models.language_model import describe, open_language_model
from tests.models.tiny_llama import SENTENCES, write_adapter, write_base

ROWS = [{"sentence": sentence} for sentence in SENTENCES]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["restore", *map(str, arguments)])


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, InputError), result.output
    return str(result.exception)


def labels_in(path: Path) -> list[int]:
    return [int(row["label"]) for row in csv.DictReader(path.open())]


@pytest.fixture(scope="module")
def round_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and three classifiers on it that name it as the published layout does."""
    root = tmp_path_factory.mktemp("round")
    base = write_base(root / "base", shards=True)
    for number in (1, 2, 3):
        write_adapter(
            root / "task1" / f"model{number}", base, seed=number, labels=3, strength=0.1, named_base="../../base"
        )
    (root / "inputs.json").write_text("\n".join(map(json.dumps, ROWS)))
    (root / "prompts.json").write_text(json.dumps([{"instruction": SENTENCES[0]}, {"instruction": SENTENCES[1]}]))
    return root


def models(root: Path) -> list[Path]:
    return [root / "task1" / f"model{number}" for number in (1, 2, 3)]


def test_methods_are_listed_with_what_they_make_and_need() -> None:
    listed = run("--list").stdout
    assert "makes: model; needs: 2 models of one base; options: --rank" in listed
    assert "makes: answers; needs: 2 models of one base, inputs, predictions" in listed
    assert {"merge", "undefended", "vote"} <= {line.split()[0] for line in listed.splitlines() if line[0] != " "}


def test_a_merged_adapter_finds_its_base_from_where_it_lies(round_directory: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "down" / "merged"
    assert run(*models(round_directory), "--method", "merge", "--out", out).exit_code == 0
    adapter = Adapter.open(out)
    assert adapter.ranks == (12,)
    assert not Path(str(adapter.config.base)).is_absolute()
    assert adapter.base_directory == (round_directory / "base").resolve()
    originals = [Adapter.open(model) for model in models(round_directory)]
    for module in adapter.pairs:
        mean = torch.stack([original.update(module) for original in originals]).mean(0)
        torch.testing.assert_close(adapter.update(module), mean, rtol=1e-4, atol=1e-5)
    assert {path.name for path in out.parent.iterdir()} == {"merged"}


def test_the_rank_of_a_merged_adapter_can_be_limited(round_directory: Path, tmp_path: Path) -> None:
    result = run(*models(round_directory), "--method", "merge", "--rank", 4, "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert "rank 4 keeps" in result.stderr
    assert Adapter.open(tmp_path / "out").ranks == (4,)


def test_undefended_is_the_first_model(round_directory: Path, tmp_path: Path) -> None:
    assert run(*models(round_directory), "--method", "undefended", "--out", tmp_path / "out").exit_code == 0
    first = models(round_directory)[0]
    name = "adapter_model.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == (first / name).read_bytes()
    assert Adapter.open(tmp_path / "out").base_directory == (round_directory / "base").resolve()


def test_a_whole_model_answers_as_the_merged_adapter_does(round_directory: Path, tmp_path: Path) -> None:
    inputs = ("--inputs", round_directory / "inputs.json")
    assert run(*models(round_directory), "--method", "merge", "--whole", "--out", tmp_path / "whole").exit_code == 0
    assert run(tmp_path / "whole", "--method", "undefended", *inputs, "--out", tmp_path / "one.csv").exit_code == 0
    assert run(*models(round_directory), "--method", "merge", *inputs, "--out", tmp_path / "two.csv").exit_code == 0
    assert labels_in(tmp_path / "one.csv") == labels_in(tmp_path / "two.csv")
    assert len(labels_in(tmp_path / "one.csv")) == len(ROWS)
    # Nothing is left beside the outputs.
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "one.csv", "two.csv"}


def probabilities(directory: Path) -> list[list[float]]:
    """What a model gives the labels of each row, one row at a time."""
    model = open_language_model(describe(directory), device="cpu")
    rows = encode_sentences(model, SENTENCES, max_length=128)
    with torch.inference_mode():
        scores = [model.network(input_ids=torch.tensor([row])).logits[0].double() for row in rows]
    return [torch.softmax(score, 0).tolist() for score in scores]


@pytest.mark.parametrize("count", [2, 3])
def test_the_vote_is_the_majority_and_ties_go_to_the_most_probable(
    round_directory: Path, tmp_path: Path, count: int
) -> None:
    chosen = models(round_directory)[:count]
    known = [probabilities(model) for model in chosen]
    inputs = ("--inputs", round_directory / "inputs.json")
    assert run(*chosen, "--method", "vote", *inputs, "--out", tmp_path / "vote.csv").exit_code == 0
    found = labels_in(tmp_path / "vote.csv")
    firsts, ties = [], 0
    for winner, rows in zip(found, zip(*known, strict=True), strict=True):
        votes = [row.index(max(row)) for row in rows]
        most = max(votes.count(label) for label in votes)
        tied = {label for label in votes if votes.count(label) == most}
        assert winner == max(tied, key=lambda label: sum(row[label] for row in rows))
        firsts.append(votes[0])
        ties += len(tied) > 1
    assert ties, "the models must differ somewhere"
    assert found != firsts


def test_texts_are_voted_on_too(round_directory: Path, tmp_path: Path) -> None:
    writers = [write_adapter(tmp_path / name, round_directory / "base", seed=7) for name in ("a", "b")]
    prompts = round_directory / "prompts.json"
    options = ("--inputs", prompts, "--max-new-tokens", 5)
    assert run(*writers, "--method", "vote", *options, "--out", tmp_path / "vote.json").exit_code == 0
    assert run(writers[0], "--method", "undefended", *options, "--out", tmp_path / "one.json").exit_code == 0
    voted = json.loads((tmp_path / "vote.json").read_text())
    assert voted == json.loads((tmp_path / "one.json").read_text())
    assert [row["instruction"] for row in voted] == [row["instruction"] for row in json.loads(prompts.read_text())]
    assert all(isinstance(row["output"], str) for row in voted)


def test_answers_of_the_models_before_a_fault_are_kept_for_the_next_time(round_directory: Path, tmp_path: Path) -> None:
    one, two, three = models(round_directory)
    out, inputs = tmp_path / "vote.csv", ("--inputs", round_directory / "inputs.json")
    lost = write_adapter(tmp_path / "lost", round_directory / "base", labels=3, named_base="someone/base")
    assert "someone/base" in refused(one, two, lost, "--method", "vote", *inputs, "--out", out)
    kept = {path.name for path in tmp_path.iterdir()} - {"lost"}
    assert kept == {".vote.csv.model1.partial", ".vote.csv.model2.partial"}
    result = run(one, two, three, "--method", "vote", *inputs, "--out", out)
    assert result.exit_code == 0
    assert result.stderr.count("answering") == 1, "only the third model is asked"
    assert {path.name for path in tmp_path.iterdir()} == {"lost", "vote.csv"}


def test_what_cannot_be_done_is_refused_before_anything_is_written(round_directory: Path, tmp_path: Path) -> None:
    three, out, inputs = models(round_directory), tmp_path / "out", round_directory / "inputs.json"
    assert "give MODEL… and --method and --out" in refused()
    assert "no mitigation 'magic'" in refused(*three, "--method", "magic", "--out", out)
    assert "vote has no --rank" in refused(*three, "--method", "vote", "--rank", 2, "--out", out)
    assert "makes answers, not a model; give --inputs" in refused(*three, "--method", "vote", "--out", out)
    assert "needs 2 models or more (there are 1)" in refused(three[0], "--method", "merge", "--out", out)
    assert "no such directory" in refused(tmp_path / "no", three[0], "--method", "merge", "--out", out)
    whole = ("--method", "merge", "--whole")
    assert "give one of them" in refused(*three, *whole, "--inputs", inputs, "--out", out)
    assert "holds prompts to be answered" in refused(
        *three, "--method", "vote", "--inputs", round_directory / "prompts.json", "--out", out
    )
    assert "full model already" in refused(round_directory / "base", "--method", "undefended", "--whole", "--out", out)
    assert list(tmp_path.iterdir()) == []
    out.write_text("mine")
    assert "is there already" in refused(*three, "--method", "merge", "--out", out)
    assert out.read_text() == "mine"


def test_a_hostile_model_leaves_nothing_behind(round_directory: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    for path in models(round_directory)[0].iterdir():
        (bad / path.name).write_bytes(path.read_bytes())
    weights = bad / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\xff\xff\xff\xff")  # a NaN at the end
    settings = json.loads((bad / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = str((round_directory / "base").resolve())
    (bad / "adapter_config.json").write_text(json.dumps(settings))
    message = refused(models(round_directory)[1], bad, "--method", "merge", "--out", tmp_path / "out")
    assert "not finite" in message
    assert {path.name for path in tmp_path.iterdir()} == {"bad"}
