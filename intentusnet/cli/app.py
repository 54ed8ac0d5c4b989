"""The frame of the command line: shared options, the table of commands, and where errors end.

How a command is written. It has a file of its own, a line in `COMMANDS`, and looks like this::

    @click.command("agents")
    @shared_options("app")                      # --store, --app, --policy as named; the others come with it
    @click.argument("name", required=False)
    @pass_invocation
    def command(invocation: Invocation, name: str | None) -> int | None:
        '''What is registered.                  (the sentence of the table)

        More for --help.
        '''
        runtime = invocation.runtime()          # the app with the store and policy of the settings
        out = invocation.output                 # out.table? out.json(tree), out.rows(trees), out.print(…)
        return 0                                # the exit code; None is 0

The attribute is always called ``command``; a group (``policy check``) is a `click.Group` whose commands are
decorated in the same way. The module is imported only when its command is run or its help is asked for, so it
may import at its top what it needs. JSON arguments are read by `payload.read_payload`, records by
`records.load_record`.

Errors are raised, never printed: an `IntentusError` ends as a message on stderr and its ``exit_code``, a
`click.UsageError` as one with the usage and 2. Nobody but `Frame.main` ends the process.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO, TypeVar

import click

# Commands take it from here, with the rest of what they are made of.
from intentusnet.cli.suggest import did_you_mean as did_you_mean  # noqa: PLC0414 - so that it is re-exported
from intentusnet.errors import ConfigurationError, IntentusError

if TYPE_CHECKING:
    from intentusnet.cli.output import Output
    from intentusnet.cli.settings import Settings
    from intentusnet.runtime import IntentusRuntime
    from intentusnet.stores.base import ExecutionStore

F = TypeVar("F", bound=Callable[..., Any])

#: Name, module under ``intentusnet.cli``, and the one line of help: that list needs no module to be imported.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "route": ("route", "Route an intent to an agent and record what happens."),
    "list": ("listing", "List executions, newest first."),
    "show": ("show", "Show one execution: request, plan, questions and answers, outcome."),
    "stats": ("stats", "Sum up executions and their usage by intent, agent, caller, tenant and status."),
    "retrieve": ("retrieve", "Print a recorded response after checking its bytes; runs nothing."),
    "replay": ("replay", "Run executions again from their record and compare everything."),
    "records": ("pick", "Keep portable records: a small corpus from a large log."),
    "cancel": ("cancel", "Cancel an execution that is under way, and those that it asks for."),
    "recover": ("recover", "List interrupted executions and what may be done; resume, or say what happened."),
    "resume": ("resume", "Go on with an interrupted execution, in the same record."),
    "fork": ("fork", "Give a recorded question another answer, and go on live as a new execution."),
    "diff": ("diff", "Show what differs between two executions."),
    "verify": ("verify", "Check that a log or a record is what was written."),
    "repair": ("repair", "Make a log of what is good of a damaged one, and keep the original."),
    "seal": ("seal", "Seal the log's last segment, and compress what is sealed."),
    "prune": ("prune", "Remove what nothing needs: blobs that no entry names, and what a crash left behind."),
    "agents": ("agents", "List the registered agents, or show one of them."),
    "validate": ("validate", "Check envelope and policy files."),
    "policy": ("policy", "Check a policy, explain and test it, and try another one on the log."),
    "doctor": ("doctor", "Look at the installation's health, or for what agents read behind the record."),
    "config": ("config", "Show the settings and where they come from."),
    "demo": ("demo", "Write a small app, use it, and replay and verify what was recorded."),
}

FORMATS: Final = ("table", "json", "jsonl")
INTERRUPTED: Final = 130
#: What a shell says of a process that SIGPIPE ended.
BROKEN_PIPE: Final = 141


@dataclass
class Invocation:
    """One call of the command line: what was chosen by options, and what the settings make of it; mutable.

    Options may stand before the command's name and after it; the later one wins.
    """

    store: str | None = None
    app: str | None = None
    policy: str | None = None
    format: str | None = None
    color: str | None = None
    quiet: bool = False
    verbosity: int = 0

    @cached_property
    def output(self) -> Output:
        """How this call prints."""
        from intentusnet.cli.output import Output

        return Output(self.format, self.color, quiet=self.quiet, verbosity=self.verbosity)

    @cached_property
    def settings(self) -> Settings:
        """What is in force, and where it comes from."""
        from intentusnet.cli.settings import resolve_settings

        return resolve_settings(store=self.store, app=self.app, policy=self.policy)

    def runtime(self) -> IntentusRuntime:
        """The app's runtime, with the store and the policy of the settings.

        Raises:
            AppNotLoaded: there is no app, or it cannot be loaded.
            ConfigurationError: the policy cannot be used.
        """
        from intentusnet.cli.settings import configured_runtime

        with self.foreign_code():
            return configured_runtime(self.settings)

    def open_store(self) -> ExecutionStore:
        """The store that the settings name, or the app's own; reading it creates nothing.

        Raises:
            AppNotLoaded: an app is set and no store, and the app cannot be loaded.
        """
        from intentusnet.cli.settings import configured_store

        with self.foreign_code():
            return configured_store(self.settings)

    @contextlib.contextmanager
    def foreign_code(self) -> Iterator[None]:
        """While it lasts, what other people's code prints goes to stderr: stdout is for data."""
        out = self.output  # holds on to the real stdout
        with contextlib.redirect_stdout(sys.stderr), _descriptor_redirected(out.stdout, out.stderr):
            yield


