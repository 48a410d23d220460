"""Every sentence that pages use exists, and every one that exists is used."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import palladion.server
from palladion.challenge.metrics import TASKS
from palladion.challenge.permissions import SCOPES
from palladion.jobs import claiming
from palladion.server.pages.words import FOLDER, Texts, texts
from palladion.storage import tables

SERVER = Path(palladion.server.__file__).parent
_KEY = re.compile(r"""\bt\(\s*f?["']([a-z0-9_.{}\[\]]+)["'](\s*~)?""")
_CHOICE = re.compile(r"""\bt\(\s*["']([a-z0-9_.]+)["'] if .+? else ["']([a-z0-9_.]+)["']""")
_MADE = re.compile(r"""f["']([a-z_]+\.[a-z0-9_.]*)\{""")
_QUOTED = re.compile(r"""["']([a-z_]+(?:\.[a-z0-9_]+)+)["']""")


def _sources() -> list[Path]:
    return [*sorted((SERVER / "templates").glob("*.html")), *sorted((SERVER / "pages").glob("*.py"))]


def _used() -> tuple[set[str], set[str]]:
    """Keys that are used as they stand, and the beginnings of keys whose end is put together."""
    keys, beginnings = set(), set()
    for path in _sources():
        text = path.read_text(encoding="utf-8")
        for key, joined in _KEY.findall(text):
            if joined or "{" in key:
                beginnings.add(key.partition("{")[0])
            else:
                keys.add(key)
        beginnings.update(_MADE.findall(text) if path.suffix == ".py" else ())
        for pair in _CHOICE.findall(text):
            keys.update(pair)
    return keys, beginnings


def test_every_sentence_that_is_used_exists() -> None:
    keys, beginnings = _used()
    assert len(keys) > 100
    assert sorted(key for key in keys if key not in texts()) == []
    assert sorted(start for start in beginnings if not any(key.startswith(start) for key in texts())) == []


def test_every_sentence_is_used() -> None:
    keys, beginnings = _used()
    # Some are handed on by name.
    named = {key for path in _sources() for key in _QUOTED.findall(path.read_text(encoding="utf-8"))}
    unused = [key for key in texts() if key not in keys | named and not key.startswith(tuple(beginnings))]
    assert unused == []


def test_every_word_that_a_page_may_be_given_has_a_text() -> None:
    """What is put together of a beginning and a word is found for each word that there is."""
    words: dict[str, set[str]] = {
        "states.": {
            *tables.ACCOUNT_STATES,
            *tables.TEAM_STATES,
            *tables.STAGE_STATES,
            *tables.SUBMISSION_STATES,
            *tables.EVALUATION_STATES,
            *tables.JOB_STATES,
        },
        "roles.": set(tables.ROLES),
        "scopes.": set(SCOPES),
        "tasks.": set(TASKS),
        "words.": {"round", "phase"},
        "organise.stages_": {"round", "phase"},
        "organise.kind_": {claiming.EVALUATE, claiming.CONCLUDE, claiming.OPEN, claiming.DELIVER, claiming.STANDING},
        "part.submit_": {"code", "outputs"},
        "part.approval_": {"open", "manual", "domain"},
        "challenge.kind_": {"code", "outputs"},
        "register.approval_": {"open", "manual", "domain", "closed"},
        "board.final_": {"test", "holdout"},
    }
    missing = [start + word for start, found in words.items() for word in found if start + word not in texts()]
    assert missing == []


def test_no_sentence_stands_twice_in_the_file() -> None:
    class Strict(yaml.SafeLoader):
        pass

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
        names = [loader.construct_object(key) for key, _ in node.value]
        assert len(names) == len(set(names)), names
        return loader.construct_mapping(node, deep=True)

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    assert yaml.load((FOLDER / "en.yaml").read_text(encoding="utf-8"), Strict)  # the loader is a safe one


def test_a_number_chooses_the_form(tmp_path: Path) -> None:
    path = tmp_path / "xx.yaml"
    path.write_text("a:\n  b: {one: one thing, other: '{n} things'}\n  c: to {place}\n")
    t = Texts(path)
    assert (t("a.b", n=1), t("a.b", n=0), t("a.b", n=2)) == ("one thing", "0 things", "2 things")
    assert t("a.c", place="there") == "to there"
    assert "a.b" in t
    assert list(t) == ["a.b", "a.c"]
    for key in ("a.d", "a", "a.c", "a.b"):
        with pytest.raises(LookupError):
            t(key)


def test_what_is_filled_in_is_not_a_sentence_itself(tmp_path: Path) -> None:
    path = tmp_path / "xx.yaml"
    path.write_text("a: to {place}\n")
    assert Texts(path)("a", place="{secret} {0} %s") == "to {secret} {0} %s"
