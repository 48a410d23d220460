"""Published data: what the list names, and nothing else whatever it is called."""

import asyncio
import hashlib
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palladion.server.content import parse_range
from palladion.server.errors import ApiError
from palladion.server.settings import Rate
from palladion.storage import challenges, stages
from tests.jobs.world import make_data, outputs
from tests.server.site import API, DETECTION, LABELS, Response, Site

FILES = f"{LABELS}/development/files"
TRACK = f"{FILES}/phases/development/track.yaml"


def _listed(site: Site, address: str = FILES, who: str = "person-0") -> dict[str, dict[str, Any]]:
    answer = site.client(who).get(address)
    assert answer.status_code == 200, answer.text
    return {item["path"]: item for item in answer.json()["items"]}


def test_the_list_tells_bytes_and_checksums_and_every_file_is_as_told(site: Site) -> None:
    for address in (FILES, f"{DETECTION}/round-0/files"):
        listed = _listed(site, address)
        assert len(listed) > 3
        for path, told in listed.items():
            content = site.client("person-0").get(f"{address}/{path}").content
            assert (len(content), hashlib.sha256(content).hexdigest()) == (told["bytes"], told["sha256"])
        assert site.client("person-0").get(address).json()["bytes"] == sum(t["bytes"] for t in listed.values())


def test_a_download_of_many_files_is_not_held_up_by_the_limit_of_requests(site: Site) -> None:
    limits = {"account": Rate(per_second=0.01, burst=2), "files": Rate(per_second=0.01, burst=5)}
    client = site.with_limits(**limits).client("person-0")
    assert [client.get(TRACK).status_code for _ in range(6)] == [200] * 5 + [429]
    assert [client.get(FILES).status_code for _ in range(3)] == [200, 200, 429]


def test_nothing_that_is_sealed_is_published(site: Site) -> None:
    paths = set(_listed(site))
    assert "phases/development/track.yaml" in paths
    # Neither what is sealed nor another phase.
    assert not any(path.startswith(("sealed", "phases/test")) for path in paths)
    data = site.world.folder / "data" / "labels"
    for path in ("sealed/development/task1/clean.json", "sealed/round.yaml", "phases/test/track.yaml"):
        assert (data / path).is_file()
        assert site.client("person-0").get(f"{FILES}/{path}").status_code == 404
        assert site.client("olga").get(f"{FILES}/{path}").status_code == 404