@contextlib.contextmanager
def _descriptor_redirected(stream: TextIO, to: TextIO) -> Iterator[None]:
    """What goes past a stream to its descriptor, as from child processes and C libraries, goes elsewhere."""
    try:
        number, instead = stream.fileno(), to.fileno()
    except (OSError, ValueError):  # it is no file, as in tests
        yield
        return
    stream.flush()
    kept = os.dup(number)
    try:
        os.dup2(instead, number)
        yield
    finally:
        os.dup2(kept, number)
        os.close(kept)


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)


class Words(click.Choice[str]):
    """A choice of words that says which one may have been meant."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        message = f"{value!r} is not one of {', '.join(self.choices)}."
        return message + did_you_mean(str(value), self.choices)


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    invocation = ctx.ensure_object(Invocation)
    assert param.name is not None
    if value is None or value is False or value == 0:
        return
    setattr(invocation, param.name, invocation.verbosity + value if param.name == "verbosity" else value)
    if invocation.quiet and invocation.verbosity:
        raise click.UsageError("-q and -v exclude each other.", ctx)


def _option(*names: str, **more: Any) -> Callable[[F], F]:
    return click.option(*names, callback=_keep, expose_value=False, **more)


def _format_option(formats: Sequence[str]) -> Callable[[F], F]:
    return _option("--format", type=Words(formats), help="[default: table on a terminal, else json]")


_SHARED: Final[dict[str, Callable[[Any], Any]]] = {
    "store": _option(
        "--store", metavar="DIR", help="Where records are.  [env: INTENTUSNET_STORE; default: .intentusnet]"
    ),
    "app": _option(
        "--app",
        metavar="MODULE:ATTR",
        help="The runtime, or a function that makes it.  [env: INTENTUSNET_APP]",
    ),
    "policy": _option("--policy", metavar="FILE", help="The policy in force.  [env: INTENTUSNET_POLICY]"),
    "format": _format_option(FORMATS),
    "color": _option(
        "--color", type=Words(("auto", "always", "never")), help="[default: auto; env: NO_COLOR]"
    ),
    "quiet": _option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors."),
    "verbosity": _option("-v", "--verbose", "verbosity", count=True, help="Say more; twice: tracebacks."),
}
_ALWAYS: Final = ("format", "color", "quiet", "verbosity")


def shared_options(*names: str, formats: Sequence[str] = ()) -> Callable[[F], F]:
    """Adds options that several commands have, below the command's own.

    Args:
        names: of "store", "app" and "policy" those that mean something to the command. ``--format``,
            ``--color``, ``-q`` and ``-v`` always come with them.
        formats: what the command can print besides what all can.
    """
    options = {**_SHARED, "format": _format_option((*FORMATS, *formats))} if formats else _SHARED

    def decorated(function: F) -> F:
        own = list(getattr(function, "__click_params__", ()))
        function.__dict__["__click_params__"] = []
        for name in reversed((*names, *_ALWAYS)):
            function = options[name](function)
        # Click lists parameters last one first; the command's own are to be listed before the shared ones.
        function.__dict__["__click_params__"] += own
        return function

    return decorated


class Frame(click.Group):
    """The group of all commands: imports them late, and is where every error ends."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"intentusnet.cli.{COMMANDS[cmd_name][0]}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"There is no command {args[0]!r}.{did_you_mean(args[0], list(COMMANDS))}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
            return code
        except BrokenPipeError:
            # Whoever read has gone, and what is still in the buffer must not be an error at exit.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(BROKEN_PIPE) from None

    def main(  # type: ignore[override]  # the overloads of click tell by standalone_mode what this always does
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Runs a command and ends the process; the one place where errors are printed."""
        invocation = Invocation()
        extra.pop("standalone_mode", None)
        try:
            code = super().main(
                args, prog_name or "intentusnet", standalone_mode=False, obj=invocation, **extra
            )
            sys.exit(code if isinstance(code, int) else 0)
        except Exception as fault:  # noqa: BLE001 - whatever it is, a person gets a message and a program a code
            sys.exit(_report(fault, invocation))


def _report(fault: Exception, invocation: Invocation) -> int:
    """Prints what went wrong, and says with which exit code the process ends."""
    from intentusnet.cli.output import Output

    out = Output(None, invocation.color, quiet=False, verbosity=0)
    if isinstance(fault, click.Abort):
        out.fault("interrupted")
        return INTERRUPTED
    if isinstance(fault, click.ClickException):
        ctx = getattr(fault, "ctx", None)
        usage = ctx.get_usage().removeprefix("Usage: ") if ctx is not None else ""
        hint = f"`{ctx.command_path} --help` says more" if ctx is not None else ""
        out.fault(fault.format_message().rstrip("."), {"usage": usage, "hint": hint})
        return 2
    if invocation.verbosity > 1:
        import traceback

        out.stderr.write("".join(traceback.format_exception(fault)))
    if isinstance(fault, IntentusError):
        out.error(fault)
        return fault.exit_code
    if isinstance(fault, OSError):
        out.fault(f"the system refuses: {fault.strerror or fault}", {"where": str(fault.filename or "")})
        return ConfigurationError.exit_code
    more = "" if invocation.verbosity > 1 else "-vv prints the traceback; please report it"
    out.fault(f"internal error: {type(fault).__name__}: {fault}", {"hint": more})
    return 1


_EXIT_CODES: Final = """\b
Exit codes: 0 yes; 1 no (diverged, differs, would deny); 2 usage or invalid input;
3 no agent; 4 agent failed; 5 denied by policy; 10 record not found; 11 not replayable;
12 configuration or app cannot be loaded; 13 integrity broken; 14 in doubt; 130 interrupted.
"""


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"intentusnet {version('intentusnet')}")
        ctx.exit()


@click.group(
    "intentusnet",
    cls=Frame,
    epilog=_EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@shared_options("store", "app", "policy")
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
def cli() -> None:
    """Deterministic router and flight recorder for systems of agents and tools.

    Data goes to stdout, everything else to stderr. Executions are named by their id, by any unique beginning
    or end of it, or as @last, @last~1. Payloads are JSON, @file, or - for stdin.
    """
