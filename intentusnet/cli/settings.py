"""What the options, the environment and the project file mean together, and how an app is loaded.

An option wins over the environment, the environment over ``[tool.intentusnet]`` of the nearest
``pyproject.toml`` upward, that over the default. Relative paths in a project file are relative to that file.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import tomllib
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from intentusnet.cli.suggest import did_you_mean
from intentusnet.errors import AppNotLoaded, ConfigurationError, IntentusError, InvalidPolicy

if TYPE_CHECKING:
    from intentusnet.policy import CompiledPolicy
    from intentusnet.replay.ignoring import Ignore
    from intentusnet.runtime import IntentusRuntime
    from intentusnet.stores.base import ExecutionStore

DEFAULT_STORE: Final = ".intentusnet"
KEYS: Final = ("store", "app", "policy")
#: Keys whose values are paths.
_PATHS: Final = ("store", "policy")
_APP_EXAMPLE: Final = "module:attribute, such as shop.agents:runtime"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        name: "store", "app" or "policy".
        value: None if it is not set.
        source: where it comes from: the option, the variable, the file, or "default".
    """

    name: str
    value: str | None
    source: str

    @property
    def is_set(self) -> bool:
        """Whether somebody chose it."""
        return self.source != "default"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that is in force.

    Attributes:
        store, app, policy: the settings.
        project: the project file that was read, if one was found.
    """

    store: Setting
    app: Setting
    policy: Setting
    project: Path | None


def resolve_settings(
    *,
    store: str | None = None,
    app: str | None = None,
    policy: str | None = None,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Settings:
    """Finds out what is in force.

    Args:
        store, app, policy: the options, where they were given.
        environ: the process's own environment unless given.
        directory: where the search for the project file begins; the current directory unless given.

    Raises:
        ConfigurationError: the project file cannot be read, or its table is malformed.
    """
    environ = os.environ if environ is None else environ
    project, table = _project(directory or Path.cwd())
    options = {"store": store, "app": app, "policy": policy}

    def chosen(name: str) -> Setting:
        variable = f"INTENTUSNET_{name.upper()}"
        if options[name] is not None:
            return Setting(name, options[name], f"--{name}")
        if environ.get(variable):
            return Setting(name, environ[variable], variable)
        if name in table:
            return Setting(name, table[name], str(project))
        return Setting(name, DEFAULT_STORE if name == "store" else None, "default")

    return Settings(chosen("store"), chosen("app"), chosen("policy"), project)


def _project(directory: Path) -> tuple[Path | None, dict[str, str]]:
    """The nearest project file upward that has a table of ours, and that table with absolute paths."""
    for folder in (directory, *directory.parents):
        path = folder / "pyproject.toml"
        if not path.is_file():
            continue
        try:
            tree = tomllib.loads(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
            raise ConfigurationError(
                "the project file cannot be read",
                where=str(path),
                got=getattr(fault, "strerror", None) or str(fault),
            ) from fault
        tool = tree.get("tool")
        if isinstance(tool, dict) and "intentusnet" in tool:
            return path, _checked(path, tool["intentusnet"])
        return None, {}
    return None, {}


def _checked(path: Path, table: object) -> dict[str, str]:
    where = f"{path}, [tool.intentusnet]"
    if not isinstance(table, dict):
        raise ConfigurationError("the settings are no table", where=where, got=repr(table)[:80])
    for key, value in table.items():
        if key not in KEYS:
            raise ConfigurationError(
                f"there is no setting {key!r}",
                where=where,
                expected=", ".join(KEYS),
                hint=did_you_mean(key, KEYS).strip(),
            )
        if not isinstance(value, str) or not value:
            raise ConfigurationError(
                f"the setting {key!r} makes no sense", where=where, expected="text", got=repr(value)[:80]
            )
    return {key: str(path.parent / value) if key in _PATHS else value for key, value in table.items()}


def configured_runtime(settings: Settings) -> IntentusRuntime:
    """The app's runtime with the store and the policy of the settings.

    Without a store in the settings the app keeps its own; if it has none, the default store is used.

    Raises:
        AppNotLoaded: no app is set, or it cannot be loaded.
        ConfigurationError: the policy cannot be used.
    """
    runtime = load_app(settings)
    store = settings.store.value if settings.store.is_set or runtime.store is None else None
    policy = None if settings.policy.value is None else configured_policy(settings)
    return runtime if store is None and policy is None else runtime.configure(store=store, policy=policy)


def configured_store(settings: Settings) -> ExecutionStore:
    """The store of the settings, else the app's own, else the default one.

    Raises:
        AppNotLoaded: an app is set, no store is, and the app cannot be loaded.
    """
    from intentusnet.stores.file import FileExecutionStore

    if not settings.store.is_set and settings.app.value is not None:
        own = load_app(settings).store
        if own is not None:
            return own
    assert settings.store.value is not None
    return FileExecutionStore(settings.store.value, create=False)


def configured_policy(settings: Settings) -> CompiledPolicy:
    """The policy of the settings.

    Raises:
        ConfigurationError: the file cannot be read, or is malformed.
    """
    from intentusnet.policy import compile_policy, load_policy

    assert settings.policy.value is not None
    try:
        return compile_policy(load_policy(settings.policy.value))
    except InvalidPolicy as fault:
        raise ConfigurationError(
            f"the policy cannot be used: {fault.message}",
            where=fault.where,
            expected=fault.expected,
            got=fault.got,
            hint=fault.hint or "`intentusnet policy check` names every fault",
        ) from fault


def ignore_of(places: Iterable[str], where: str) -> Ignore:
    """The places that a replay does not compare, from text.

    Args:
        places: each a place, as ``/payload/at`` or ``response:/payload/at``; before it may stand a glob over
            intents and an equals sign: ``ticket.*=/payload/at``.
        where: where they stand, for messages.

    Raises:
        InvalidInput: one of them makes no sense.
    """
    from intentusnet.replay.ignoring import parse_ignore

    rules: dict[str, list[str]] = {}
    for text in places:
        # An equals sign behind the first slash is part of a key.
        glob, equals, place = text.partition("=")
        named = equals and "/" not in glob
        rules.setdefault(glob if named else "*", []).append(place if named else text)
    return parse_ignore(rules, where)


def load_app(settings: Settings) -> IntentusRuntime:
    """Imports the app and returns its runtime.

    Raises:
        AppNotLoaded: no app is set; or it cannot be imported, lacks the attribute, or that is no runtime.
    """
    from intentusnet.runtime import IntentusRuntime

    setting = settings.app
    if setting.value is None:
        raise AppNotLoaded(
            "no app is set",
            expected=_APP_EXAMPLE,
            hint="Name it by --app, by INTENTUSNET_APP, or as `app` in [tool.intentusnet] of pyproject.toml.",
        )
    module_name, colon, attribute = setting.value.partition(":")
    names = [*module_name.split("."), *attribute.split(".")]
    file = module_name.endswith(".py") or "/" in module_name or os.sep in module_name
    if file or not colon or not all(name.isidentifier() for name in names):
        raise AppNotLoaded(
            f"{setting.value!r} names no app",
            where=setting.source,
            expected=_APP_EXAMPLE,
            hint="Name the module as in an import, not its file." if file else "",
        )
    module = _imported(module_name, setting, settings.project)
    found = _attribute(module, attribute, setting)
    if isinstance(found, IntentusRuntime):
        return found
    return _made(found, setting)


def _imported(name: str, setting: Setting, project: Path | None) -> ModuleType:
    folders = [str(Path.cwd())] + ([str(project.parent)] if project is not None else [])
    for folder in reversed(folders):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as fault:
        if fault.name is not None and (name == fault.name or name.startswith(fault.name + ".")):
            raise AppNotLoaded(
                f"there is no module {fault.name!r}",
                where=setting.source,
                expected="a module in " + " or ".join(dict.fromkeys(folders)) + ", or an installed one",
                hint=did_you_mean(
                    name, [path.stem for folder in folders for path in Path(folder).glob("*.py")]
                ).strip(),
            ) from fault
        raise _raised("the app cannot be imported", fault) from fault
    except (Exception, SystemExit) as fault:  # an app's module may raise anything
        raise _raised("the app cannot be imported", fault) from fault


def _attribute(module: ModuleType, attribute: str, setting: Setting) -> Any:
    found: Any = module
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as fault:
            known = [other for other in dir(found) if not other.startswith("_")]
            raise AppNotLoaded(
                f"module {module.__name__!r} has no {attribute!r}",
                where=f"{setting.source}, {getattr(module, '__file__', None) or module.__name__}",
                expected=_APP_EXAMPLE,
                hint=did_you_mean(name, known).strip(),
            ) from fault
    return found


def _made(found: Any, setting: Setting) -> IntentusRuntime:
    from intentusnet.runtime import IntentusRuntime

    expected = "an IntentusRuntime, or a function without parameters that returns one"
    if not callable(found):
        raise AppNotLoaded(
            f"{setting.value!r} is no runtime", where=setting.source, expected=expected, got=_described(found)
        )
    try:
        inspect.signature(found).bind()
    except TypeError as fault:
        raise AppNotLoaded(
            f"{setting.value!r} cannot be called", where=setting.source, expected=expected, got=str(fault)
        ) from fault
    except ValueError:
        pass  # a callable written in C need not have a signature
    try:
        made = found()
    except (Exception, SystemExit) as fault:  # an app's function may raise anything
        raise _raised("the app cannot be made", fault) from fault
    if not isinstance(made, IntentusRuntime):
        raise AppNotLoaded(
            f"{setting.value!r} returned no runtime",
            where=setting.source,
            expected=expected,
            got=_described(made),
        )
    return made


def _raised(message: str, fault: BaseException) -> AppNotLoaded:
    """What is said of an exception that came out of an app: with the line of the app that it came from."""
    if isinstance(fault, SyntaxError) and fault.filename:
        where = f"{fault.filename}:{fault.lineno}"
    else:
        own = Path(__file__).parents[1]
        frames = [
            frame
            for frame in traceback.extract_tb(fault.__traceback__)
            if not frame.filename.startswith("<frozen") and not Path(frame.filename).is_relative_to(own)
        ]
        outside = [frame for frame in frames if "importlib" not in frame.filename]
        where = f"{outside[-1].filename}:{outside[-1].lineno}" if outside else ""
    if isinstance(fault, IntentusError):
        return AppNotLoaded(
            f"{message}: {fault.message}",
            where=", ".join(part for part in (where, fault.where) if part),
            expected=fault.expected,
            got=fault.got,
            hint=fault.hint,
        )
    told = f"{type(fault).__name__}: {fault}".rstrip(": ")
    return AppNotLoaded(message, where=where, got=told, hint="-vv prints the traceback.")


def _described(value: object) -> str:
    from intentusnet.refusals import describe

    return describe(value)
