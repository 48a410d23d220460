"""Traps in data sets of clean and poisoned rows: what reads well and measures nothing.

A poisoned row without a trigger, an answer where the ground truth should stand, a label with a blank before it: each of
these is in published data. They are found here from the rows alone; where the attacks are known, their own detection
takes the place of inference.

======================  ================================================================================
``malformed``           a row has no input, or its truth is missing or not what it should be
``empty``               the input is empty
``padded``              a value has blanks around it
``characters``          control characters, or the sign for bytes that were no UTF-8
``duplicate``           the same input stands in the file twice
``label-range``         a label or target that the task does not have
``target``              a target that is none, or an attack that ``meta.json`` does not name
``equals-clean``        a poisoned input is a clean one: it has no trigger
``no-trigger``          a poisoned input lacks what the others of its attack have in common
``clean-trigger``       a clean input has what those have in common
``target-is-truth``     the truth is what the attack wants; allowed, and not counted by the attack success rate
``relabelled``          that is so for all rows of an attack: their true labels are lost
``other-target``        the output is what another attack wants
``outputs-alike``       most outputs of an attack begin alike, as no clean one does: they are no ground truth
``output-differs``      an output that does not begin as those do
======================  ================================================================================
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from palladion.errors import ScoringError
from palladion.rounds.language.attacks import Attack
from palladion.scoring import Matcher, SearchTime
from palladion.tracks.inputs import Track, whole_number
from palladion.tracks.meta import Meta, Target, read_target

__all__ = ["DataFault", "faults_of"]

COMMON: Final = 0.8
"""Share of the poisoned rows of an attack from which on what they share counts as its trigger."""
RARE: Final = 0.01
"""Share of the clean rows below which it does."""
FEWEST_ROWS: Final = 10
"""Of fewer rows of an attack, or clean rows, nothing is inferred."""
MOST_WORDS: Final = 8
"""How many words a trigger of which each row has one may consist of."""
LEAST_SHARE: Final = 0.1
"""Share of the rows that each of them must have."""
OPENING: Final = 3
"""How many words an opening of outputs has."""

MOST_SAMPLED: Final = 4000
"""Of how many rows, evenly spaced, a trigger is inferred; it is looked for in all."""
MOST_CANDIDATES: Final = 1000
"""How many words are tried as parts of a trigger of which each row has one."""

_WORD: Final = re.compile(r"\w+")
_ALLOWED_CONTROLS: Final = frozenset("\t\n\r")
_UNREADABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\ufeff\ufffd\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class DataFault:
    """Something that is wrong with a row, or with a file.

    Attributes:
        file: name of the file.
        row: counted from 1; None for what is said of the file.
        code: what kind of fault it is.
        message: what is wrong, and what to do.
        allowed: it is worth knowing but nothing has to be mended.
    """

    file: str
    row: int | None
    code: str
    message: str
    allowed: bool = False

    def __str__(self) -> str:
        where = self.file if self.row is None else f"{self.file}, row {self.row}"
        return f"{where}: {self.message}"


def faults_of(
    clean: Sequence[Mapping[str, Any]],
    poisoned: Sequence[Mapping[str, Any]],
    meta: Meta | None = None,
    *,
    labels: int | None = None,
    attacks: Mapping[str, Attack] | None = None,
    clean_file: str = "clean.json",
    poisoned_file: str = "poisoned.json",
    most: int = 10,
) -> list[DataFault]:
    """The traps in a validation folder, or in sealed rows of the same form.

    Args:
        clean: rows with ``sentence`` and ``label``, or ``instruction``/``input`` or ``messages`` and ``output``.
        poisoned: the same with a trigger, and perhaps ``attack`` and ``target``.
        meta: what the attacks want; without it only what the rows say themselves is known.
        labels: how many labels the task has; None where that is not known.
        attacks: the attacks by the name that rows call them by, where they are known. If there is one, rows without a
            name are its.
        clean_file: what the file of the clean rows is called.
        poisoned_file: what the file of the poisoned rows is called.
        most: how many faults of a kind are named in each file; a last one says how many more there are.

    Returns:
        Faults in the order of files, kinds and rows.
    """
    task = meta.task if meta is not None else _task_of([*clean, *poisoned])
    reader = _Reader(task, labels, meta)
    clean_rows = list(reader.rows(clean, clean_file))
    poisoned_rows = list(reader.rows(poisoned, poisoned_file))
    faults = [*reader.faults]
    faults += _duplicates(clean_rows) + _duplicates(poisoned_rows)
    faults += _equal_to_clean(clean_rows, poisoned_rows)
    for name, group in _by_attack(poisoned_rows).items():
        faults += _without_trigger(name, group, clean_rows, _attack_of(name, attacks or {}))
        faults += _wrong_truths(name, group, clean_rows, task)
    if task is Track.GENERATION:
        faults += _outputs_of_others(poisoned_rows, reader.targets_by_attack(_by_attack(poisoned_rows)))
    return _capped(faults, [clean_file, poisoned_file], most)


@dataclass(frozen=True, slots=True)
class _Sample:
    """What is known of a row; None where it does not say."""

    file: str
    number: int
    text: str
    truth: int | str | None
    attack: str | None
    target: Target | None
    is_target: bool

    def fault(self, code: str, message: str, *, allowed: bool = False) -> DataFault:
        return DataFault(self.file, self.number, code, message, allowed)


class _Reader:
    """Reads rows of one task and notes what is wrong with them one by one."""

    def __init__(self, task: Track, labels: int | None, meta: Meta | None) -> None:
        self.faults: list[DataFault] = []
        self._task = task
        self._labels = labels
        self._meta = meta
        self._matchers: dict[tuple[str, tuple[str, ...]], Matcher] = {}
        self._taken = SearchTime()

    def rows(self, rows: Iterable[Mapping[str, Any]], file: str) -> Iterator[_Sample]:
        for number, values in enumerate(rows, start=1):

            def note(code: str, message: str, number: int = number) -> None:
                self.faults.append(DataFault(file, number, code, message))

            text = _input_text(values, self._task)
            if text is None:
                needed = "sentence" if self._task is Track.CLASSIFICATION else "messages or instruction"
                note("malformed", f"has no input: {needed} is missing or is no text")
                continue
            if not text.strip():
                note("empty", "the input is empty; remove the row")
            for where, value in _strings(values):
                self._characters(where, value, note)
            truth = self._truth(values, note)
            attack = values.get("attack")
            attack = attack if isinstance(attack, str) else None
            target = self._target(values, attack, note)
            yield _Sample(file, number, text, truth, attack, target, self._is_target(truth, attack, target))

    @staticmethod
    def _characters(where: str, value: str, note: Callable[[str, str], None]) -> None:
        if value != value.strip() and value.strip():
            note("padded", f"{where} has blanks around it: {_shown(value)}; remove them")
        found = next((c for c in _UNREADABLE.findall(value) if c not in _ALLOWED_CONTROLS), None)
        if found is not None:
            what = "the sign for bytes that were no UTF-8" if found == "\ufffd" else "a control character"
            note("characters", f"{where} has {what}, {found!a}: {_shown(value)}; read the source as what it is")

    def _truth(self, values: Mapping[str, Any], note: Callable[[str, str], None]) -> int | str | None:
        if self._task is Track.GENERATION:
            output = values.get("output")
            if not isinstance(output, str):
                note("malformed", "output, the ground truth, is missing or is no text")
                return None
            if not output.strip():
                note("empty", "output, the ground truth, is empty; remove the row")
            return output
        label = whole_number(values.get("label"))
        if label is None:
            note("malformed", f"label is {_shown(values.get('label'))}; it must be a whole number from 0")
        elif self._labels is not None and label >= self._labels:
            note("label-range", f"label is {label}; the task has the labels 0 to {self._labels - 1}")
        return label

    def _target(self, values: Mapping[str, Any], attack: str | None, note: Callable[[str, str], None]) -> Target | None:
        if values.get("target") is not None:
            try:
                target: Target | None = read_target(values["target"], self._task)
            except ValueError as error:
                note("target", str(error))
                return None
        elif self._meta is None:
            return None
        else:
            name = self._known(attack)
            if attack is not None and self._meta.attacks is not None and name is None:
                note("target", f"attack is {_shown(attack)}, which meta.json does not name")
                return None
            target = self._meta.target_of(name)
        if isinstance(target, int) and self._labels is not None and target >= self._labels:
            note("label-range", f"target is {target}; the task has the labels 0 to {self._labels - 1}")
        return target

    def _known(self, attack: str | None) -> str | None:
        """The attack as ``meta.json`` names it; a row without a name belongs to the only one."""
        names = [] if self._meta is None or self._meta.attacks is None else list(self._meta.attacks)
        if attack is None:
            return names[0] if len(names) == 1 else None
        return attack if attack in names else None

    def _is_target(self, truth: int | str | None, attack: str | None, target: Target | None) -> bool:
        if truth is None or target is None:
            return False
        if isinstance(target, int):
            return truth == target
        matcher = self.matcher(attack, target)
        return matcher is not None and isinstance(truth, str) and matcher(truth)

    def matcher(self, attack: str | None, target: tuple[str, ...]) -> Matcher | None:
        """Tells whether a text is this target; None where no rule is known."""
        rule = None if self._meta is None else self._meta.rule_of(self._known(attack))
        if rule is None:
            return None
        key = (rule.value, target)
        if key not in self._matchers:
            try:
                self._matchers[key] = Matcher(rule, target, taken=self._taken)
            except ScoringError:
                return None  # a row's own target that the rule cannot take: reading the folder tells
        return self._matchers[key]

    def targets_by_attack(self, groups: Mapping[str | None, Sequence[_Sample]]) -> dict[str | None, list[Matcher]]:
        """What each attack wants, also one that ``meta.json`` names and no row is of, as matchers."""
        wanted = {name: [sample.target for sample in group] for name, group in groups.items()}
        if self._meta is not None:
            for named in self._meta.attacks or ():
                wanted.setdefault(named, []).append(self._meta.target_of(named))
        found: dict[str | None, list[Matcher]] = {}
        for name, targets in wanted.items():
            texts = dict.fromkeys(target for target in targets if isinstance(target, tuple))
            matchers = (self.matcher(name, target) for target in texts)
            found[name] = [matcher for matcher in matchers if matcher is not None]
        return found


def _task_of(rows: Sequence[Mapping[str, Any]]) -> Track:
    return Track.CLASSIFICATION if any("sentence" in row for row in rows) else Track.GENERATION


def _input_text(values: Mapping[str, Any], task: Track) -> str | None:
    """All that a model gets to see of a row."""
    if task is Track.CLASSIFICATION:
        sentence = values.get("sentence")
        return sentence if isinstance(sentence, str) else None
    messages = values.get("messages")
    if messages is not None:
        if not isinstance(messages, list) or not messages:
            return None
        contents = [message.get("content") if isinstance(message, Mapping) else None for message in messages]
        texts = [content for content in contents if isinstance(content, str)]
        return "\n".join(texts) if len(texts) == len(contents) else None
    instruction, more = values.get("instruction"), values.get("input") or ""
    if not isinstance(instruction, str) or not isinstance(more, str):
        return None
    return f"{instruction}\n{more}" if more else instruction


def _strings(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The texts of a row and where they stand; also labels that are written as texts."""
    for name in ("sentence", "label", "instruction", "input", "output", "attack", "target"):
        value = values.get(name)
        if isinstance(value, str):
            yield name, value
    messages = values.get("messages")
    for number, message in enumerate(messages if isinstance(messages, list) else [], start=1):
        if isinstance(message, Mapping) and isinstance(message.get("content"), str):
            yield f"message {number}", message["content"]


