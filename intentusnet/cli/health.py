"""The health of an installation: what `doctor` alone looks at, each a check that is cheap."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from packaging.requirements import Requirement

from intentusnet.cli.config import describe
from intentusnet.errors import IntentusError
from intentusnet.policy import check as findings_of
from intentusnet.replay.interrupted import RecoveryRule, interrupted
from intentusnet.stores.base import Query
from intentusnet.stores.file import FileExecutionStore

if TYPE_CHECKING:
    from intentusnet.cli.app import Invocation

Status = Literal["ok", "warning", "fault"]

#: Free bytes below which there is a fault, and a warning.
_TOO_LITTLE: Final = 64 << 20
_LITTLE: Final = 1 << 30
#: File systems whose fsync, or whose locks, may promise more than they keep.
_DOUBTFUL: Final[dict[str, str]] = {
    "tmpfs": "it is memory: gone when the machine restarts",
    "ramfs": "it is memory: gone when the machine restarts",
    "nfs": "fsync and locks depend on the server and the mount's options",
    "nfs4": "fsync and locks depend on the server and the mount's options",
    "cifs": "fsync and locks depend on the server and the mount's options",
    "smb3": "fsync and locks depend on the server and the mount's options",
    "9p": "fsync and locks depend on the host",
    "virtiofs": "fsync and locks depend on the host",
    "vboxsf": "fsync and locks depend on the host",
    "fuse": "fsync and locks depend on the program behind it",
}


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found.

    Attributes:
        name: what was looked at.
        status: "ok", "warning" or "fault".
        found: what there is.
        hint: what to do; "" if nothing.
    """

    name: str
    status: Status
    found: str
    hint: str = ""

    def as_dict(self) -> dict[str, str]:
        """The check as the command line prints it."""
        return {"name": self.name, "status": self.status, "found": self.found, "hint": self.hint}


def checks(invocation: Invocation) -> Iterator[Check]:
    """All checks; nothing is changed or made."""
    yield Check("python", "ok", f"{platform.python_version()} on {platform.platform()}")
    yield from _packages()
    try:
        tree = describe(invocation)
    except IntentusError as fault:
        yield Check("settings", "fault", *_told(fault.as_dict()))
        return
    yield Check("settings", "ok", tree["project"] or "no project file; options, variables and defaults")
    yield _app(tree["app"], invocation.settings.app.value)
    yield _policy(invocation, tree["policy"])
    yield from _store(tree["settings"]["store"]["value"], tree["store"])


def _told(error: dict[str, str]) -> tuple[str, str]:
    found = ", ".join(error[part] for part in ("message", "where", "got") if error.get(part))
    return found, error.get("hint", "")


def _packages() -> Iterator[Check]:
    """This package, what it needs, and the libraries that can be captured."""
    needed: list[str] = []
    wrong: list[str] = []
    optional: dict[str, Check] = {}
    for text in metadata.requires("intentusnet") or ():
        wanted = Requirement(text)
        marker = str(wanted.marker or "")
        if "extra" not in marker:
            if wanted.marker is None or wanted.marker.evaluate():
                found = _version(wanted.name)
                fits = found is not None and wanted.specifier.contains(found, prereleases=True)
                (needed if fits else wrong).append(f"{wanted.name} {found or 'is not there'}")
        elif (extra := marker.rpartition("==")[2].strip(" \"'")) != "dev":
            optional[wanted.name] = _optional(wanted, extra)
    version = metadata.version("intentusnet")
    if wrong:
        hint = "pip install --upgrade intentusnet"
        yield Check("intentusnet", "fault", f"{version}, with {', '.join(wrong)}", hint)
    else:
        yield Check("intentusnet", "ok", f"{version}, and the {len(needed)} packages that it needs")
    yield from optional.values()


