"""The command line, ``mycelia-storage``: parse, call, print. One module for each family of commands.

===========  =====================================================================
exit code    meaning
===========  =====================================================================
0            done
1            not found, some lines bad, or the storage failed; one line on stderr
2            usage: a bad option, argument, filter, key, namespace or address
130          interrupted
141          the reader of the output went away
===========  =====================================================================

A module is imported when its command is called, and a backend's driver when a storage is opened.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final, NoReturn

import click

from .. import __version__
from ..errors import InvalidInput, StorageError
from .output import visible

EXIT_INTERRUPTED: Final = 130
EXIT_BROKEN_PIPE: Final = 141

#: Each command and the module that has it, in the order of the help.
COMMANDS: Final = {
    "load": "loading",
    "dump": "dumping",
    "get": "entries",
    "set": "entries",
    "delete": "entries",
    "list": "reading",
    "query": "reading",
    "count": "reading",
    "namespaces": "namespaces",
    "index": "indexes",
    "remember": "memories",
    "recall": "memories",
    "eval": "evaluating",
    "graph": "graphs",
    "migrate": "migrate",
    "status": "care",
    "check": "care",
    "backup": "care",
    "watch": "watching",
    "copy": "copying",
    "shards": "shards",
}


class CommandLine(click.Group):
    """A group that imports each command when it is called and turns errors into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        home = COMMANDS.get(cmd_name)
        if home is None:
            return None
        found = getattr(import_module(f"{__name__}.{home}"), f"{cmd_name}_command")
        assert isinstance(found, click.Command)
        return found

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(EXIT_INTERRUPTED)
        except BrokenPipeError:
            _end_broken_pipe(ctx)
        except InvalidInput as error:
            _fail(ctx, str(error), 2)
        except StorageError as error:
            _fail(ctx, str(error) or type(error).__name__, 1)
        except OSError as error:
            if error.errno == errno.EPIPE:
                _end_broken_pipe(ctx)
            _fail(ctx, f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)
        return result


def _fail(ctx: click.Context, message: str, code: int) -> NoReturn:
    click.echo(f"Error: {visible(message)}", err=True)
    ctx.exit(code)


def _end_broken_pipe(ctx: click.Context) -> NoReturn:
    # What is still buffered has nowhere to go; without this Python complains about it at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    ctx.exit(EXIT_BROKEN_PIPE)


@click.group(cls=CommandLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mycelia-storage")
def cli() -> None:
    """Embedded, namespaced key-value storage for AI agents.

    Every command takes the storage from --db or MYCELIA_DB: a file, or a URL such as sqlite:///agent.db.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The program: runs the command line and exits."""
    cli.main(args=arguments, prog_name="mycelia-storage")
    sys.exit(0)
