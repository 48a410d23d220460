"""What may not be seen is on no page either, whoever has logged in, and in none of its forms."""

import pytest

from tests.server.pages.browser import session
from tests.server.site import Site
from tests.server.test_views import FEEDBACK, LOW, PLANTED, TASK, TEST, _answers, _planted, _sealed_score


@pytest.mark.parametrize("policy", ["policy: none", "policy: bootstrap_ladder", "policy: exact, public: 0.5"])
def test_what_a_policy_does_not_tell_is_on_no_page(site: Site, policy: str) -> None:
    site.redefine((FEEDBACK[0], FEEDBACK[1].format(policy)))
    for team in (0, 1):
        _sealed_score(site, team)
    pages = 0
    for who in ("person-0", "person-1", "lone", "oscar"):
        with site.client() as client:
            client.cookies.set("palladion", session(site, who))
            for address, text in _answers(site, client):
                assert not _planted(text, TEST, TASK, LOW), (who, address)
                assert PLANTED not in text
                pages += text.startswith("<!doctype html>")
    assert pages > 20
    with site.client() as client:
        client.cookies.set("palladion", session(site, "olga"))
        found = [address for address, text in _answers(site, client) if _planted(text, TEST, TASK, LOW)]
    assert any(address.startswith("GET /challenges/demo/labels/development") for address in found)
    # The rows of the analysis are walked in all their renderings, and an organiser sees them.
    for ending in ("", ".json", ".csv", "/attacks.csv"):
        where = f"GET /challenges/demo/labels/development/analysis{ending}?submission="
        assert any(address.startswith(where) for address in found), ending
