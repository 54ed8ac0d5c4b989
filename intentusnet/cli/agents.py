"""`agents`: what is registered in the app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from intentusnet.cli.app import Invocation, Words, did_you_mean, pass_invocation, shared_options

if TYPE_CHECKING:
    from intentusnet.agents import AgentDefinition
    from intentusnet.cli.output import Output


@click.command("agents")
@click.argument("name", required=False)
@click.option("--schema", type=Words(("input", "output")), help="Print that JSON Schema of NAME alone.")
@shared_options("app")
@pass_invocation
def command(invocation: Invocation, name: str | None, schema: str | None) -> None:
    """List the registered agents by name, or show the one called NAME with its schemas."""
    if schema is not None and name is None:
        raise click.UsageError("--schema needs the NAME of an agent.")
    out = invocation.output
    definitions = registered(invocation)
    if name is None:
        if out.table:
            _print_all(out, definitions)
        else:
            out.rows(definition.model_dump(mode="json") for definition in definitions)
        return
    definition = _named(name, definitions)
    if schema is not None:
        tree = definition.input_schema if schema == "input" else definition.output_schema
        _print_schema(out, tree)
    elif out.table:
        _print_one(out, definition)
    else:
        out.json(definition.model_dump(mode="json"))


def registered(invocation: Invocation) -> list[AgentDefinition]:
    """The definitions of the app's agents, by name; neither store nor policy is touched.

    Raises:
        AppNotLoaded: there is no app, or it cannot be loaded.
    """
    from intentusnet.cli.settings import load_app

    with invocation.foreign_code():
        return [agent.definition for agent in load_app(invocation.settings).registry.agents()]


def _named(name: str, definitions: list[AgentDefinition]) -> AgentDefinition:
    from intentusnet.errors import InvalidInput

    for definition in definitions:
        if definition.name == name:
            return definition
    names = [definition.name for definition in definitions]
    raise InvalidInput(
        f"no agent is named {name!r}",
        expected=", ".join(names) or "an app with agents",
        hint=did_you_mean(name, names).strip(),
    )


def _handles(definition: AgentDefinition) -> list[str]:
    return [c.intent if c.versions == "*" else f"{c.intent}@{c.versions}" for c in definition.capabilities]


def _print_all(out: Output, definitions: list[AgentDefinition]) -> None:
    from intentusnet.cli.output import listing, text

    table = listing("Agent", "Version", "Handles", "Rank", "Side effect", "Description", right=("Rank",))
    for d in definitions:
        traits = [d.side_effect] + ["idempotent"] * d.idempotent + ["remote"] * d.remote
        cells = (d.name, d.version, ", ".join(_handles(d)), d.rank, ", ".join(traits), d.description)
        table.add_row(*map(text, cells))
    out.print(table)
    if not definitions:
        out.note("The app has no agents.")


def _print_one(out: Output, d: AgentDefinition) -> None:
    from intentusnet.cli.output import fields, pretty

    pairs: list[tuple[str, Any]] = [
        ("agent", d.name),
        ("description", d.description),
        ("version", d.version),
        ("handles", "\n".join(_handles(d))),
        ("rank", d.rank),
        ("remote", "yes" if d.remote else "no"),
        ("side effect", d.side_effect),
        ("idempotent", "yes" if d.idempotent else "no"),
        ("input", pretty(d.input_schema)),
        ("output", pretty(d.output_schema)),
    ]
    if d.limits is not None:
        pairs.insert(-2, ("limits", pretty(d.limits.model_dump(mode="json", exclude_none=True))))
    out.print(fields(pairs))


def _print_schema(out: Output, schema: dict[str, Any]) -> None:
    from intentusnet.cli.output import pretty

    if out.table:
        out.print(pretty(schema))
    else:
        out.json(schema)
