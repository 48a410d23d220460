"""Answers of a language model to the rows of a file, kept as they come so that an interrupted run goes on."""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palladion.errors import InputError, PalladionError
from palladion.models.language_model import LanguageModel, Task

if TYPE_CHECKING:
    from palladion.models.generation import Answer

__all__ = ["PredictionJournal", "Settings", "check_rows", "default_batch_tokens", "fingerprint", "predict"]

_FORMAT = "palladion-partial/2"
_LARGEST_LINE = 64 << 20

Conversation = Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Settings:
    """How answers are made; the defaults are those of the public challenge's starter kit.

    Attributes:
        max_new_tokens: after so many tokens a text ends.
        max_length: sentences to be labelled are cut off after so many tokens.
        batch_tokens: tokens in memory at a time; None chooses by the device. Changes no answer but by rounding.
    """

    max_new_tokens: int = 256
    max_length: int = 128
    batch_tokens: int | None = None


def default_batch_tokens(model: LanguageModel) -> int:
    """Tokens in memory at a time that suit the model and its device.

    Labels on a CPU: few enough to stay in its caches. Texts: as many as have their keys and values in 1 GiB, or in a
    third of what is free on the GPU.
    """
    import torch

    gpu = model.device.type == "cuda"
    if model.task is Task.CLASSIFIER:
        return 32_768 if gpu else 1024
    config = model.network.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    token_bytes = 2 * config.num_hidden_layers * heads * width * model.dtype.itemsize
    room = torch.cuda.mem_get_info(model.device)[0] // 3 if gpu else 1 << 30
    return int(min(max(room // token_bytes, 1024), 1 << 18 if gpu else 1 << 16))


def predict(
    model: LanguageModel, rows: Sequence[str] | Sequence[Conversation], settings: Settings, skip: Container[int] = ()
) -> Iterator["Answer"]:
    """Answer rows with the attached model, and yield the answers as they come.

    Args:
        model: a classifier for sentences, a causal model for conversations (``role`` and ``content`` a message).
        rows: what to answer.
        settings: how.
        skip: positions that need no answer, counted from 0.

    Raises:
        InputError: a row cannot be read by the model, or the model's numbers are none.
    """
    from palladion.models.classification import classify, encode_sentences
    from palladion.models.generation import encode_prompts, generate

    wanted = [i for i in range(len(rows)) if i not in skip]
    budget = default_batch_tokens(model) if settings.batch_tokens is None else settings.batch_tokens
    if model.task is Task.CLASSIFIER:
        sentences = [row for row in rows if isinstance(row, str)]
        assert len(sentences) == len(rows)
        encoded = encode_sentences(model, sentences, max_length=settings.max_length)
        return classify(model, {i: encoded[i] for i in wanted}, batch_tokens=budget)
    conversations = [row for row in rows if not isinstance(row, str)]
    assert len(conversations) == len(rows)
    encoded = encode_prompts(model, conversations)
    return generate(model, {i: encoded[i] for i in wanted}, max_new_tokens=settings.max_new_tokens, batch_tokens=budget)


def fingerprint(models: Sequence[str], inputs: Path, settings: Settings, **more: str | int | None) -> str:
    """A name for all that answers depend on: answers under one name may stand in one file.

    Args:
        models: what the model is (:func:`palladion.models.language_model.identity`), and its base.
        inputs: the file with the rows.
        settings: how answers are made; ``batch_tokens`` does not count.
        more: anything else, such as the type of the numbers.
    """
    with inputs.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    settled = asdict(settings) | {"batch_tokens": None}
    return hashlib.sha256(json.dumps([list(models), content, settled, more], sort_keys=True).encode()).hexdigest()


class PredictionJournal:
    """The answers for one output file so far, in a hidden file beside it: ``.NAME.partial``.

    The file is held for one process until :meth:`close`.

    Args:
        out: the file that the answers are for.
        name: what the answers depend on (:func:`fingerprint`); those under another name are thrown away.
        rows: how many rows there are.
        kind: of the answers.

    Attributes:
        answers: those that are there, by the position of their row.
        dropped: whether there were some under another name.

    Raises:
        PalladionError: another process predicts for this file, or it cannot be written.
    """

    def __init__(self, out: Path, name: str, rows: int, kind: type[int] | type[str]) -> None:
        self.path = out.parent / f".{out.name}.partial"
        self._rows, self._kind = rows, kind
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            self._file = os.fdopen(handle, "r+", encoding="utf-8", errors="replace")
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._file.close()
                raise PalladionError(f"{out}: another process is predicting into it; wait for it or stop it") from None
            header = {"format": _FORMAT, "name": name, "rows": rows}
            lines = self._lines()
            found = next(lines, None)
            self.answers: dict[int, int | str] = {}
            self._probabilities: dict[int, tuple[float, ...] | None] = {}
            if found == header:
                self._read(lines)
            self.dropped = found not in (None, header)
            if not self.answers:
                self._file.seek(0)
                self._file.truncate()
                self._write(header)
            else:
                # Half a line may stand at the end; what follows begins a new one.
                self._file.seek(0, os.SEEK_END)
                self._file.write("\n")
        except OSError as error:
            raise PalladionError(f"{self.path}: cannot be written: {error.strerror or error}") from None

    @property
    def complete(self) -> bool:
        """Whether every row has its answer."""
        return len(self.answers) == self._rows

    def add(self, row: int, answer: int | str, probabilities: tuple[float, ...] | None = None) -> None:
        """Keep the answer to a row, of a label also the probabilities of the classes; it survives this process."""
        self.answers[row], self._probabilities[row] = answer, probabilities
        try:
            self._write(
                {"row": row, "answer": answer} | ({} if probabilities is None else {"probabilities": probabilities})
            )
        except OSError as error:
            raise PalladionError(f"{self.path}: cannot be written: {error.strerror or error}") from None

    def in_order(self) -> list[Any]:
        """All answers by the order of their rows. They are complete."""
        return [self.answers[row] for row in range(self._rows)]

    def probabilities(self) -> list[tuple[float, ...]] | None:
        """The probabilities of all answers by the order of their rows; None unless each row has them, for one number
        of classes.
        """
        found = [shares for row in range(self._rows) if (shares := self._probabilities.get(row)) is not None]
        return found if len(found) == self._rows and len({len(shares) for shares in found}) == 1 else None

    def close(self) -> None:
        """Let go of the file; it stays where it holds answers."""
        if not self.answers and not self._file.closed:
            self.path.unlink(missing_ok=True)
        # Where the disk is full, closing fails as writing did, which has been told.
        with contextlib.suppress(OSError):
            self._file.close()

    def remove(self) -> None:
        """Remove the file: the answers stand where they belong."""
        self.path.unlink(missing_ok=True)
        self.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def _lines(self) -> Iterator[Any]:
        """The lines that are JSON."""
        while line := self._file.readline(_LARGEST_LINE):
            with contextlib.suppress(ValueError, RecursionError):  # half a line
                yield json.loads(line)

    def _read(self, lines: Iterator[Any]) -> None:
        for line in lines:
            values = line if isinstance(line, dict) else {}
            row, answer, shares = values.get("row"), values.get("answer"), values.get("probabilities")
            if type(row) is int and 0 <= row < self._rows and type(answer) is self._kind and _are_probabilities(shares):
                self.answers[row] = answer
                self._probabilities[row] = None if shares is None else tuple(shares)


def _are_probabilities(value: object) -> bool:
    """Whether it is a list of numbers from 0 to 1, or None."""
    return value is None or (
        isinstance(value, list) and bool(value) and all(type(share) is float and 0 <= share <= 1 for share in value)
    )


def check_rows(task: Task, classification: bool, model: Path, inputs: Path) -> None:
    """See that a model is for the rows of a file.

    Raises:
        InputError: it gives labels where texts are wanted, or the other way round.
    """
    if classification and task is Task.CAUSAL:
        raise InputError(f"writes text, but {inputs} holds sentences to be labelled", path=model)
    if not classification and task is Task.CLASSIFIER:
        raise InputError(f"gives labels, but {inputs} holds prompts to be answered", path=model)