def _optional(wanted: Requirement, extra: str) -> Check:
    found = _version(wanted.name)
    if found is None:
        return Check(wanted.name, "ok", f"not installed; the extra {extra} brings it")
    if wanted.specifier.contains(found, prereleases=True):
        what = "and so the clock can be captured whole" if extra == "clock" else "can be captured"
        return Check(wanted.name, "ok", f"{found}, {what}")
    return Check(
        wanted.name,
        "warning",
        f"{found}, supported is {wanted.specifier}",
        f"pip install 'intentusnet[{extra}]'",
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _app(state: dict[str, Any], name: str | None) -> Check:
    if state["error"] is not None:
        return Check("app", "fault", *_told(state["error"]))
    if not state["loaded"]:
        hint = "Name it by --app, by INTENTUSNET_APP, or as `app` in [tool.intentusnet] of pyproject.toml."
        return Check("app", "warning", "not set", hint)
    if not state["agents"]:
        return Check("app", "warning", f"{name} has no agents", "Register them where the app is imported.")
    return Check("app", "ok", f"{name}, {state['agents']} agent{'s' * (state['agents'] != 1)}")


def _policy(invocation: Invocation, state: dict[str, Any]) -> Check:
    if state["error"] is not None:
        return Check("policy", "fault", *_told(state["error"]))
    from intentusnet.policy import CompiledPolicy

    if state["digest"] is None:
        return Check("policy", "ok", "none: everything is allowed")
    if invocation.settings.policy.value is not None:
        from intentusnet.policy import load_policy

        findings = findings_of(load_policy(invocation.settings.policy.value))
    else:
        with invocation.foreign_code():
            policy = invocation.runtime().policy
        if not isinstance(policy, CompiledPolicy):
            return Check("policy", "ok", f"of the app's own engine, {state['digest'][:12]}")
        findings = findings_of(policy.source)
    rules = f"{state['rules']} rule{'s' * (state['rules'] != 1)}, default {state['default']}"
    if findings:
        told = "; ".join(f"{found.rule or 'the policy'}: {found.message}" for found in findings[:3])
        return Check("policy", "warning", f"{rules}; {told}", "`intentusnet policy check` names all of it.")
    return Check("policy", "ok", rules)


def _store(path: str | None, state: dict[str, Any]) -> Iterator[Check]:
    if path is None:
        yield Check("store", "ok", "the app's own, in no directory")
        return
    if state["error"] is not None:
        yield Check("store", "fault", *_told(state["error"]))
        return
    if not state["exists"]:
        yield Check("store", "ok", f"{path} does not exist yet: the first execution makes it")
    elif not os.access(path, os.W_OK):
        yield Check("store", "warning", f"{path} cannot be written to", "Nothing can be recorded there.")
    else:
        yield Check("store", "ok", f"{path}, {state['bytes']:,} bytes of log")
    if state["exists"]:
        yield _guarded("log", lambda: _log(path))
        yield _guarded("interrupted", lambda: _interrupted(path))
    there = next(
        folder for folder in (Path(path).absolute(), *Path(path).absolute().parents) if folder.exists()
    )
    yield _space(there)
    yield _file_system(there)


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except IntentusError as fault:
        return Check(name, "fault", *_told(fault.as_dict()))


def _log(path: str) -> Check:
    with FileExecutionStore(path, create=False) as store:
        # Reads what the index does not know yet, and the newest execution, each line checked.
        store.list(Query(limit=1))
    return Check("log", "ok", "can be read up to its end; `intentusnet verify` checks every byte")


def _interrupted(path: str) -> Check:
    with FileExecutionStore(path, create=False) as store:
        rules = [found.rule for found in interrupted(store)]
    doubtful = rules.count(RecoveryRule.IN_DOUBT)
    if not rules:
        return Check("interrupted", "ok", "nothing is")
    told = f"{len(rules)} execution{'s' * (len(rules) != 1)}" + (
        f", {doubtful} of them in doubt" if doubtful else ""
    )
    return Check("interrupted", "warning", told, "`intentusnet recover` lists them, and what may be done.")


def _space(there: Path) -> Check:
    free = shutil.disk_usage(there).free
    status: Status = "fault" if free < _TOO_LITTLE else "warning" if free < _LITTLE else "ok"
    hint = "" if status == "ok" else "Make room: `intentusnet seal --compress`, `intentusnet prune`."
    return Check("disk", status, f"{free / (1 << 30):.1f} GiB free", hint)


def _file_system(there: Path) -> Check:
    kind = _kind_of(there)
    why = _DOUBTFUL.get(kind) or (_DOUBTFUL["fuse"] if kind.startswith("fuse.") else None)
    if why is not None:
        return Check("file system", "warning", f"{kind}: {why}", "Keep records on a local disk.")
    return Check("file system", "ok", kind or "unknown")


def _kind_of(there: Path) -> str:
    """The type of the file system in which a directory lies; "" where that cannot be known."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return ""
    found = ""
    device = f"{os.major(there.stat().st_dev)}:{os.minor(there.stat().st_dev)}"
    for line in mounts:
        before, _, after = line.partition(" - ")
        if before.split()[2] == device:
            found = after.split()[0]
    return found
