"""``palladion restore``: repair poisoned models, or the answers that they give."""

import itertools
import os
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palladion.cli.evaluate import check_output
from palladion.errors import InputError

if TYPE_CHECKING:
    from palladion.mitigations import Mitigation
    from palladion.models.predictor import Predictor

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
    from palladion.models.predictor import Predictor

    check_output(out)
    settings = Settings(max_new_tokens, max_length, batch_tokens)
    predictor = Predictor(inputs, settings, base=base, device=device, dtype=dtype, bits=bits)
    if out.exists() and out.samefile(inputs):
        raise InputError("holds the inputs, which the answers would replace; name another file", path=inputs)
    _write_answers(mitigation, models, base, predictor, out)


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


def _write_answers(
    mitigation: "Mitigation", models: list[Path], base: Path | None, predictor: "Predictor", out: Path
) -> None:
    """Answer the predictor's inputs with the restored model or models.

    Answers are kept beside the output as they come, so that an interrupted command goes on where it was.
    """
    from palladion.mitigations.answering import Answering

    number = itertools.count(1)
    answering = Answering(predictor, lambda _: out.with_name(f"{out.name}.model{next(number)}"), label="answering")
    with closing(answering), tempfile.TemporaryDirectory(prefix=".restore.", dir=out.parent) as workspace:
        answers = answering.restored(mitigation, models, Path(workspace), base=base, say=_say)
        predictor.write(out, answers.values)
        answering.remove()
    _say(f"{len(answers)} answers in {out}")
