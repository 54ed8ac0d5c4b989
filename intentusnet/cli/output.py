"""How the command line prints: data on stdout, everything else on stderr.

Three formats. ``json`` is one compact line, ``jsonl`` one line for each item, ``table`` is for people. Tables
are rich's; whatever users wrote goes through `text`, so that neither markup nor control characters of theirs
reach the terminal. Machine formats are UTF-8 whatever the locale says.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TextIO

import orjson

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

    from intentusnet.errors import IntentusError

#: Told of how much is done, and how much there is (0 if that is not known).
Advance = Callable[[int, int], None]

#: Colours of the words that say how something went.
STYLES: Final[Mapping[str, str]] = {
    "success": "green",
    "match": "green",
    "ok": "green",
    "equal": "green",
    "allowed": "green",
    "error": "red",
    "diverged": "red",
    "broken": "red",
    "denied": "red",
    "differs": "red",
    "interrupted": "yellow",
    "not_replayable": "yellow",
}

# Control characters, line and paragraph separators, marks that turn the direction of text, lone surrogates.
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_REFRESH_S: Final = 0.1
#: JSON of that many characters stays on one line.
_LINE: Final = 60
# What stands where one of two trees has nothing; see replay/differences.py.
_ABSENT: Final = {"$absent": True}
_FAULT_STYLE: Final = "bold red"


class Output:
    """Where a command prints; holds on to the stdout and stderr that it was made with.

    Args:
        format: "table", "json" or "jsonl"; None: table on a terminal, else json.
        color: "auto", "always" or "never"; None is auto.
        quiet: nothing but errors goes to stderr.
        verbosity: how often -v was given.
    """

    def __init__(self, format: str | None, color: str | None, *, quiet: bool, verbosity: int) -> None:
        self.stdout: TextIO = sys.stdout
        self.stderr: TextIO = sys.stderr
        self.format = format or ("table" if self.stdout.isatty() else "json")
        self.quiet = quiet
        self.verbosity = verbosity
        self._color = color or "auto"
        self._bar_shows = False

    @property
    def table(self) -> bool:
        """Whether a person reads stdout."""
        return self.format == "table"

    @cached_property
    def console(self) -> Console:
        """Where tables go."""
        return self._console(self.stdout)

    @cached_property
    def errors(self) -> Console:
        """Where everything goes that is no data."""
        return self._console(self.stderr)

    def json(self, tree: Any) -> None:
        """One line of JSON on stdout; ``tree`` is a raw tree."""
        self._write(encoded(tree) + b"\n")

    def line(self, line: str) -> None:
        """A line on stdout, as it is."""
        self._write(f"{line}\n".encode())

    def rows(self, trees: Iterable[Any]) -> None:
        """Items on stdout: an array in json, a line each in jsonl."""
        if self.format == "jsonl":
            for tree in trees:
                self.json(tree)
        else:
            self.json(list(trees))

    def print(self, *renderables: RenderableType) -> None:
        """Renderables of rich on stdout, below each other; strings are taken as they are, not as markup."""
        from rich.text import Text

        self._clear_bar()
        for renderable in renderables:
            with self.console.capture() as captured:
                self.console.print(Text(renderable) if isinstance(renderable, str) else renderable)
            # Tables are padded to their width, which is in the way of whoever copies from them.
            self.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
        self.stdout.flush()

    def note(self, message: str) -> None:
        """Something worth knowing, on stderr, unless -q was given."""
        if not self.quiet:
            self._say(message, "")

    def warn(self, message: str) -> None:
        """Something to look into, on stderr, unless -q was given."""
        if not self.quiet:
            self._say(message, "yellow")

    def detail(self, message: str) -> None:
        """Something that only -v asks for, on stderr."""
        if self.verbosity:
            self._say(message, "dim")

    def error(self, error: IntentusError) -> None:
        """An error of ours, on stderr."""
        from intentusnet.cli.places import others_of

        parts = error.as_dict()
        del parts["code"]
        parts |= others_of(error)
        self.fault(parts.pop("message"), parts)

    def fault(self, message: str, parts: Mapping[str, str] | None = None) -> None:
        """An error, on stderr: what happened, and below it where, expected, got, hint, where there is any."""
        from rich.text import Text

        self._clear_bar()
        head = Text("Error: ", style=_FAULT_STYLE)
        head.append(lines(message), style="bold")
        with contextlib.suppress(BrokenPipeError):
            self.errors.print(head, soft_wrap=not self.errors.is_terminal)
            told = [(name, part) for name, part in (parts or {}).items() if part]
            if told and self.errors.is_terminal:
                self.errors.print(fields(told))
            else:
                for name, part in told:
                    self.errors.print(Text(f"  {name:<8}  {lines(part, indent=12)}"), soft_wrap=True)

    @property
    def shows_progress(self) -> bool:
        """Whether a bar is shown: stderr is a terminal, and -q was not given."""
        return not self.quiet and self.stderr.isatty()

    @contextlib.contextmanager
    def progress(self, title: str, unit: str = "") -> Iterator[Advance]:
        """A bar on stderr while it lasts, if stderr is a terminal and -q was not given.

        Args:
            title: what is going on.
            unit: of the numbers; "bytes" shows them as such.

        Yields:
            What is to be told of how much is done, and how much there is.
        """
        if not self.shows_progress:
            yield lambda done, total: None
            return
        from rich import progress

        bar = progress.Progress(
            progress.TextColumn(title),
            progress.BarColumn(),
            progress.DownloadColumn() if unit == "bytes" else progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
            console=self.errors,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        task = bar.add_task(title, total=None)
        due = 0.0

        def advance(done: int, total: int) -> None:
            nonlocal due
            now = time.monotonic()
            bar.update(task, completed=done, total=total or None)
            if now >= due:
                bar.refresh()
                self._bar_shows, due = True, now + _REFRESH_S

        with bar:
            self._bar_shows = True
            yield advance
        self._bar_shows = False

    def _write(self, data: bytes) -> None:
        self._clear_bar()
        buffer = getattr(self.stdout, "buffer", None)
        if buffer is None:
            self.stdout.write(data.decode())
        else:
            self.stdout.flush()
            buffer.write(data)
        if self.stdout.isatty():
            self.stdout.flush()

    def _say(self, message: str, style: str) -> None:
        from rich.text import Text

        self._clear_bar()
        self.errors.print(Text(lines(message), style=style), soft_wrap=not self.errors.is_terminal)

    def _clear_bar(self) -> None:
        # The bar is one line, and what is printed takes its place; the next refresh draws it again below.
        if self._bar_shows:
            self.stderr.write("\r\x1b[2K")
            self.stderr.flush()
            self._bar_shows = False

    def _console(self, file: TextIO) -> Console:
        from rich.console import Console

        colorful = self._colorful(file)
        # Without it, a locale that lacks a character would end the command.
        reconfigure = getattr(file, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
        return Console(
            file=file,
            force_terminal=True if colorful else None,
            color_system="standard" if colorful else None,
            no_color=not colorful,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def _colorful(self, file: TextIO) -> bool:
        if self._color != "auto":
            return self._color == "always"
        return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and file.isatty()


def encoded(tree: Any) -> bytes:
    """The JSON of a raw tree; text that no UTF-8 can hold, as in odd file names, is spelt out."""
    try:
        return orjson.dumps(tree)
    except (orjson.JSONEncodeError, TypeError):
        return orjson.dumps(_spelt_out(tree))


def _spelt_out(tree: Any) -> Any:
    if isinstance(tree, str):
        return tree.encode("utf-8", "backslashreplace").decode()
    if isinstance(tree, Mapping):
        return {_spelt_out(key): _spelt_out(item) for key, item in tree.items()}
    if isinstance(tree, list | tuple):
        return [_spelt_out(item) for item in tree]
    return tree


def text(value: object) -> str:
    """Somebody's text as one line that is safe to print: what is not printable is spelt out as in Python."""
    return _UNPRINTABLE.sub(lambda match: repr(match[0])[1:-1], str(value))


