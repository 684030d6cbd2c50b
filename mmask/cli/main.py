"""The ``mmask`` command: a table of commands that imports none of them, and the way errors are shown."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence

import click

from mmask import __version__
from mmask.cli.lazy import LazyGroup
from mmask.cli.session import Session
from mmask.errors import MmaskError, UsageError

TABLE = {
    "train": ("mmask.cli.train:command", "Pretrain an encoder; the same command again continues the run."),
    "plan": ("mmask.cli.plan:command", "What a run would do: steps, learning rate, parameters, memory."),
    "recipes": ("mmask.cli.recipes:command", "The recipes that are installed."),
    "recipe": ("mmask.cli.recipe:command", "Every key of a recipe, its value, and where that came from."),
    "components": ("mmask.cli.components:command", "Maskers, heads, losses ...: what recipes are made of."),
    "data": ("mmask.cli.data:command", "Pack, index, inspect and check shards."),
    "mask": ("mmask.cli.mask:command", "Draw mask plans as a picture."),
    "embed": ("mmask.cli.embed:command", "Write encoder features of a data set."),
    "export": ("mmask.cli.export:command", "A run's encoder in another library's form, compared there."),
    "import": ("mmask.cli.bring:command", "Another codebase's checkpoint as a run."),
    "eval": ("mmask.cli.eval:command", "Judge an encoder on labelled shards: knn, linear, attentive, finetune."),
    "report": ("mmask.cli.report:command", "Write the report of a run again."),
    "verify-resume": ("mmask.cli.verify:command", "Prove that a run continues where it stopped."),
    "certify": ("mmask.cli.certify:command", "Compare a recipe's first steps with those its author saw."),
    "bench": ("mmask.cli.bench:command", "Measure a recipe's speed and memory on this machine."),
    "plugins": ("mmask.cli.plugins:command", "Installed plugins: origin, version, state and what is wrong."),
    "doctor": ("mmask.cli.doctor:command", "Check this installation and every plugin."),
    "new": ("mmask.cli.new:command", "Write a new plugin package."),
}

EXIT_INTERRUPTED = 130


@click.group(
    cls=LazyGroup, table=TABLE,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="mmask", message="%(prog)s %(version)s")
def cli() -> None:
    """Pretrain encoders by hiding part of the input and predicting it, on any modality.

    \b
    mmask recipes                             what can be trained
    mmask train --recipe NAME                 train on the sample data of its plugin
    mmask train --recipe NAME --data URL      train on your own shards
    """


def main(argv: Sequence[str] | None = None, session: Session | None = None) -> None:
    """Run a command and exit with its code. A mistake of the user's never shows a traceback."""
    code = run(argv, session)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # Gloo's threads may abort a process while it is taken down (torch 2.14), and torchrun would then call a run
        # failed that has written everything. Nothing is left to do here, so nothing is taken down.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run(argv: Sequence[str] | None = None, session: Session | None = None) -> int:
    """Run a command -> its exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        code = cli.main(args=args, prog_name="mmask", standalone_mode=False, obj=session or Session())
        return code if isinstance(code, int) else 0
    except MmaskError as error:
        _show(error)
        return error.exit_code
    except click.ClickException as error:
        _usage(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("mmask: interrupted", err=True)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # ``mmask recipes | head``
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _place(error) or _crash(error, args)


# Places a user named that cannot be read or written; anything else about files is the program's own fault.
_PLACES = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EISDIR, errno.ENOTDIR,
    errno.ENAMETOOLONG,
}


def _place(error: Exception) -> int:
    """A path or a disk that does not do -> exit code of a wrong path; 0 when it is nothing of the kind."""
    if not isinstance(error, OSError) or error.errno not in _PLACES:
        return 0
    if _traced():
        traceback.print_exception(error)
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    click.echo(f"mmask: {where}{error.strerror}\n  choose another place, or change its rights or room", err=True)
    return UsageError.exit_code


def _show(error: MmaskError) -> None:
    if _traced():
        traceback.print_exception(error)
    click.echo(f"mmask: {error}", err=True)


def _usage(error: click.ClickException) -> None:
    if _traced():
        traceback.print_exception(error)
    where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "mmask"
    message = error.format_message()
    click.echo(f"mmask: {message[:1].lower()}{message[1:]}\n  see {where} --help", err=True)


def _crash(error: Exception, args: list[str]) -> int:
    """A fault of the program: one line, and the traceback in a file that can be sent."""
    if _traced():
        traceback.print_exception(error)
    text = f"mmask {__version__}, Python {sys.version}\nmmask {' '.join(args)}\n\n"
    with tempfile.NamedTemporaryFile("w", prefix="mmask-crash-", suffix=".txt", delete=False) as file:
        file.write(text + "".join(traceback.format_exception(error)))
    click.echo(
        f"mmask: crashed: {type(error).__name__}: {error}\n"
        f"  this is a fault of mmask or of a plugin, not yours; please report it with {file.name}\n"
        "  MMASK_TRACEBACK=1 shows the traceback here", err=True,
    )
    return 1


def _traced() -> bool:
    return os.environ.get("MMASK_TRACEBACK", "") not in ("", "0")


if __name__ == "__main__":
    main()