def test_a_stage_that_is_planned_has_no_files(site: Site) -> None:
    for who in ("person-0", "olga"):
        for path in ("", "/round.yaml"):
            answer = site.client(who).get(f"{DETECTION}/round-1/files{path}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_files_stay_when_a_stage_is_closed_and_concluded(site: Site) -> None:
    site.conclude("development")
    assert _listed(site)


NAMES = (
    "../../../../service/palladion.db",
    "../../challenge.yaml",
    "phases/development/../../sealed/round.yaml",
    "/etc/passwd",
    "//etc/passwd",
    "file:///etc/passwd",
    "phases\\development\\track.yaml",
    "phases/development/track.yaml\0",
    "phases/development/track.yaml/",
    "phases/development/./track.yaml",
    "phases/development//track.yaml",
    "./phases/development/track.yaml",
    "PHASES/development/track.yaml",
    "phases/development",
    "",
    ".",
    "..",
    "~root/.ssh/id_rsa",
    "\udcc0\udcae/sealed/round.yaml",
    "\uff0e\uff0e/sealed/round.yaml",
    "%2e%2e/%2e%2e/challenge.yaml",
    "a" * 100_000,
)


def _raw(site: Site, path: str, who: str) -> int:
    """The status of GET for a path as it is, without a client that makes it shorter."""
    status = 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    headers = [(b"authorization", f"Bearer {site.tokens[who]}".encode())]
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": b"", "query_string": b"", "headers": headers}
    scope |= {"client": ("127.0.0.1", 1), "server": ("x", 80), "scheme": "http", "http_version": "1.1", "root_path": ""}
    asyncio.run(site.app(scope, receive, send))
    return status


def test_names_lead_nowhere_else(site: Site) -> None:
    assert _raw(site, TRACK, "olga") == 200
    for name in NAMES:
        # Without a name, it is the address of nothing.
        assert _raw(site, f"{FILES}/{name}", "olga") == 404, name[:50]


def test_links_are_not_followed(site: Site, tmp_path: Path) -> None:
    make_data(tmp_path)
    folder = tmp_path / "data" / "labels"
    secret = tmp_path / "secret.txt"
    secret.write_text("a secret")
    target = folder / "base" / "link.txt"
    target.symlink_to(secret)
    # A challenge of another name, for the folder of a stage that was opened cannot change.
    text = site.world.challenge.definition.replace("name: demo", "name: other")
    with site.database.write() as tx:
        row = challenges.install(tx, text, tmp_path, now=site.world.clock(), actor="olga")
        stage = stages.by_name(tx, row.id, "labels", "development")
        stages.change(tx, stage.id, "open", now=site.world.clock(), actor="olga")
    address = f"{API}/challenges/other/stages/labels/development/files"
    answer = site.client("person-0").get(address)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert str(tmp_path) not in answer.text
    assert site.client("person-0").get(f"{address}/base/link.txt").status_code == 503


def test_a_file_that_changes_under_ones_hands_is_not_served_as_another(site: Site, tmp_path: Path) -> None:
    path = site.world.folder / "data" / "labels" / "base" / "changing.txt"
    try:
        path.write_text("one")
        told = _listed(site)["base/changing.txt"]
        path.write_text("two, and longer")
        assert site.client("person-0").get(f"{FILES}/base/changing.txt").status_code == 404
        secret = tmp_path / "secret"
        secret.write_text("one")
        path.unlink()
        path.symlink_to(secret)
        assert site.client("person-0").get(f"{FILES}/base/changing.txt").status_code == 404
        path.unlink()
        path.write_text("six")
        # After a while the list is made anew.
        site.world.clock.forward(timedelta(minutes=1))
        assert _listed(site)["base/changing.txt"]["sha256"] != told["sha256"]
        assert site.client("person-0").get(f"{FILES}/base/changing.txt").text == "six"
    finally:
        path.unlink()


def test_checksums_are_kept_over_a_restart(site: Site) -> None:
    path = site.world.folder / "data" / "labels" / "base" / "kept.txt"
    try:
        path.write_text("one")
        status = path.stat()
        before = _listed(site)["base/kept.txt"]["sha256"]
        # The same time and length: nobody reads it again. (That is what makes a list of many GiB quick.)
        path.write_text("two")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert _listed(site.with_settings(site.settings))["base/kept.txt"]["sha256"] == before
    finally:
        path.unlink()


def _get(site: Site, **headers: str) -> Response:
    return site.client("person-0", **headers).get(TRACK)


def test_ranges(site: Site) -> None:
    whole = _get(site)
    length = len(whole.content)
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["etag"] == f'"{hashlib.sha256(whole.content).hexdigest()}"'
    for asked, start, end in (("0-9", 0, 10), ("5-", 5, length), ("-7", length - 7, length), ("0-99999999", 0, length)):
        part = _get(site, Range=f"bytes={asked}")
        assert part.status_code == 206
        assert part.content == whole.content[start:end]
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{length}"
        assert part.headers["content-length"] == str(end - start)
    for asked in (f"{length}-", f"{length + 5}-{length + 9}", "-0"):
        refused = _get(site, Range=f"bytes={asked}")
        assert refused.status_code == 416
        assert refused.headers["content-range"] == f"bytes */{length}"
    # What is no range, or several, is answered with all of it.
    for asked in ("items=0-1", "bytes=", "bytes=-", "bytes=5-1", "bytes=0-1,3-4", "bytes=a-b", "x"):
        assert _get(site, Range=asked).status_code == 200


def test_a_download_goes_on_only_with_the_same_file(site: Site) -> None:
    tag = _get(site).headers["etag"]
    assert _get(site, **{"Range": "bytes=3-", "If-Range": tag}).status_code == 206
    assert _get(site, **{"Range": "bytes=3-", "If-Range": '"other"'}).status_code == 200
    assert _get(site, **{"If-None-Match": tag}).status_code == 304
    assert _get(site, **{"If-None-Match": f'"x", W/{tag}'}).status_code == 304
    assert _get(site, **{"If-None-Match": '"x"'}).status_code == 200


def test_head_tells_what_get_would(site: Site) -> None:
    whole = _get(site)
    head = site.client("person-0").head(TRACK)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "etag", "accept-ranges"):
        assert head.headers[name] == whole.headers[name]


@given(st.text(max_size=20) | st.from_regex(r"bytes=\d{0,4}-\d{0,4}", fullmatch=True), st.integers(0, 2000))
def test_a_range_is_always_within_the_file(header: str, length: int) -> None:
    try:
        found = parse_range(header, length)
    except ApiError:
        return
    if found is not None:
        start, end = found
        assert 0 <= start < end <= length


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 400), max_size=4))
def test_a_file_fetched_in_pieces_is_the_file(site: Site, cuts: list[int]) -> None:
    whole = _get(site).content
    content = b""
    for cut in [*cuts, len(whole)]:
        if len(content) < len(whole):
            content += _get(site, Range=f"bytes={len(content)}-{len(content) + cut - 1}").content
    assert content == whole


def test_what_was_handed_in_comes_back_as_it_was(site: Site) -> None:
    content = outputs()
    submission = site.submit(content, name="my résumé\u2026.zip").json()
    address = f"{API}/submissions/{submission['id']}/artifact"
    answer = site.client("person-0").get(address)
    assert answer.content == content
    assert answer.headers["etag"] == f'"{submission["sha256"]}"'
    assert answer.headers["content-disposition"].startswith("attachment; filename*=UTF-8''my%20r%C3%A9sum%C3%A9")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert site.client("person-0").get(address, headers={"Range": "bytes=10-19"}).content == content[10:20]
