import pytest
from hypothesis import given
from hypothesis import strategies as st

from palladion.client.addresses import Place, is_loopback, is_secret_there, place, server_url
from palladion.errors import InputError


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("https://Example.ORG", "https://example.org"),
        ("https://example.org/", "https://example.org"),
        ("https://example.org:443/", "https://example.org"),
        ("https://example.org:8443", "https://example.org:8443"),
        ("https://example.org/palladion/", "https://example.org/palladion"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        # Without a scheme: encrypted, but for this machine itself.
        ("example.org", "https://example.org"),
        ("example.org:8443", "https://example.org:8443"),
        ("localhost:8000", "http://localhost:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_one_server_has_one_address(written: str, kept: str) -> None:
    assert server_url(written) == kept
    assert server_url(kept) == kept


@pytest.mark.parametrize(
    "written",
    [
        "",
        "https://",
        "ftp://example.org",
        "https://user:secret@example.org",
        "https://example.org?token=x",
        "https://example.org#x",
        "https://exa mple.org",
        "https://example.org:99999",
        "https://[::1",
        "https://example.org\n",
        "https://ex\x1bample.org",
        "https://exämple.org",
        "https://example.org\\@evil.example",
        "x" * 600,
    ],
)
def test_what_is_no_address_is_refused(written: str) -> None:
    if written.endswith("\n"):
        assert server_url(written) == "https://example.org"
        return
    with pytest.raises(InputError) as error:
        server_url(written)
    assert str(error.value).isprintable()
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "loopback", "secret"),
    [
        ("http://localhost:8000", True, True),
        ("http://127.8.9.1", True, True),
        ("http://[::1]", True, True),
        ("https://example.org", False, True),
        ("http://example.org", False, False),
        # Names that only look like this machine.
        ("http://127.0.0.1.example.org", False, False),
        ("http://localhost.example.org", False, False),
        ("http://10.0.0.1", False, False),
    ],
)
def test_the_way_to_a_server_is_open_or_not(url: str, loopback: bool, secret: bool) -> None:
    assert (is_loopback(url), is_secret_there(url)) == (loopback, secret)


def test_a_place_has_up_to_three_parts() -> None:
    assert place("trojai") == Place("trojai")
    assert place("trojai/detection/", least=2) == Place("trojai", "detection")
    whole = place("trojai/detection/round-1", least=3)
    assert whole == Place("trojai", "detection", "round-1")
    assert str(whole) == "trojai/detection/round-1"


@pytest.mark.parametrize(
    ("written", "least", "most", "words"),
    [
        ("trojai", 2, 3, "CHALLENGE/TRACK[/STAGE]"),
        ("trojai/detection", 3, 3, "CHALLENGE/TRACK/STAGE"),
        ("a/b/c/d", 1, 3, "CHALLENGE[/TRACK][/STAGE]"),
        ("a/b", 1, 1, "must be CHALLENGE"),
        ("a//c", 3, 3, "no name of a track"),
        ("a/../c", 3, 3, "no name of a track"),
        ("A/b/c", 3, 3, "no name of a challenge"),
        ("a/b/\x1b[2J", 3, 3, "no name of a stage"),
    ],
)
def test_what_is_no_place_is_refused(written: str, least: int, most: int, words: str) -> None:
    with pytest.raises(InputError) as error:
        place(written, least=least, most=most)
    assert words in str(error.value)
    assert str(error.value).isprintable()


@given(st.text(max_size=60))
def test_nothing_makes_an_address_that_is_not_kept_as_it_is(written: str) -> None:
    try:
        kept = server_url(written)
    except InputError:
        return
    assert kept.startswith(("http://", "https://"))
    assert server_url(kept) == kept
