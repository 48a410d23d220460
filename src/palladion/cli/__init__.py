"""The command line: one file a command group.

Nothing heavy is imported before a command needs it, so that ``palladion --help`` answers at once.
"""

import importlib
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from palladion import __version__
from palladion.cli import (
    doctor,
    download,
    evaluate,
    inspect,
    leaderboard,
    login,
    predict,
    restore,
    score,
    serve,
    status,
    submit,
    worker,
)
from palladion.errors import PalladionError

__all__ = ["app", "main"]

# Groups that are only imported when one of their commands is asked for: module, and what --help says of it.
_LAZY_GROUPS = {
    "account": ("palladion.cli.account", "List, approve and disable the accounts of a server."),
    # With what cli.installation adds to it.
    "challenge": ("palladion.cli.installation", "Begin, check and read a challenge file."),
    "environment": ("palladion.cli.environment", "Build, list, show and remove environments of submissions."),
    "stage": ("palladion.cli.stage", "List the stages of a challenge; organisers open, close and conclude them."),
    "submission": ("palladion.cli.submission", "Look at a submission before it is submitted, and pack one."),
    "team": ("palladion.cli.team", "Make, join, show and leave the team that one takes part with."),
    "round": ("palladion.cli.round", "Build, show and check rounds of clean and poisoned models."),
}


class _InterruptedError(PalladionError):
    exit_code = 130


class _LazyGroup(TyperGroup):
    """Stands in for a group until it is called."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        module = importlib.import_module(_LAZY_GROUPS[str(self.name)][0])
        return typer.main.get_group(module.app).make_context(info_name, args, parent, **extra)


class _Commands(TyperGroup):
    """The top level: with lazy groups, and with Ctrl-C as an error like others."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted([*super().list_commands(ctx), *_LAZY_GROUPS])

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in _LAZY_GROUPS:
            return _LazyGroup(name=cmd_name, help=_LAZY_GROUPS[cmd_name][1])
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _InterruptedError(str(error) or "interrupted") from None


app = typer.Typer(
    name="palladion",
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(score.app, name="score")
app.command(name="evaluate")(evaluate.evaluate)
app.command(name="predict")(predict.predict)
app.command(name="restore")(restore.restore)
app.command(name="doctor")(doctor.doctor)
app.command(name="inspect")(inspect.inspect)
app.command(name="login")(login.login)
app.command(name="register")(login.register)
app.command(name="logout")(login.logout)
app.command(name="whoami")(login.whoami)
app.command(name="submit")(submit.submit)
app.command(name="status")(status.status)
app.command(name="leaderboard")(leaderboard.leaderboard)
app.command(name="download")(download.download)
app.command(name="serve")(serve.serve)
app.command(name="worker")(worker.worker)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"palladion {__version__}")
        raise typer.Exit


@app.callback()
def _palladion(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Trojan-detection and backdoor-mitigation challenges: build rounds, evaluate methods, score them honestly."""


def main() -> None:
    """Run the command line and exit: 0 well, 2 for what the user gave, 1 for other faults, 130 for Ctrl-C."""
    try:
        app(prog_name="palladion")
    except PalladionError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except BrokenPipeError:
        # Whoever read has read enough. Without this, Python complains once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        _fail(f"{error.filename}: {error.strerror}", 1)


def _fail(message: str, code: int) -> None:
    print(f"palladion: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(code)
