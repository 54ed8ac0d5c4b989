"""`config show`: every setting with where it comes from, the versions, and the state of the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from intentusnet.cli.app import Invocation, pass_invocation, shared_options

if TYPE_CHECKING:
    from intentusnet.cli.output import Output
    from intentusnet.cli.settings import Setting, Settings
    from intentusnet.policy import Policy
    from intentusnet.runtime import IntentusRuntime


@click.group("config")
def command() -> None:
    """Show the settings and where they come from."""


@command.command("show")
@shared_options("store", "app", "policy")
@pass_invocation
def show(invocation: Invocation) -> None:
    """Show every setting and its source, the versions, and the state of app, policy and store.

    What cannot be used is part of the answer and no failure; only a malformed project file is one.
    """
    tree = describe(invocation)
    out = invocation.output
    if out.table:
        _print(out, tree)
    else:
        out.json(tree)


def describe(invocation: Invocation) -> dict[str, Any]:
    """What is in force, as JSON; creates nothing.

    Raises:
        ConfigurationError: the project file is malformed.
    """
    from intentusnet.cli.settings import load_app
    from intentusnet.errors import IntentusError

    settings = invocation.settings
    runtime: IntentusRuntime | None = None
    problem: dict[str, str] | None = None
    if settings.app.value is not None:
        try:
            with invocation.foreign_code():
                runtime = load_app(settings)
        except IntentusError as fault:
            problem = fault.as_dict()
    store = _setting(settings.store)
    if runtime is not None and runtime.store is not None and not settings.store.is_set:
        own = getattr(runtime.store, "path", None)
        store = {"value": None if own is None else str(own), "source": "app"}
    policy, policy_state = _policy(settings, runtime)
    return {
        "settings": {"store": store, "app": _setting(settings.app), "policy": policy},
        "project": None if settings.project is None else str(settings.project),
        "versions": _versions(),
        "app": {
            "loaded": runtime is not None,
            "agents": None if runtime is None else len(runtime.registry.agents()),
            "error": problem,
        },
        "policy": policy_state,
        "store": _store(store["value"]),
    }


def _setting(setting: Setting) -> dict[str, str | None]:
    return {"value": setting.value, "source": setting.source}


def _versions() -> dict[str, str]:
    import platform

    from intentusnet.log.identity import FORMAT
    from intentusnet.replay.environment import package_version

    return {
        "intentusnet": package_version(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "store_format": str(FORMAT),
    }


def _policy(
    settings: Settings, runtime: IntentusRuntime | None
) -> tuple[dict[str, str | None], dict[str, Any]]:
    from intentusnet.cli.settings import configured_policy
    from intentusnet.errors import IntentusError
    from intentusnet.policy import CompiledPolicy

    setting = _setting(settings.policy)
    policy: Policy | None = None
    problem: dict[str, str] | None = None
    if settings.policy.value is not None:
        try:
            policy = configured_policy(settings)
        except IntentusError as fault:
            problem = fault.as_dict()
    elif runtime is not None and runtime.policy.digest is not None:
        policy = runtime.policy
        setting = {"value": None, "source": "app"}
    # Rules in a file are what this package's own engine is made of; others have what is theirs.
    rules = policy.source if isinstance(policy, CompiledPolicy) else None
    if rules is not None and setting["source"] == "app":
        setting["value"] = rules.where or None
    state = {
        "digest": None if policy is None else policy.digest,
        "rules": None if rules is None else len(rules.rules),
        "default": None if rules is None else rules.default,
        "error": problem,
    }
    return setting, state


def _store(path: str | None) -> dict[str, Any]:
    from intentusnet.errors import IntentusError
    from intentusnet.log.segment import LOG_DIR, list_segments
    from intentusnet.stores.file import FileExecutionStore

    state: dict[str, Any] = {"exists": False, "id": None, "segments": None, "bytes": None, "error": None}
    if path is None:
        return state
    try:
        with FileExecutionStore(path, create=False) as store:
            if store.exists:
                segments = [found.stored_size() for found in list_segments(Path(path) / LOG_DIR)]
                state |= {"exists": True, "id": store.store_id}
                state |= {"segments": len(segments), "bytes": sum(segments)}
    except IntentusError as fault:
        state["error"] = fault.as_dict()
    return state


def _print(out: Output, tree: dict[str, Any]) -> None:
    from intentusnet.cli.output import fields, listing, styled, text

    table = listing("Setting", "Value", "Source")
    for name, setting in tree["settings"].items():
        value = "-" if setting["value"] is None else setting["value"]
        table.add_row(name, text(value), text(setting["source"]))
    versions, app, policy, store = (tree[name] for name in ("versions", "app", "policy", "store"))
    agents = _counted(app["agents"], "agent") if app["loaded"] else "not set"
    rules, state = "none: everything is allowed", "does not exist yet"
    if policy["digest"]:
        rules = f"{_counted(policy['rules'], 'rule')}, default {policy['default']}"
    if store["exists"]:
        state = f"{store['id']}, {store['bytes']:,} bytes of log"
    pairs: list[tuple[str, Any]] = [
        ("project file", tree["project"] or "none found"),
        ("app", _or_problem(app["error"], agents)),
        ("policy", _or_problem(policy["error"], rules)),
        ("store", _or_problem(store["error"], state)),
        ("intentusnet", f"{versions['intentusnet']}, store format {versions['store_format']}"),
        ("python", f"{versions['python']} on {versions['platform']}"),
    ]
    out.print(table, "", fields((n, v if isinstance(v, str) else styled(v[0], "red")) for n, v in pairs))


def _or_problem(problem: dict[str, str] | None, otherwise: str) -> str | tuple[str]:
    if problem is None:
        return otherwise
    return (". ".join(problem[part] for part in ("message", "where", "got", "hint") if part in problem),)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