def lines(value: str, indent: int = 0) -> str:
    """As `text`, but line breaks stay; lines after the first are indented."""
    return ("\n" + " " * indent).join(text(line) for line in value.splitlines() or [""])


def styled(word: object, style: str | None = None) -> Text:
    """Somebody's text in a style; without one, in the style of what it says (see `STYLES`)."""
    from rich.text import Text

    shown, made = text(word), Text()
    # As a span: what is appended to the text does not take its style.
    return made.append(shown, STYLES.get(shown, "") if style is None else style)


def inline(tree: Any, most: int = 200) -> str:
    """A raw tree as one line of compact JSON of at most that many characters."""
    # Nobody has to look at every byte of a large value for this; a character has four at most.
    shown = text(encoded(tree)[: 4 * most + 4].decode(errors="ignore"))
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def pretty(tree: Any) -> Text:
    """A raw tree as indented JSON; what is short stays on one line."""
    from rich.text import Text

    return Text("\n".join(text(line) for line in _indented(tree, "")))


def _indented(tree: Any, indent: str) -> list[str]:
    short = encoded(tree).decode()
    if len(short) + len(indent) <= _LINE or not tree or not isinstance(tree, Mapping | list | tuple):
        return [indent + short]
    inner = indent + "  "
    if not isinstance(tree, Mapping):
        made = _packed(tree, inner)
        begin, end = "[", "]"
    else:
        made = []
        for key, item in tree.items():
            below = _indented(item, inner)
            below[0] = f"{inner}{encoded(key).decode()}: {below[0].lstrip(' ')}"
            made.append(below)
        begin, end = "{", "}"
    for below in made[:-1]:
        below[-1] += ","
    return [indent + begin, *(line for below in made for line in below), indent + end]


