"""The description of the API, and what comes back for whatever can be asked by it: no 5xx, nothing undescribed.

Every operation is asked by everybody who may come, with requests that the description allows and with ones that it does
not. A token is put in by us: what happens without one, and with a wrong one, is in test_permissions.
"""

import contextlib
import json
from datetime import timedelta
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis.strategies import booleans
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.result import Ok
from starlette.testclient import TestClient

from palladion.storage import workers
from tests.jobs.world import outputs
from tests.server.site import API, Site

WHO = (None, "person-0", "oscar", "olga")
CHOSEN = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)
# Of some operations it makes no difference who asks, or it ends everything for whoever comes after; a password is dear.
BY = {"logout": (None,), "login": (None,), "sign_up": (None,), "create_token": (None, "person-0")}


def _known(site: Site) -> dict[str, str]:
    """Values of parameters that there are, so that more than 404 is seen."""
    submission = site.scored("development", {"overall": 51.0})
    upload = site.client("person-0").post(f"{API}/uploads", json={"sha256": "0" * 64, "bytes": 4}).json()
    site.upload(outputs())
    return {
        "challenge": "demo",
        "track": "labels",
        "stage": "development",
        "path": "phases/development/track.yaml",
        "submission_id": submission.id,
        "upload_id": upload["id"],
        "team_id": site.teams[1].id,
        "account_id": site.accounts["lone"].id,
        "token_id": site.tokens["person-0:read"].split("_")[1],
        "webhook_id": "a" * 20,
        "job_id": site.world.job("evaluate", site.world.evaluation(submission.id).id).id,
    }


def test_whatever_is_asked_is_answered_as_described(site: Site) -> None:
    known = _known(site)
    now = site.world.clock()
    site.database.run(workers.started, name="w", kinds=["evaluate"], host="h", process=1, now=now + timedelta(hours=1))
    # What the service refuses beyond what a description can say is refused in the shape that is described.
    load_all_checks()
    chosen = [CHECKS.get_one(name) for name in CHOSEN]
    schema = schemathesis.openapi.from_asgi(f"{API}/openapi.json", app=site.app)
    asked: dict[str, set[int]] = {}

    def ask(case: Any, there: bool) -> None:
        name = case.operation.definition.raw["operationId"]
        if there:
            case.path_parameters = {key: known.get(key, value) for key, value in case.path_parameters.items()}
        for who in BY.get(name, WHO):
            headers = {} if who is None else {"Authorization": f"Bearer {site.tokens[who]}"}
            response = case.call(headers=headers)
            case.validate_response(response, checks=chosen)
            asked.setdefault(name, set()).add(response.status_code)

    for found in schema.get_all_operations():
        for mode, examples in ((GenerationMode.POSITIVE, 5), (GenerationMode.NEGATIVE, 3)):
            assert isinstance(found, Ok)
            cases = found.ok().as_strategy(generation_mode=mode)
            settings = hypothesis.settings(
                max_examples=examples,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
                derandomize=True,
            )
            with contextlib.suppress(hypothesis.errors.Unsatisfiable):
                # Of an operation without parameters nothing can be wrong.
                settings(hypothesis.given(case=cases, there=booleans())(ask))()
    # Everybody was let in somewhere.
    assert len(asked) > 50
    assert {200, 201, 401, 403, 404, 422} <= set().union(*asked.values())


@pytest.fixture(scope="module")
def document(request: pytest.FixtureRequest) -> Any:
    """The description."""
    site: Site = request.getfixturevalue("_made")
    return json.loads(TestClient(site.app).get(f"{API}/openapi.json").text)


def test_every_operation_says_what_it_does_and_what_it_takes(document: Any) -> None:
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations) > 50
    for operation in operations:
        name = operation["operationId"]
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name
        assert operation["x-palladion-action"], name
        assert set(operation["x-palladion-roles"]) <= {"anonymous", "participant", "observer", "organiser"}
        public = "anonymous" in operation["x-palladion-roles"]
        assert operation["security"] == ([{}, {"bearer": []}] if public else [{"bearer": []}]), name
        answers = operation["responses"]
        assert {"422", "429", "500", "503"} <= set(answers), name
        assert public or {"401", "403"} <= set(answers), name
        for status, answer in answers.items():
            assert answer["description"], (name, status)


def test_every_model_is_described(document: Any) -> None:
    for name, schema in document["components"]["schemas"].items():
        assert "title" in schema, name
        if schema.get("type") == "object" and not name.startswith(("HTTPValidation", "ValidationError")):
            assert schema.get("description") or "Page" in name, name


def test_errors_have_one_model(document: Any) -> None:
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
