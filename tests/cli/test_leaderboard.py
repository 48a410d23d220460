import csv
import json
from pathlib import Path

from tests.cli.conftest import Cli, Person, RunningService
from tests.cli.handed_in import labels_zip


def test_who_stands_where(service: RunningService, cli: Cli, person: Person, tmp_path: Path) -> None:
    for name, right in (("wrong", False), ("right", True)):
        path = labels_zip(tmp_path / f"{name}.zip", right=right)
        assert cli("submit", path, "--to", "small/labels", "--wait", person=person).code == 0
    # Everybody may look.
    done = cli("leaderboard", "small/labels", "--server", service.url)
    assert done.code == 0
    lines = [line.split() for line in done.out.splitlines() if line.strip()]
    assert lines[0] == ["small/labels/development:", "Development", "(open)"]
    assert lines[1] == [
        "rank",
        "team",
        "no.",
        "Overall",
        "score",
        "%",
        "↑",
        "Clean",
        "accuracy",
        "%",
        "↑",
        "Attack",
        "success",
        "%",
        "↓",
        "goal",
    ]
    # The best of the team, and not the first.
    [row] = [line for line in lines if person.name in line]
    intervals = [word for word in row if word.startswith("[") or word.endswith("]")]
    assert [word for word in row if word not in intervals] == [
        *("1", "Team", person.name, "2"),
        *("100.00", "100.00", "0.00", "reached"),
    ]
    # Of each of the three, from and to.
    assert len(intervals) == 6
    assert ["goal:", "Overall", "score", "at", "least", "50", "%"] in lines

    document = json.loads(cli("leaderboard", "small/labels/development", "--json", person=person).out)
    [row] = [row for row in document["rows"] if row["mine"]]
    assert row["scores"]["overall"]["value"] == 100.0
    table = list(csv.DictReader(cli("leaderboard", "small/labels", "--csv", person=person).out.splitlines()))
    assert {row["overall"] for row in table if row["team"] == person.team} == {"100.0"}
    everything = list(
        csv.DictReader(cli("leaderboard", "small/labels", "--csv", "--all", person=person).out.splitlines())
    )
    assert {row["overall"] for row in everything if row["team"] == person.team} == {"100.0", "0.0"}


def test_what_there_is_not(service: RunningService, cli: Cli) -> None:
    assert cli("leaderboard", "small/labels", "--csv", "--json", "--server", service.url).code == 2
    done = cli("leaderboard", "moving/texts", "--server", service.url)
    assert (done.code, "has been open yet" in done.err) == (1, True)
    assert cli("leaderboard", "small/labels/none", "--server", service.url).code == 1
    assert cli("leaderboard", "small/lables", "--server", service.url).code == 2
