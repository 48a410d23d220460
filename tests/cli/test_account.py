import json

from tests.cli.conftest import Cli, Person


def test_accounts_are_listed_disabled_and_approved(cli: Cli, person: Person, organiser: Person) -> None:
    assert person.name in cli("account", "list", person=organiser).out
    accounts = json.loads(cli("account", "list", "--state", "active", "--json", person=organiser).out)["accounts"]
    assert {"organiser", person.name} <= {account["name"] for account in accounts}
    assert cli("account", "disable", person.name, person=organiser).out == f"{person.name}: disabled\n"
    assert cli("whoami", person=person).code == 1
    assert person.name in cli("account", "list", "--state", "disabled", person=organiser).out
    assert cli("account", "approve", person.name, person=organiser).out == f"{person.name}: approved\n"


def test_nothing_is_done_where_one_of_the_names_is_unknown(cli: Cli, person: Person, organiser: Person) -> None:
    done = cli("account", "disable", person.name, "nobody\x1b", person=organiser)
    assert done.code == 2
    assert "there is no account 'nobody\\x1b'" in done.err
    assert cli("whoami", person=person).code == 0


def test_it_is_for_organisers(cli: Cli, person: Person, organiser: Person) -> None:
    assert cli("account", "list", person=person).code == 1
    assert cli("account", "approve", person.name, person=person).code == 1
    assert cli("account", "list", "--state", "unknown", person=organiser).code == 2