def _packed(items: Iterable[Any], indent: str) -> list[list[str]]:
    """The lines of each item of an array; those of short ones share a line."""
    made: list[list[str]] = []
    for item in items:
        below = _indented(item, indent)
        beside = made and len(made[-1]) == len(below) == 1 and not isinstance(item, Mapping | list)
        if beside and len(made[-1][0]) + len(below[0]) - len(indent) < _LINE:
            made[-1][0] += ", " + below[0][len(indent) :]
        else:
            made.append(below)
    return made


def fields(pairs: Iterable[tuple[str, object]]) -> Table:
    """Names and values below each other; values are text, or renderables of rich."""
    from rich.protocol import is_renderable
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        shown: Any = value if is_renderable(value) and not isinstance(value, str) else Text(lines(str(value)))
        grid.add_row(Text(f"  {name}"), shown)
    return grid


def value_at(tree: Any) -> Text:
    """One of two raw trees that were compared: `pretty`, or that there is nothing."""
    return styled("(nothing)", "dim") if tree == _ABSENT else pretty(tree)


def listing(*columns: str, right: Iterable[str] = (), title: str | None = None) -> Table:
    """An empty table in the house style; add rows of strings that went through `text`, or `Text`.

    Args:
        columns: the heads.
        right: those whose cells stand to the right, as numbers do.
        title: a line above it.
    """
    from rich import box
    from rich.table import Table

    made = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        header_style="bold",
        title=title,
        title_justify="left",
    )
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def moment(time_us: int) -> str:
    """A point in time for people: UTC, to the second."""
    return datetime.fromtimestamp(time_us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def span(duration_us: int | None) -> str:
    """A duration for people, three digits of it."""
    if duration_us is None:
        return "-"
    for unit, size in (("s", 1_000_000), ("ms", 1_000)):
        if duration_us >= size:
            count = duration_us / size
            return f"{count:.{2 if count < 10 else 1 if count < 100 else 0}f} {unit}"
    return f"{duration_us} µs"
