"""Policies and requests to draw: few names and few values, so that rules and requests often meet."""

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from intentusnet.policy import AgentFacts, EnvelopeFacts

Data = dict[str, Any]

NAMES = ["a", "ab", "b"]
GLOBS = st.sampled_from([*NAMES, "*", "a*", "?", "[ab]", "*b", "c"])
SIDE_EFFECTS = ["read_only", "reversible", "irreversible"]
SCALARS = st.sampled_from([0, 1, 2, 0.1, 1.5, 1.0, "", "a", "ab", "1", True, False, None])
PATHS = st.sampled_from(
    ["x", "y", "/x", "x.y", "/x/0", "x[*]", "x[*]", "y[*]", "x[*].y", "x[*][*]", "x.y[*]"]
)


def one_or_many(globs: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return globs | st.lists(globs, min_size=1, max_size=3)


def operand(operator: str) -> st.SearchStrategy[Any]:
    if operator == "exists":
        return st.booleans()
    if operator in ("glob", "not_glob"):
        return one_or_many(GLOBS)
    if operator in ("in", "not_in"):
        kinds = [["a", "ab", "1"], [0, 1, 0.1, 1.5], [True, False]]
        return st.sampled_from(kinds).flatmap(
            lambda kind: st.lists(st.sampled_from(kind), min_size=1, max_size=3)
        )
    if operator in ("eq", "ne"):
        return SCALARS
    return SCALARS.filter(lambda scalar: scalar is not None and not isinstance(scalar, bool))


OPERATORS = ["eq", "ne", "lt", "le", "gt", "ge", "in", "not_in", "glob", "not_glob", "exists"]


def tested(path: str) -> st.SearchStrategy[tuple[str, Data]]:
    """A field with operators; whether an element is there cannot be asked of it."""
    known = [name for name in OPERATORS if name != "exists" or not path.endswith("[*]")]
    names = st.lists(st.sampled_from(known), min_size=1, max_size=2, unique=True)
    tests = names.flatmap(lambda names: st.fixed_dictionaries({name: operand(name) for name in names}))
    return st.tuples(st.just(path), tests)


FIELDS = st.lists(PATHS.flatmap(tested), min_size=1, max_size=3).map(dict)
BUDGETS = ["caller.tokens.1h", "tenant.cost.1d"]
AMOUNTS = st.sampled_from([0, 1, 2, 0.1, 1.5])
BUDGET_TESTS = st.dictionaries(
    st.sampled_from(["eq", "ne", "lt", "le", "gt", "ge"]), AMOUNTS, min_size=1, max_size=2
)
CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        **{name: one_or_many(GLOBS) for name in ("intent", "agent", "caller", "role", "tenant", "tag")},
        "side_effect": one_or_many(st.sampled_from([*SIDE_EFFECTS, "*", "r*", "*reversible"])),
        "payload": FIELDS,
        "budget": st.dictionaries(st.sampled_from(BUDGETS), BUDGET_TESTS, min_size=1, max_size=2),
    },
)
EFFECTS = st.sampled_from(["allow", "deny"])


def rules(effects: st.SearchStrategy[str] = EFFECTS) -> st.SearchStrategy[list[Data]]:
    rule = st.builds(lambda effect, conditions: {"effect": effect, **conditions}, effects, CONDITIONS)
    return st.lists(rule, max_size=6).map(
        lambda found: [{"id": f"r{position}", **rule} for position, rule in enumerate(found)]
    )


POLICIES = st.builds(lambda default, found: {"default": default, "rules": found}, EFFECTS, rules())
LEAVES = SCALARS | st.sampled_from([Decimal("0.1"), Decimal("1.50"), Decimal("NaN"), float("nan"), b"a"])
PAYLOADS = (
    st.dictionaries(
        st.sampled_from(["x", "y"]),
        LEAVES
        | st.lists(LEAVES, max_size=3)
        | st.lists(st.sampled_from(["a", "ab", "b"]), max_size=3)
        | st.lists(st.lists(LEAVES, max_size=2) | st.dictionaries(st.just("y"), LEAVES), max_size=2)
        | st.dictionaries(st.just("y"), st.lists(LEAVES, max_size=2))
        | st.dictionaries(st.sampled_from(["y", "0"]), LEAVES, max_size=2),
        max_size=2,
    )
    | LEAVES
)
NAME = st.sampled_from(NAMES)
MANY = st.lists(NAME, max_size=2).map(tuple)
ENVELOPES = st.builds(
    EnvelopeFacts,
    intent=NAME,
    version=st.just("1"),
    payload=PAYLOADS,
    caller=NAME,
    roles=MANY,
    tenant=st.none() | NAME,
    tags=MANY,
    budget=st.none() | st.dictionaries(st.sampled_from(BUDGETS), AMOUNTS),
)
AGENTS = st.builds(AgentFacts, name=NAME, version=st.just("1"), side_effect=st.sampled_from(SIDE_EFFECTS))
