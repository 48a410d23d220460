"""News that go to real servers, on this machine."""

import email
import email.policy
import hashlib
import hmac
import http.server
import ipaddress
import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import pytest

from palladion.errors import InputError, PalladionError
from palladion.jobs import deliveries, news
from palladion.jobs.claiming import DELIVER, Lane
from palladion.jobs.context import Smtp, WebhookRules
from palladion.jobs.deliveries import MOST_DELIVERY_ATTEMPTS, check_webhook_url, post, signature
from palladion.storage import accounts, webhooks
from palladion.storage.deliveries import announce
from tests.jobs.world import NOW, World, do_all, outputs

NEWS = Lane("news", (DELIVER,), None, 1)
PRIVATE = WebhookRules(private_addresses=True, seconds=5)


@dataclass
class Got:
    """What a server got."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Hook:
    """A server for webhooks."""

    url: str
    status: int = 204
    got: list[Got] = field(default_factory=list)


@contextmanager
def serving(respond: Callable[[http.server.BaseHTTPRequestHandler, Hook], None] | None = None) -> Iterator[Hook]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.got.append(Got(self.path, dict(self.headers), body))
            if respond is not None:
                respond(self, hook)
                return
            self.send_response(hook.status)
            self.send_header("Location", hook.url)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hook = Hook(f"http://127.0.0.1:{server.server_port}/hooks/1?key=a")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield hook
        finally:
            server.shutdown()


def hooked(world: World, url: str, *events: str, team: int | None = None) -> str:
    """Make a webhook; its secret."""
    row = world.database.run(
        webhooks.create,
        challenge_id=world.challenge.id,
        account_id=world.captains[0],
        url=url,
        events=events or ("*",),
        team_id=None if team is None else world.teams[team].id,
        now=world.service.now(),
        actor="olga",
    )
    return row.secret


def test_a_webhook_gets_what_has_happened_signed(either: World) -> None:
    world = either.with_settings(webhooks=PRIVATE, public_url="https://challenge.example.org")
    with serving() as hook:
        secret = hooked(world, hook.url, "submission.scored", team=0)
        world.open("development")
        submission = world.submit(outputs(wrong=3), "development")
        world.submit(outputs(wrong=2), "development", team=1)
        do_all(world)
        do_all(world, NEWS)
    [got] = hook.got
    assert got.path == "/hooks/1?key=a"
    body = json.loads(got.body)
    assert (body["event"], body["submission"], body["state"]) == ("submission.scored", submission.id, "scored")
    assert (body["challenge"], body["track"], body["stage"]) == ("demo", "labels", "development")
    assert body["service"] == "https://challenge.example.org"
    assert got.headers["X-Palladion-Event"] == "submission.scored"
    assert got.headers["X-Palladion-Delivery"] == body["id"]
    stamp = got.headers["X-Palladion-Timestamp"]
    expected = hmac.new(secret.encode(), stamp.encode() + b"." + got.body, hashlib.sha256).hexdigest()
    assert got.headers["X-Palladion-Signature"] == f"sha256={expected}" == signature(secret, stamp, got.body)
    assert [row.sent is not None for row in world.news() if row.webhook_id is not None] == [True]


@pytest.mark.parametrize("status", [199 + 101, 302, 404, 500])
def test_what_a_webhook_does_not_take_is_tried_again_later_and_nobody_is_redirected(world: World, status: int) -> None:
    world = world.with_settings(webhooks=PRIVATE)
    with serving() as hook:
        hook.status = status
        hooked(world, hook.url)
        world.open("development")
        do_all(world, NEWS)
        assert len(hook.got) == 1
        [delivery] = [row for row in world.news() if row.webhook_id is not None]
        job = world.job(DELIVER, delivery.id)
        assert (job.state, job.attempts) == ("queued", 1)
        assert f"answered with the status {status}" in (job.reason or "")
        assert job.due > world.service.now()
        hook.status = 200
        world.clock.forward(timedelta(minutes=1))
        do_all(world, NEWS)
    assert len(hook.got) == 2
    # The recipient can tell that it is the same.
    assert len({got.headers["X-Palladion-Delivery"] for got in hook.got}) == 1
    assert world.job(DELIVER, delivery.id).state == "done"


def test_a_delivery_is_given_up_after_hours(world: World) -> None:
    world = world.with_settings(webhooks=PRIVATE)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        hooked(world, f"http://127.0.0.1:{nobody.getsockname()[1]}/")
        world.open("development")
        [delivery] = [row for row in world.news() if row.webhook_id is not None]
        start = world.service.now()
        for _ in range(MOST_DELIVERY_ATTEMPTS):
            assert world.job(DELIVER, delivery.id).state == "queued"
            world.clock.forward(world.job(DELIVER, delivery.id).due - world.service.now() + timedelta(seconds=1))
            do_all(world, NEWS)
    job = world.job(DELIVER, delivery.id)
    assert (job.state, job.attempts) == ("failed", MOST_DELIVERY_ATTEMPTS)
    assert world.service.now() - start > timedelta(hours=1)
    assert "cannot be reached" in (job.reason or "")
    assert world.news("job.failed") == []


def test_who_answers_slowly_is_not_waited_for() -> None:
    def drip(handler: http.server.BaseHTTPRequestHandler, _: Hook) -> None:
        for _byte in range(100):
            try:
                handler.wfile.write(b"H")
                handler.wfile.flush()
            except OSError:
                return
            time.sleep(0.1)

    start = time.monotonic()
    with serving(drip) as hook, pytest.raises(PalladionError, match=r"did not answer within 0\.5 s"):
        send(hook.url, WebhookRules(private_addresses=True, seconds=0.5))
    assert time.monotonic() - start < 8


def send(url: str, rules: WebhookRules) -> None:
    post(url, "secret", delivery_id="d", event="e", content={}, now=NOW, rules=rules)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://localhost/",
        "https://0.0.0.0/",
        "https://10.1.2.3/",
        "https://169.254.169.254/latest/meta-data",
        "https://192.168.1.1:8443/",
        "https://100.64.0.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://[fe80::1%25eth0]/",
        "https://[fd00::1]/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
    ],
)
def test_nothing_is_posted_into_the_services_own_network(url: str) -> None:
    with pytest.raises(InputError, match="is not on the public internet"):
        send(url, WebhookRules(seconds=1))


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "https://",
        "https://user:word@example.org/",
        "https://example.org:0/",
        "https://example.org:99999/",
        "https://exa mple.org/",
        "https://example.org/\r\nX-Header: 1",
        "gopher://127.0.0.1:25/",
        "//example.org/",
        "https://[::1/",
    ],
)
def test_an_address_that_is_none_is_refused_before_it_is_stored(url: str) -> None:
    with pytest.raises(InputError):
        check_webhook_url(url, WebhookRules())


def test_an_address_as_it_should_be_is_not() -> None:
    check_webhook_url("https://hooks.example.org/a/b?c=d", WebhookRules())
    check_webhook_url("http://intranet/hook", PRIVATE)


def test_in_the_clear_nothing_goes_to_the_public_internet() -> None:
    with pytest.raises(InputError, match="must begin with https"):
        send("http://93.184.215.14/", PRIVATE)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("172.16.0.1", False),
        ("172.32.0.1", True),
        ("198.18.0.1", False),
        ("::ffff:93.184.215.14", True),
        ("::ffff:127.0.0.1", False),
        ("2002:5db8:d70e::", True),
        ("2002:0a00:0001::", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert deliveries._is_public(ipaddress.ip_address(address)) is public


def test_a_webhook_that_was_removed_gets_nothing_more(world: World) -> None:
    world = world.with_settings(webhooks=PRIVATE)
    with serving() as hook:
        hooked(world, hook.url)
        world.open("development")
        with world.database.read() as tx:
            [row] = webhooks.listing(tx, challenge_id=world.challenge.id)
        world.database.run(webhooks.remove, row.id, now=world.service.now(), actor="olga")
        do_all(world, NEWS)
    assert hook.got == []


# --- mail -------------------------------------------------------------------------------------------------------------


@dataclass
class Mailbox:
    """A mail server."""

    port: int
    refuse: bool = False
    got: list[tuple[str, EmailMessage]] = field(default_factory=list)


@contextmanager
def mail_server() -> Iterator[Mailbox]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.say("220 here")
            to = ""
            while line := self.rfile.readline().decode().strip():
                word = line[:4].upper()
                if word in ("EHLO", "HELO"):
                    self.say("250 8BITMIME")
                elif word == "RCPT":
                    to = line.partition("<")[2].rstrip(">")
                    self.say("550 no" if box.refuse else "250 well")
                elif word == "DATA":
                    self.say("354 go on")
                    lines = []
                    while (text := self.rfile.readline()) not in (b".\r\n", b""):
                        lines.append(text)
                    message = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
                    assert isinstance(message, EmailMessage)
                    box.got.append((to, message))
                    self.say("250 taken")
                elif word == "QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say("250 well")

        def say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        box = Mailbox(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield box
        finally:
            server.shutdown()


def smtp_of(box: Mailbox) -> Smtp:
    return Smtp("127.0.0.1", "challenge@example.org", port=box.port, security="none", seconds=5)


def test_a_team_gets_mail_when_its_submission_was_scored(either: World) -> None:
    with mail_server() as box:
        world = either.with_settings(smtp=smtp_of(box))
        world.open("development")
        do_all(world, NEWS)
        box.got.clear()
        submission = world.submit(outputs(wrong=3), "development")
        do_all(world)
        do_all(world, NEWS)
        do_all(world, NEWS)
    [(to, mail)] = box.got
    assert to == "person-0@example.org"
    assert mail["From"] == "challenge@example.org"
    assert mail["Subject"] == "[demo/labels/development] A submission was scored"
    assert mail["Auto-Submitted"] == "auto-generated"
    [delivery] = world.news("submission.scored")
    assert mail["Message-ID"] == f"<{delivery.id}@example.org>"
    text = mail.get_content()
    assert submission.id in text
    assert "83.6" not in text


def test_mail_that_is_not_taken_is_tried_again(world: World) -> None:
    with mail_server() as box:
        box.refuse = True
        world = world.with_settings(smtp=smtp_of(box))
        world.open("development")
        do_all(world, NEWS)
        assert {world.job(DELIVER, row.id).attempts for row in world.news()} == {1}
        box.refuse = False
        world.clock.forward(timedelta(minutes=1))
        do_all(world, NEWS)
        assert len(box.got) == 3


def test_who_wants_no_mail_any_more_gets_none(world: World) -> None:
    with mail_server() as box:
        world = world.with_settings(smtp=smtp_of(box))
        world.open("development")
        world.database.run(accounts.set_mail, world.captains[0], False, now=world.service.now(), actor="person-0")
        do_all(world, NEWS)
        assert sorted(to for to, _ in box.got) == ["olga@example.org", "person-1@example.org"]


def test_a_name_with_a_line_break_begins_no_header(world: World) -> None:
    """Storage takes none; the mail does not rely on it."""
    with mail_server() as box:
        world.database.run(
            announce,
            event="stage.waits",
            key="one",
            body={"event": "stage.waits", "title": "A\r\nBcc: x@example.org\r\n\r\nspam", "challenge": "a\nb"},
            challenge_id=world.challenge.id,
            organisers=True,
            now=world.service.now(),
        )
        do_all(world.with_settings(smtp=smtp_of(box)), NEWS)
    [(to, mail)] = box.got
    assert to == "olga@example.org"
    assert mail["Bcc"] is None
    assert mail["Subject"] == "[a b] A Bcc: x@example.org spam"


def test_without_a_mail_server_nothing_piles_up(world: World) -> None:
    world.open("development")
    do_all(world, NEWS)
    assert {world.job(DELIVER, row.id).state for row in world.news()} == {"done"}


def test_every_event_has_a_title() -> None:
    assert news.EVENTS is deliveries.EVENTS
    assert all(title and not title.endswith(".") for title in news.EVENTS.values())