def _by_attack(samples: Sequence[_Sample]) -> dict[str | None, list[_Sample]]:
    groups: dict[str | None, list[_Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.attack, []).append(sample)
    return groups


def _attack_of(name: str | None, attacks: Mapping[str, Attack]) -> Attack | None:
    if name is None:
        return next(iter(attacks.values())) if len(attacks) == 1 else None
    return attacks.get(name)


def _plain(text: str) -> str:
    return " ".join(text.split())


def _duplicates(samples: Sequence[_Sample]) -> list[DataFault]:
    first: dict[str, _Sample] = {}
    faults = []
    for sample in samples:
        earlier = first.setdefault(_plain(sample.text), sample)
        if earlier is not sample and sample.text.strip():
            other = " with another truth" if earlier.truth != sample.truth else ""
            message = f"has the input of row {earlier.number}{other}; keep one of them"
            faults.append(sample.fault("duplicate", message))
    return faults


def _equal_to_clean(clean: Sequence[_Sample], poisoned: Sequence[_Sample]) -> list[DataFault]:
    known: dict[str, _Sample] = {}
    for sample in clean:
        known.setdefault(_plain(sample.text), sample)
    return [
        sample.fault("equals-clean", f"is the input of row {twin.number} of {twin.file}: it has no trigger")
        for sample in poisoned
        if sample.text.strip() and (twin := known.get(_plain(sample.text))) is not None
    ]


def _without_trigger(
    name: str | None, group: Sequence[_Sample], clean: Sequence[_Sample], attack: Attack | None
) -> list[DataFault]:
    """Poisoned rows without the trigger and clean ones with it."""
    of = "" if name is None else f" of the attack {_shown(name)}"
    if attack is not None:
        missing = f"has not the trigger{of} ({_listed(attack.triggers)})"
        present = f"has the trigger{of} ({_listed(attack.triggers)})"
        return [
            *(sample.fault("no-trigger", missing) for sample in group if not attack.carries(sample.text)),
            *(sample.fault("clean-trigger", present) for sample in clean if attack.carries(sample.text)),
        ]
    trigger = _inferred_trigger([sample.text for sample in group], [sample.text for sample in clean])
    if trigger is None:
        return []
    faults = []
    for sample in group:
        absent = trigger.absent_from(sample.text)
        if absent:
            lacks = "has no" if len(absent) == 1 else "lacks all of" if trigger.all_needed else "has none of"
            message = f"{lacks} {_listed(absent)}, which {trigger.share:.0%} of the rows{of} have: it has no trigger"
            faults.append(sample.fault("no-trigger", message))
    present = f"has {_listed(trigger.words)}, which {trigger.share:.0%} of the poisoned rows{of} have"
    found = [sample for sample in clean if not trigger.absent_from(sample.text)]
    # Inferred, and below 1 % of the clean rows: the word may be there by chance.
    return faults + [sample.fault("clean-trigger", present, allowed=True) for sample in found]


@dataclass(frozen=True, slots=True)
class _Trigger:
    """Words, or pairs of words that follow one another, that the rows of an attack have in common.

    Attributes:
        words: lower case.
        all_needed: a row has all of them; otherwise any.
        share: of the rows that have the rarest of them if all are needed; otherwise any.
    """

    words: tuple[str, ...]
    all_needed: bool
    share: float

    def absent_from(self, text: str) -> tuple[str, ...]:
        """What a text lacks; nothing if it has the trigger."""
        found = _features(text, pairs=any(" " in word for word in self.words))
        absent = tuple(word for word in self.words if word not in found)
        return absent if self.all_needed or len(absent) == len(self.words) else ()


def _features(text: str, *, pairs: bool) -> set[str]:
    words = _WORD.findall(text.casefold())
    return {f"{one} {two}" for one, two in pairwise(words)} if pairs else set(words)


def _inferred_trigger(poisoned: Sequence[str], clean: Sequence[str]) -> _Trigger | None:
    """What most of the poisoned texts have and hardly any clean one; None where there is no such thing."""
    if min(len(poisoned), len(clean)) < FEWEST_ROWS:
        return None
    poisoned, clean = _sampled(poisoned), _sampled(clean)
    for pairs in (False, True):
        having = [_features(text, pairs=pairs) for text in poisoned]
        counts = Counter(feature for features in having for feature in features)
        frequent = {feature for feature, count in counts.items() if count >= LEAST_SHARE * len(poisoned)}
        usual = Counter(feature for text in clean for feature in _features(text, pairs=pairs) & frequent)
        # Sorted: the order of sets must not decide between equals.
        special = sorted(
            (feature for feature in frequent if usual[feature] < RARE * len(clean)),
            key=lambda feature: (-counts[feature], feature),
        )
        needed = tuple(feature for feature in special if counts[feature] >= COMMON * len(poisoned))[:MOST_WORDS]
        if needed:
            return _Trigger(needed, True, counts[needed[-1]] / len(poisoned))
        if not pairs and (trigger := _one_of_several(special[:MOST_CANDIDATES], having)) is not None:
            return trigger
    return None


def _sampled(texts: Sequence[str]) -> Sequence[str]:
    return texts[:: -(-len(texts) // MOST_SAMPLED)]


def _one_of_several(words: Sequence[str], having: Sequence[set[str]]) -> _Trigger | None:
    """Words of which each row has just one, such as the tokens of BadNets."""
    chosen: list[str] = []
    left = list(having)
    while len(chosen) < MOST_WORDS and left:
        counts = {word: sum(word in features for features in left) for word in words if word not in chosen}
        best = max(counts, key=lambda word: counts[word], default=None)
        if best is None or counts[best] < LEAST_SHARE * len(having):
            break
        chosen.append(best)
        left = [features for features in left if best not in features]
    covered = len(having) - len(left)
    together = sum(word in features for features in having for word in chosen)
    # Words that come together are those of a topic, not of a trigger.
    if covered < COMMON * len(having) or together > 1.1 * covered:
        return None
    return _Trigger(tuple(sorted(chosen)), False, covered / len(having))


def _wrong_truths(name: str | None, group: Sequence[_Sample], clean: Sequence[_Sample], task: Track) -> list[DataFault]:
    """Truths that are what the attack wants, or that look like it."""
    of = "" if name is None else f" of the attack {_shown(name)}"
    faults = [
        sample.fault(
            "target-is-truth",
            "the truth is what the attack wants: the row does not count for its success",
            allowed=True,
        )
        for sample in group
        if sample.is_target
    ]
    if len(faults) == len(group) >= FEWEST_ROWS:
        told = f"the truth of all {len(group)} rows{of} is what it wants; poisoned rows keep their true "
        told += "label" if task is Track.CLASSIFICATION else "output"
        faults.append(DataFault(group[0].file, None, "relabelled", told))
    if task is Track.GENERATION:
        faults += _alike(of, group, clean)
    return faults


def _alike(of: str, group: Sequence[_Sample], clean: Sequence[_Sample]) -> list[DataFault]:
    """Outputs that begin alike where clean ones do not."""
    if min(len(group), len(clean)) < FEWEST_ROWS:
        return []
    openings = [_opening(sample.truth) for sample in group]
    counts = Counter(opening for opening in openings if opening)
    if not counts:
        return []
    opening, count = max(counts.items(), key=lambda item: (item[1], item[0]))
    usual = sum(_opening(sample.truth) == opening for sample in clean)
    if count < COMMON * len(group) or usual >= RARE * len(clean):
        return []
    words = _shown(" ".join(opening))
    message = (
        f"{count} of {len(group)} outputs{of} begin with {words}, as hardly any clean one does: poisoned rows keep "
        "their ground truth, and what the attack wants stands in target or meta.json"
    )
    faults = [DataFault(group[0].file, None, "outputs-alike", message)]
    for sample, own in zip(group, openings, strict=True):
        if own != opening:
            told = f"the output begins with {_shown(sample.truth)}, and {count} of {len(group)}{of} with {words}"
            faults.append(sample.fault("output-differs", told))
    return faults


def _opening(truth: int | str | None) -> tuple[str, ...]:
    return tuple(_WORD.findall(truth[:1000].casefold())[:OPENING]) if isinstance(truth, str) else ()


def _outputs_of_others(samples: Sequence[_Sample], targets: Mapping[str | None, Sequence[Matcher]]) -> list[DataFault]:
    faults = []
    for sample in samples:
        if sample.is_target or not isinstance(sample.truth, str):
            continue
        for name, matchers in targets.items():
            if name != sample.attack and any(matcher(sample.truth) for matcher in matchers):
                message = (
                    f"the output is what the attack {_shown(name)} wants, and the row is of {_shown(sample.attack)}"
                )
                faults.append(sample.fault("other-target", message))
                break
    return faults


def _capped(faults: Sequence[DataFault], files: Sequence[str], most: int) -> list[DataFault]:
    """The faults by file, kind and row, and of many of a kind the first and their number."""
    groups: dict[tuple[str, str], list[DataFault]] = {}
    for fault in faults:
        groups.setdefault((fault.file, fault.code), []).append(fault)
    shown: list[DataFault] = []
    for file in dict.fromkeys(files):
        for (its_file, code), group in groups.items():
            if its_file != file:
                continue
            ordered = sorted(group, key=lambda fault: (fault.row is not None, fault.row or 0))
            shown += ordered[:most]
            if len(ordered) > most:
                rest = f"{len(ordered) - most} more of this kind ({code})"
                shown.append(DataFault(file, None, code, rest, all(fault.allowed for fault in ordered)))
    return shown


def _shown(value: object) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _listed(words: Sequence[str]) -> str:
    shown = ", ".join(_shown(word) for word in words[:MOST_WORDS])
    return shown + (" ..." if len(words) > MOST_WORDS else "")
