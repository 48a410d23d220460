"""``palladion restore``: repair poisoned models, or the answers that they give."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palladion.cli.evaluate import check_output
from palladion.errors import InputError, PalladionError

if TYPE_CHECKING:
    from palladion.mitigations.contract import Answers, Mitigation
    from palladion.models.language_model import LanguageModel
    from palladion.models.prediction import PredictionJournal, Settings
    from palladion.tracks.records import Row

__all__ = ["restore"]

_LIST_WIDTH = 14


def restore(
    models: Annotated[
        list[Path] | None,
        typer.Argument(metavar="MODEL…", help="Folders of poisoned models of one task: LoRA adapters, or full models."),
    ] = None,
    method: Annotated[
        str | None, typer.Option(metavar="NAME", help="Mitigation; --list tells which there are.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Folder for the repaired model; with --inputs the file for the answers.",
            show_default=False,
        ),
    ] = None,
    list_wanted: Annotated[bool, typer.Option("--list", help="List the mitigations with what they need.")] = False,
    inputs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Answer these inputs, as palladion predict does.", show_default=False),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Base model of adapters; by default the folder that they name."),
    ] = None,
    rank: Annotated[
        int | None, typer.Option(min=1, metavar="R", help="Highest rank of a merged adapter; by default ranks add up.")
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Write a full model: the base with the repaired adapter merged into it.")
    ] = False,
    device: Annotated[str, typer.Option(metavar="NAME", help="cpu, cuda, or auto, to answer inputs on.")] = "auto",
    dtype: Annotated[
        str, typer.Option(metavar="TYPE", help="float32, bfloat16, float16, or auto, to answer inputs in.")
    ] = "auto",
    bits: Annotated[
        int | None, typer.Option(metavar="4|8", help="Quantise the weights; needs bitsandbytes and a GPU.")
    ] = None,
    batch_tokens: Annotated[
        int | None, typer.Option(min=1, max=1 << 30, metavar="N", help="Tokens in memory at a time.")
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, max=1 << 20, metavar="N", help="Longest text, in tokens.")
    ] = 256,
    max_length: Annotated[
        int, typer.Option(min=1, max=1 << 20, metavar="N", help="Sentences are cut off after so many tokens.")
    ] = 128,
) -> None:
    """Repair poisoned models of one task, or the answers that they give.

    A method that makes a model writes it to --out, or with --inputs its answers; a method that makes answers needs
    --inputs. Models are opened as data, and nothing is fetched. Interrupted while it answers, the same command goes on.
    """
    if list_wanted:
        _list()
        return
    if not models or method is None or out is None:
        missing = [name for name, given in (("MODEL…", models), ("--method", method), ("--out", out)) if not given]
        raise InputError(f"give {' and '.join(missing)}; --list tells which methods there are")
    mitigation = _mitigation(method, rank)
    for model in models:
        if not model.is_dir():
            raise InputError("there is no such directory", path=model)
    if inputs is None:
        _write_model(mitigation, models, out, base, whole=whole, device=device, dtype=dtype)
        return
    if whole:
        raise InputError("--whole writes a model and --inputs answers; give one of them")
    from palladion.models.prediction import Settings

    settings = Settings(max_new_tokens, max_length, batch_tokens)
    answering = _Answering(inputs, out, base, device, dtype, bits, settings)
    _write_answers(mitigation, models, answering)


def _list() -> None:
    from palladion.mitigations import load_mitigation, mitigations

    for name in sorted(mitigations()):
        kind = load_mitigation(name)
        options = "".join(f" --{parameter}" for parameter in kind.parameters() if parameter == "rank")
        typer.echo(f"{name:<{_LIST_WIDTH}}{kind.summary}")
        typer.echo(f"{'':<{_LIST_WIDTH}}makes: {kind.product}; needs: {kind.needs}{options and f'; options:{options}'}")


def _mitigation(name: str, rank: int | None) -> "Mitigation":
    from palladion.mitigations import load_mitigation

    kind = load_mitigation(name)
    parameters: dict[str, Any] = {} if rank is None else {"rank": rank}
    for parameter in parameters:
        if parameter not in kind.parameters():
            raise InputError(f"the mitigation {name} has no --{parameter}")
    return kind(**parameters)


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _write_model(
    mitigation: "Mitigation",
    models: list[Path],
    out: Path,
    base: Path | None,
    *,
    whole: bool,
    device: str,
    dtype: str,
) -> None:
    """Restore a model into the folder ``out``, which is there only when it is complete."""
    from palladion.mitigations import Context, Product
    from palladion.models.adapters import Adapter, is_adapter
    from palladion.models.attach import write_merged
    from palladion.models.copying import copy_model, name_base
    from palladion.models.model_files import new_directory

    if mitigation.product is not Product.MODEL:
        raise InputError(f"the mitigation {mitigation.name} makes answers, not a model; give --inputs")
    with new_directory(out) as target, tempfile.TemporaryDirectory(prefix=".restore.", dir=target.parent) as workspace:
        context = Context(tuple(models), Path(workspace), base, device=device, dtype=dtype, say=_say)
        mitigation.check(context)
        product = mitigation.restore(context)
        assert isinstance(product, Path)
        adapter = Adapter.open(product) if is_adapter(product) else None
        if whole:
            if adapter is None:
                raise InputError("is a full model already; leave --whole out", path=models[0])
            home = base or adapter.base_directory
            if home is None:
                raise InputError("--whole needs the base model; give its folder with --base")
            write_merged(home, product, target)
        elif product.is_relative_to(workspace):
            product.replace(target)
        else:
            copy_model(product, target)
        if adapter is not None and not whole:
            name_base(target, _base_as_seen_from(out, adapter, models[0]))
    _say(f"{mitigation.name}: {len(models)} models restored to {out}")


def _base_as_seen_from(out: Path, product: Any, model: Path) -> str | None:
    """What the repaired adapter calls its base: a relative path where the first model has one, from its new place."""
    from palladion.models.adapters import Adapter

    first = Adapter.open(model)
    if product.base_directory is None or first.base_directory is None or Path(str(first.config.base)).is_absolute():
        return product.config.base  # type: ignore[no-any-return]
    return os.path.relpath(product.base_directory, out.resolve())


def _write_answers(mitigation: "Mitigation", models: list[Path], answering: "_Answering") -> None:
    """Answer the inputs with the restored model or models."""
    from palladion.mitigations import Answers, Context

    with tempfile.TemporaryDirectory(prefix=".restore.", dir=answering.out.parent) as workspace:
        context = Context(
            tuple(models),
            Path(workspace),
            answering.base,
            inputs=[row.values for row in answering.rows],
            device=answering.device,
            dtype=answering.dtype,
            predict=answering.predict,
            say=_say,
        )
        mitigation.check(context)
        try:
            product = mitigation.restore(context)
            answers = product if isinstance(product, Answers) else answering.predict(product)
            answering.write(answers)
        finally:
            answering.close()


class _Answering:
    """Answers one file of inputs with one model after another; a base that is in memory already is not opened again.

    Answers are kept beside the output as they come, so that an interrupted command goes on where it was.
    """

    def __init__(
        self,
        inputs: Path,
        out: Path,
        base: Path | None,
        device: str,
        dtype: str,
        bits: int | None,
        settings: "Settings",
    ) -> None:
        from palladion.models.image_classifier import require_packages
        from palladion.tracks.inputs import Track, kind_of, messages_of, sentence_of
        from palladion.tracks.records import read_rows

        check_output(out)
        if out.exists() and out.samefile(inputs):
            raise InputError("holds the inputs, which the answers would replace; name another file", path=inputs)
        self.inputs, self.out, self.base = inputs, out, base
        self.rows: list[Row] = read_rows(inputs)
        self._labels_wanted = kind_of(self.rows, inputs) is Track.CLASSIFICATION
        read = sentence_of if self._labels_wanted else messages_of
        self._questions: list[Any] = [read(row, inputs) for row in self.rows]
        require_packages()
        # transformers is told that there is no network before it is imported: nothing is looked for there.
        os.environ["HF_HUB_OFFLINE"] = "1"
        import torch

        from palladion.models.language_model import choose_device, choose_dtype

        self._bits, self._settings = bits, settings
        self.device = str(choose_device(device))
        self.dtype = str(choose_dtype(dtype, torch.device(self.device))).removeprefix("torch.")
        self._opened: LanguageModel | None = None
        self._journals: list[PredictionJournal] = []

    def predict(self, directory: Path) -> "Answers":
        """The answers of the model in this directory."""
        import torch

        from palladion.mitigations import Answers
        from palladion.models.language_model import describe
        from palladion.models.prediction import check_rows, predict
        from palladion.progress import progress

        files = describe(directory)
        check_rows(files.task, self._labels_wanted, directory, self.inputs)
        journal = self._journal(files)
        if not journal.complete:
            model = self._attached(files)
            kept = len(journal.answers)
            try:
                with progress(len(self._questions) - kept, "answering") as shown:
                    for answer in predict(model, self._questions, self._settings, journal.answers):
                        journal.add(answer.row, answer.value)
                        shown.advance()
            except KeyboardInterrupt:
                raise KeyboardInterrupt(f"interrupted; {self._how_to_go_on(journal)}") from None
            except torch.OutOfMemoryError:
                how = self._how_to_go_on(journal)
                raise PalladionError(f"the GPU's memory is full; take a smaller --batch-tokens; {how}") from None
        answers = journal.in_order()
        return Answers(labels=answers) if self._labels_wanted else Answers(texts=answers)

    def _how_to_go_on(self, journal: "PredictionJournal") -> str:
        done = f"{len(journal.answers)} of {len(self._questions)} answers of this model are kept"
        return f"{done}, and the same command goes on"

    def write(self, answers: "Answers") -> None:
        """Write the answers to the output, and remove what was kept on the way."""
        from palladion.tracks.outputs import write_generations, write_labels

        if answers.labels is not None:
            write_labels(self.out, answers.labels)
        else:
            assert answers.texts is not None
            write_generations(self.out, [row.values for row in self.rows], answers.texts)
        for journal in self._journals:
            journal.remove()
        _say(f"{len(answers)} answers in {self.out}")

    def close(self) -> None:
        """Let go of what is kept on the way; it stays."""
        for journal in self._journals:
            journal.close()

    def _journal(self, files: Any) -> "PredictionJournal":
        from palladion import __version__
        from palladion.models.language_model import identity, resolve_base
        from palladion.models.prediction import PredictionJournal, fingerprint

        parts = [identity(files.directory)]
        if files.adapter is not None:
            parts.append(identity(resolve_base(files, self.base)))
        name = fingerprint(
            parts,
            self.inputs,
            self._settings,
            device=self.device.partition(":")[0],
            dtype=self.dtype,
            bits=self._bits,
            version=__version__,
        )
        beside = self.out.with_name(f"{self.out.name}.model{len(self._journals) + 1}")
        self._journals.append(
            PredictionJournal(beside, name, len(self._questions), int if self._labels_wanted else str)
        )
        return self._journals[-1]

    def _attached(self, files: Any) -> "LanguageModel":
        from palladion.models.language_model import open_language_model, resolve_base

        home = files.directory if files.adapter is None else resolve_base(files, self.base)
        if self._opened is not None and self._opened.task is files.task and self._opened.base.samefile(home):
            self._opened.attach(files)
        else:
            self._opened = None  # two models at a time may be more than there is memory
            self._opened = open_language_model(
                files, base=self.base, device=self.device, dtype=self.dtype, bits=self._bits
            )
        return self._opened
