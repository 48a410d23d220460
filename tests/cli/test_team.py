import json
from pathlib import Path

from tests.cli.conftest import Cli, Person, RunningService, make_person


def test_a_team_is_made_joined_and_left(service: RunningService, cli: Cli, tmp_path: Path) -> None:
    one, two, three, four = (make_person(service, tmp_path / name) for name in ("1", "2", "3", "4"))
    assert "make one with: palladion team create small" in cli("team", "show", "small", person=one).out
    name = f"The {one.name} [bold]"
    done = cli("team", "create", "small", name, person=one)
    assert done.code == 0
    assert done.out.startswith(f"{name}: approved\n")
    assert cli("team", "create", "small", name, person=two).code == 1
    assert cli("team", "create", "small", "another", person=one).code == 1

    # The code alone is on standard output.
    code = cli("team", "invite", "small", "--uses", "2", "--days", "1", person=one).out.strip()
    assert code.isalnum()
    done = cli("team", "join", "small", code, "--json", person=two)
    assert [member["name"] for member in json.loads(done.out)["members"]] == [one.name, two.name]
    assert cli("team", "join", "small", code, person=three).code == 0
    done = cli("team", "join", "small", code, person=four)
    assert done.code == 1

    lines = cli("team", "show", "small", person=two).out.splitlines()
    assert lines[0] == f"{name}: approved"
    assert any(one.name in line and "captain" in line for line in lines)
    assert cli("team", "leave", "small", person=two).code == 0
    assert json.loads(cli("team", "show", "small", "--json", person=two).out) == {"teams": []}
    assert cli("team", "leave", "small", person=two).code == 1
    assert f"small: team {name}" in cli("whoami", person=three).out


def test_names_are_looked_at_before_anything_is_asked(service: RunningService, cli: Cli, person: Person) -> None:
    for command in (["show", "small/labels"], ["invite", "Small"], ["join", "../x", "code"]):
        assert cli("team", *command, person=person).code == 2
    assert cli("team", "show", "none", person=person).code == 1
    for name in ("no\udc80text", "\x1b[2J", "", "x" * 100):
        assert cli("team", "create", "moving", name, person=person).code == 2
    assert cli("team", "invite", "small", "--uses", "0", person=person).code == 2


def test_organisers_decide_who_submits(cli: Cli, person: Person, organiser: Person) -> None:
    assert person.team in cli("team", "show", "small", person=organiser).out
    assert cli("team", "refuse", "small", person.team, person=organiser).out == f"{person.team}: refused\n"
    assert "refused" in cli("whoami", person=person).out
    assert cli("team", "approve", "small", person.team, person=organiser).out == f"{person.team}: approved\n"
    done = cli("team", "approve", "small", person.team, "no such team", person=organiser)
    assert (done.code, "no such team" in done.err) == (2, True)
    assert cli("team", "refuse", "small", person.team, person=person).code == 1
