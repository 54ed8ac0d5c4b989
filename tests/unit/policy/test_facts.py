"""The facts of a record are the facts that were decided on."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from intentusnet import Caller, IntentEnvelope, IntentusRuntime, MemoryExecutionStore, values
from intentusnet.policy.facts import agent_facts, facts_of, recorded_candidate, recorded_facts
from intentusnet.routing import plan

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
PAYLOADS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
ENVELOPES = st.builds(
    IntentEnvelope,
    intent=st.from_regex(r"[a-z]{1,3}(@[0-9])?", fullmatch=True),
    payload=PAYLOADS,
    caller=st.builds(
        Caller, name=NAMES, roles=st.lists(NAMES, max_size=2).map(tuple), tenant=st.none() | NAMES
    ),
    tags=st.lists(NAMES, max_size=2).map(tuple),
)


@given(ENVELOPES, st.none() | st.just({"tenant.tokens.1d": 5}))
def test_the_facts_of_a_record_are_those_of_its_envelope(
    envelope: IntentEnvelope, budget: dict[str, int] | None
) -> None:
    """What stands in the log gives the very facts that the envelope gave, budgets of the plan included."""
    tree = values.parse(envelope.encode(values.encode(envelope.payload)))
    recorded = {} if budget is None else {"budget": budget}

    assert recorded_facts(tree, recorded) == facts_of(envelope, budget)
    assert recorded_facts(tree, recorded, payload=False).payload is None


@given(ENVELOPES)
def test_the_router_decides_on_these_facts(envelope: IntentEnvelope) -> None:
    """The plan is made of the same facts as a backtest."""
    assert plan.facts_of(envelope) == facts_of(envelope)


def test_the_candidates_of_a_record_are_the_agents() -> None:
    """Name, version and side effect are on record, as they were decided on."""
    runtime = IntentusRuntime(store=MemoryExecutionStore())

    @runtime.agent("pay", handles="money.*", version="2.1", side_effect="irreversible")
    def pay(payload: Any) -> Any:
        return payload

    record = runtime.store.get(runtime.route("money.transfer", {"amount": 1}).execution_id)
    [candidate] = record.plan_tree["candidates"]
    [agent] = runtime.registry.agents()

    assert recorded_candidate(candidate) == agent_facts(agent) == plan.agent_facts(agent)
