"""``palladion predict``: what language models answer."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from palladion.cli.evaluate import check_output
from palladion.errors import InputError

if TYPE_CHECKING:
    from palladion.models.language_model import LanguageModelFiles
    from palladion.models.prediction import PredictionJournal
    from palladion.models.predictor import Predictor

__all__ = ["predict"]


def predict(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL…", help="Folders of language models: full ones, or LoRA adapters.", show_default=False
        ),
    ],
    inputs: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Rows with sentence, messages or instruction: JSON or JSONL.", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Labels as CSV, texts as JSON. With several models a folder: model1 goes to model1.csv.",
            show_default=False,
        ),
    ],
    base: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Base model of adapters; by default the folder that they name."),
    ] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help="cpu, cuda, or auto: a GPU where there is one.")] = "auto",
    dtype: Annotated[
        str,
        typer.Option(
            metavar="TYPE",
            help="float32, bfloat16, float16, or auto: float32 on a CPU, bfloat16 on a GPU that has it, else float16.",
        ),
    ] = "auto",
    bits: Annotated[
        int | None, typer.Option(metavar="4|8", help="Quantise the weights; needs bitsandbytes and a GPU.")
    ] = None,
    batch_tokens: Annotated[
        int | None,
        typer.Option(
            min=1, max=1 << 30, metavar="N", help="Tokens in memory at a time; by default by the model and the memory."
        ),
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, max=1 << 20, metavar="N", help="Longest text, in tokens.")
    ] = 256,
    max_length: Annotated[
        int, typer.Option(min=1, max=1 << 20, metavar="N", help="Sentences are cut off after so many tokens.")
    ] = 128,
    threads: Annotated[
        int | None, typer.Option(min=1, max=4096, metavar="N", help="Processor threads; by default all cores.")
    ] = None,
) -> None:
    """What language models answer: a label for each sentence, or a text for each instruction.

    Texts are greedy: the most likely token each time. Rows are answered in batches, and stand in the order of the
    inputs. Nothing that a model's folder holds is run, and nothing is fetched. Interrupted, the same command goes on.
    """
    from palladion.models.prediction import Settings
    from palladion.models.predictor import Predictor

    settings = Settings(max_new_tokens, max_length, batch_tokens)
    predictor = Predictor(inputs, settings, base=base, device=device, dtype=dtype, bits=bits)
    described = [predictor.describe(path) for path in models]
    outs = _outputs(models, inputs, out, ".csv" if predictor.labels_wanted else ".json")
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    journals: list[PredictionJournal] = []
    try:
        for files, path in zip(described, outs, strict=True):
            journals.append(predictor.journal(files, path))
            if journals[-1].dropped:
                typer.echo(f"{path}: unfinished answers with other models, inputs or settings are dropped", err=True)
        _answer(predictor, list(zip(described, journals, outs, strict=True)))
        # Only now: until all models are through, the journals tell which of them are.
        for journal in journals:
            journal.remove()
    finally:
        for journal in journals:
            journal.close()


def _answer(predictor: "Predictor", work: "list[tuple[LanguageModelFiles, PredictionJournal, Path]]") -> None:
    """Answer what is not answered, and write each model's file when it is complete."""
    from palladion.progress import progress

    def done() -> int:
        return sum(len(journal.answers) for _, journal, _ in work)

    total, kept = len(work) * len(predictor.rows), done()
    if kept:
        typer.echo(f"{kept} of {total} answers are there from before", err=True)
    start, tokens = time.monotonic(), 0
    try:
        with progress(total - kept, "predicting") as shown:
            for files, journal, out in work:
                for answer in predictor.answer(files, journal):
                    tokens += answer.tokens
                    shown.advance(f"{tokens / (time.monotonic() - start):,.0f} tokens/s")
                predictor.write(out, journal.in_order())
    except KeyboardInterrupt:
        message = f"interrupted; {done()} of {total} answers are kept, and the same command goes on"
        raise KeyboardInterrupt(message) from None
    if tokens:
        seconds = time.monotonic() - start
        typer.echo(f"{total - kept} answers in {seconds:.1f} s, {tokens / seconds:,.0f} tokens/s", err=True)


def _outputs(models: list[Path], inputs: Path, out: Path, ending: str) -> list[Path]:
    """The file for each model's answers."""
    if len(models) == 1:
        check_output(out)
        outs = [out]
    else:
        names = [path.resolve().name for path in models]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(
                f"two models are called {twice[0]!r}, and their answers would go to one file; predict them one by one"
            )
        if out.exists() and not out.is_dir():
            raise InputError("is a file; with several models it must be a folder", path=out)
        if not out.exists():
            check_output(out)
            out.mkdir()
        outs = [out / f"{name}{ending}" for name in names]
    if any(path.exists() and path.samefile(inputs) for path in outs):
        raise InputError("holds the inputs, which the answers would replace; name another file", path=inputs)
    return outs
