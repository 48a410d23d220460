import pytest

from palladion.challenge import CHALLENGE_FILE, parse_challenge
from palladion.challenge.templates import TEMPLATES, challenge_text
from palladion.errors import InputError
from tests.challenge.small import EXAMPLES


@pytest.mark.parametrize("like", TEMPLATES)
def test_the_examples_are_the_templates(like: str) -> None:
    assert (EXAMPLES / like / CHALLENGE_FILE).read_text() == challenge_text(like)


@pytest.mark.parametrize("like", TEMPLATES)
@pytest.mark.parametrize("name", ["my-challenge", "2026", "no", "1e5", "a", "trojai", "antibad"])
def test_a_template_takes_a_name(like: str, name: str) -> None:
    assert parse_challenge(challenge_text(like, name)).name == name


@pytest.mark.parametrize("name", ["", "My Challenge", "a_b", "a\nb: c", 'a"', "x" * 65])
def test_what_cannot_be_a_name_keeps_that_of_the_template(name: str) -> None:
    assert challenge_text("trojai", name) == challenge_text("trojai")


def test_unknown_templates_are_named() -> None:
    with pytest.raises(InputError, match=r"no challenge 'trojia' to begin with; did you mean 'trojai'\?"):
        challenge_text("trojia")
