import json
from pathlib import Path

from tests.cli.conftest import Cli, Person, RunningService, make_person
from tests.cli.handed_in import labels_zip


def test_all_of_a_team(cli: Cli, person: Person, tmp_path: Path) -> None:
    done = cli("status", person=person)
    assert done.code == 0
    assert done.out.splitlines()[:2] == [f"small, team {person.team}", "nothing has been submitted yet"]
    path = labels_zip(tmp_path / "mine.zip")
    name = json.loads(cli("submit", path, "--to", "small/few", "--wait", "--json", person=person).out)["submission"][
        "id"
    ]
    lines = cli("status", "--challenge", "small", person=person).out.splitlines()
    [row] = [line.split() for line in lines if name in line]
    assert row[:4] == [name, "few/development", "1", "mine.zip"]
    assert row[-2:] == ["scored", "100"]
    assert "few: 1 of 2 today; 1 of 9 in total; 1 of 20 attempts today; 0 of 5 at a time" in lines
    assert "labels: no limit" in lines
    cli("submit", labels_zip(tmp_path / "other.zip", mark=" "), "--to", "small/few", "--wait", person=person)
    [line] = [line for line in cli("status", person=person).out.splitlines() if line.startswith("few: ")]
    assert line.startswith("few: 2 of 2 today, next slot ")
    assert " UTC, in " in line
    document = json.loads(cli("status", "--json", person=person).out)
    [challenge] = document["challenges"]
    assert [submission["ordinal"] for submission in challenge["submissions"]] == [2, 1]
    assert challenge["quota"]["tracks"][1]["scored"]["day"] == {"used": 2, "limit": 2}


def test_one_submission(cli: Cli, person: Person, tmp_path: Path) -> None:
    path = labels_zip(tmp_path / "mine\x1b.zip", right=False)
    answer = json.loads(cli("submit", path, "--to", "small/labels", "--wait", "--json", person=person).out)
    name = answer["submission"]["id"]
    done = cli("status", name, person=person)
    assert done.code == 0
    assert f"number 1 of {person.team} in small/labels/development" in done.out
    assert "\x1b" not in done.out
    # Every label is wrong: nothing is right on clean inputs.
    assert ["Clean", "accuracy", "%", "↑", "0.00"] in [line.split()[:5] for line in done.out.splitlines()]
    assert json.loads(cli("status", name, "--json", person=person).out)["id"] == name


def test_what_belongs_to_others_is_not_there(service: RunningService, cli: Cli, person: Person, tmp_path: Path) -> None:
    path = labels_zip(tmp_path / "mine.zip")
    name = json.loads(cli("submit", path, "--to", "small/labels", "--json", person=person).out)["submission"]["id"]
    other = make_person(service, tmp_path / "other")
    for wanted in (name, "a" * 20, "../me"):
        assert cli("status", wanted, person=other).code == 1
    assert "in no team yet" in cli("status", person=other).out


def test_organisers_see_those_of_all(cli: Cli, person: Person, organiser: Person, tmp_path: Path) -> None:
    path = labels_zip(tmp_path / "mine.zip")
    name = json.loads(cli("submit", path, "--to", "small/labels", "--json", person=person).out)["submission"]["id"]
    document = json.loads(cli("status", "--challenge", "small", "--json", person=organiser).out)
    assert name in {submission["id"] for submission in document["challenges"][0]["submissions"]}
    assert document["challenges"][0]["quota"] is None


def test_there_is_nothing_to_wait_for_without_a_submission(cli: Cli, person: Person) -> None:
    assert cli("status", "--wait", person=person).code == 2
