"""The same desk after somebody has worked on `triage`: another prompt, and it now sees what is urgent.

The others are taken over as they are. Replaying the records of app.py with this one shows what it does
to everything that was ever classified, without asking a model once:

    intentusnet replay --all --app app_changed:runtime
"""

from app import Label, Ticket, ask_model
from app import runtime as before

from intentusnet import Context, IntentusRuntime

runtime = IntentusRuntime(store=before.store, policy=before.policy)

for agent in before.registry.agents():
    if agent.name != "triage":
        runtime.registry.add(agent)


@runtime.agent("triage", handles="ticket.classify", version="1.1", side_effect="read_only")
def triage(ticket: Ticket, ctx: Context) -> Label:
    """Tells refunds from questions, and urgent ones from others."""
    answer = ctx.effect("model", ask_model, f"Answer with one word, refund or question: {ticket.text}")
    urgent = "twice" in ticket.text
    return Label(topic=answer["topic"], confidence=answer["confidence"], urgent=urgent)
