"""`validate`: are these files envelopes and policies, and would the app take the envelopes?"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from intentusnet.cli.app import Invocation, pass_invocation, shared_options
from intentusnet.errors import InvalidEnvelope, InvalidInput

if TYPE_CHECKING:
    from intentusnet.cli.output import Output
    from intentusnet.envelope import IntentEnvelope
    from intentusnet.runtime import IntentusRuntime


@click.command("validate")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@shared_options("app", "policy")
@pass_invocation
def command(invocation: Invocation, files: tuple[Path, ...]) -> int:
    """Check envelope files (.json) and policy files (.toml, or .json with "default" or "rules").

    With an app, also whether an agent of it would take the envelope: its intent, its routing, its payload. A
    denial by the policy is no fault of an envelope: see `policy explain`.
    """
    from intentusnet.cli.envelopes import fault_tree

    door = _Door(invocation)
    trees = []
    for file in files:
        kind, faults = _judged(file, door)
        trees.append(
            {
                "file": str(file),
                "kind": kind,
                "ok": not faults,
                "faults": [fault_tree(fault) for fault in faults],
            }
        )
    out = invocation.output
    if out.table:
        _print(out, trees)
    else:
        out.rows(trees)
    return 0 if all(tree["ok"] for tree in trees) else InvalidInput.exit_code


class _Door:
    """The app, loaded for the first envelope: policy files can be checked beside an app that is broken."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation

    @cached_property
    def runtime(self) -> IntentusRuntime | None:
        return None if self._invocation.settings.app.value is None else self._invocation.runtime()

    def faults(self, envelope: IntentEnvelope) -> tuple[InvalidInput, ...]:
        """Why no agent would take the envelope."""
        from intentusnet import values
        from intentusnet.response import ErrorCode

        if self.runtime is None:
            return ()
        plan = self.runtime.plan(envelope)
        if plan.refusal is not None and plan.refusal.code is not ErrorCode.POLICY_DENIAL:
            too_large = plan.refusal.code is ErrorCode.PAYLOAD_TOO_LARGE
            return (InvalidEnvelope(plan.refusal.message, where="/payload" if too_large else "/intent"),)
        data = values.encode(envelope.payload)
        faults: list[InvalidInput] = []
        for agent in plan.steps or [candidate.agent for candidate in plan.candidates]:
            try:
                agent.input.decode(data)
            except InvalidInput as fault:
                faults += _misfits(agent.name, fault)
            else:
                return ()
        return tuple(faults)


def _misfits(agent: str, fault: InvalidInput) -> list[InvalidInput]:
    """Each place where a payload does not fit an agent, as a place in the envelope; those that are told."""
    from intentusnet.capture.arguments import without_got

    many = f", one of {fault.total} places" if fault.total > 1 else ""
    return [
        InvalidInput(
            f"the payload does not fit agent {agent!r}{many}: {fault.message}",
            where="/payload" + place["path"],
            expected=place["expected"],
            got=place["got"],
            hint=fault.hint,
        )
        for place in map(without_got, fault.places()["faults"])
    ]


def _judged(file: Path, door: _Door) -> tuple[str | None, tuple[InvalidInput, ...]]:
    """What the file is (None if that cannot be told), and everything that is wrong with it."""
    from intentusnet.cli.envelopes import EnvelopeFaults, envelope_of
    from intentusnet.cli.payload import parse_json
    from intentusnet.policy import PolicyFaults

    kind: str | None = None
    try:
        if file.suffix.lower() == ".toml":
            kind = "policy"
            return kind, _policy_faults(file)
        tree = parse_json(_content(file), str(file))
        kind = _kind(tree)
        if kind == "policy":
            # Read anew: numbers of policies are exact, those of payloads are floats.
            return kind, _policy_faults(file)
        return kind, door.faults(envelope_of(tree))
    except (PolicyFaults, EnvelopeFaults) as faults:
        return kind, faults.faults
    except InvalidInput as fault:
        return kind, (fault,)


def _policy_faults(file: Path) -> tuple[InvalidInput, ...]:
    from intentusnet.policy import load_policy

    load_policy(file)
    return ()


def _kind(tree: Any) -> str:
    is_policy = isinstance(tree, dict) and "intent" not in tree and ("rules" in tree or "default" in tree)
    return "policy" if is_policy else "envelope"


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except (OSError, ValueError) as fault:
        message = getattr(fault, "strerror", None) or str(fault)
        raise InvalidInput("the file cannot be read", where=str(file), got=message) from fault


def _print(out: Output, trees: list[dict[str, Any]]) -> None:
    from intentusnet.cli.output import fields, styled, text

    for tree in trees:
        line = styled("ok" if tree["ok"] else "broken")
        line.append(f"  {text(tree['file'])}  ")
        line.append(tree["kind"] or "", style="dim")
        out.print(line)
        for fault in tree["faults"]:
            parts = [(part, told) for part, told in fault.items() if part != "message" and told]
            out.print(styled(f"  {text(fault['message'])}", "red"), fields(parts))
