"""Who is found for an intent: whatever else is registered, and while agents come and go."""

import threading
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from intentusnet import Capability, IntentusRuntime
from intentusnet.agents import Agent, define_agent
from intentusnet.errors import DuplicateAgent, InvalidAgent
from intentusnet.registry import Registry
from tests.helpers import naive_registry
from tests.helpers.naive_registry import agent_of
from tests.helpers.runtimes import replays, runtime_of

#: Names, intents and patterns that meet each other often.
INTENTS = ["a", "b", "A", "a.b", "a.c", "b.a", "A.b", "a.b.c", "ab", "a]", "a[b", "a\nb", ""]
PATTERNS = ["a", "a.b", "a*", "a.*", "*.b", "*b", "*", "?", "[ab]", "a.[bc]", "*.*", "[a", "a.b*c", "[!a]*"]
PATTERNS += [
    "A*",
    "**",
    "a**",
    "**.b",
    "a**b",
    "[a-c].*",
    "[]a]",
    "a[]]",
    "*[",
    "[!]a]*",
    "a[b",
    "[*]",
    "[A-Z]*",
]
RANGES = ["", "", "", "@*", "@>=1,<2", "@<2", "@==1.*"]


@pytest.mark.parametrize(
    ("handles", "version", "found"),
    [
        ("x", "1.0", True),
        ("x@*", "odd", True),
        ("x@>=1,<2", "1.5", True),
        ("x@>=1,<2", "2.0", False),
        ("x@>=1,<2", "odd", False),
        ("x@==1.*", "1.7", True),
        ("x@>=2", "3.0a1", True),
        ("x.*", "1.0", False),
        ("[x]", "1.0", True),
        ("?", "1.0", True),
        ("X", "1.0", False),
        ("*", "1.0", True),
    ],
)
def test_capabilities_are_globs_and_version_ranges(handles: str, version: str, found: bool) -> None:
    """Case counts, the whole name has to match, and a version that is none fits no range but `*`."""
    registry = Registry()
    registry.add(define_agent("a", lambda: 1, handles=handles))
    for _ in range(2):
        assert bool(registry.candidates("x", version)) is found


def test_an_agent_with_several_fitting_capabilities_is_one_candidate() -> None:
    """Exact and pattern, it is called once."""
    registry = Registry()
    registry.add(define_agent("a", lambda: 1, handles=["x", "x@>=1", "*", Capability(intent="x")]))
    assert [agent.name for agent in registry.candidates("x", "1.0")] == ["a"]
    assert registry.get("a") is registry.agents()[0] and registry.get("b") is None


def test_what_was_found_is_forgotten_when_an_agent_is_added() -> None:
    """A registration counts from the next request on, and remembering has a bound."""
    registry = Registry()
    assert registry.candidates("x", "1.0") == ()
    registry.add(define_agent("a", lambda: 1, handles="*"))
    assert all(registry.candidates(f"x{n}", "1.0") for n in range(5000))


@given(
    st.from_regex(r"[a-c!*?.\[\]]{1,6}", fullmatch=True), st.from_regex(r"[a-c.\[\]]{1,6}", fullmatch=True)
)
def test_exact_names_and_globs_agree(pattern: str, intent: str) -> None:
    """The fast path for exact names finds what the glob would."""
    registry = Registry()
    registry.add(define_agent("a", lambda: 1, handles=pattern))
    assert bool(registry.candidates(intent, "1.0")) is fnmatchcase(intent, pattern)


# --- versions side by side ---


def test_a_name_and_version_is_registered_once() -> None:
    """Two agents of one name and version would be one in a record."""
    runtime = IntentusRuntime()
    runtime.agent("a", handles="x")(lambda: 1)
    with pytest.raises(DuplicateAgent, match="'a'"):
        runtime.agent("a", handles="y")(lambda: 1)


def test_the_newest_version_that_handles_an_intent_is_the_candidate() -> None:
    """Whatever order and rank they have; an intent that only the older one handles is its own."""
    old, new = agent_of("a", "x", "y", version="1.9"), agent_of("a", "x", version="1.10", rank=5)
    for order in ((old, new), (new, old)):
        registry = Registry(order)
        assert registry.candidates("x", "1.0") == (new,)
        assert registry.candidates("y", "1.0") == (old,)
        assert registry.catalog.handling("x", "1.0") == (new, old)
        assert registry.agents() == (new, old)
        assert registry.get("a") is new


def test_versions_that_cannot_be_compared_do_not_stand_side_by_side() -> None:
    """A version may be any text as long as it is alone; beside another one it must be one of PEP 440."""
    registry = Registry([agent_of("a", version="blue")])
    with pytest.raises(InvalidAgent, match="PEP 440"):
        registry.add(agent_of("a", version="green"))
    assert [agent.definition.version for agent in registry.agents()] == ["blue"]


@pytest.mark.parametrize(
    ("wanted", "called"),
    [
        ("a", "2.0"),
        ("a@<2", "1.5"),
        ("a@==1.0", "1.0"),
        ("a@*", "2.0"),
        ("a@>=3", None),
        ("a@one", None),
        ("b@>1", None),
    ],
)
def test_a_target_may_ask_for_a_range_of_versions(wanted: str, called: str | None) -> None:
    """The newest of the range is called, and is what the record says; where there is none, nobody is."""
    runtime = runtime_of()
    for version in ("1.0", "2.0", "1.5"):
        runtime.registry.add(agent_of("a", version=version))
    for options in ({"target": wanted}, {"fallback": [wanted]}):
        response = runtime.route("x", **options)
        assert response.payload == (None if called is None else ("a", called))
        assert called is not None or (
            response.error is not None and response.error.code == "CAPABILITY_NOT_FOUND"
        )
        replays(runtime, response)


def test_a_fallback_goes_from_the_new_version_to_the_old_one() -> None:
    """A list may name two versions of an agent, and each is called by itself."""
    runtime = runtime_of()

    @runtime.agent("a", handles="x", version="2.0", side_effect="read_only")
    def broken() -> None:
        raise RuntimeError("new, and broken")

    runtime.registry.add(agent_of("a", version="1.0"))
    response = runtime.route("x", strategy="fallback", fallback=["a", "a@<2"])
    assert response.payload == ("a", "1.0")
    assert [attempt.status for attempt in response.attempts] == ["error", "success"]
    replays(runtime, response)


# --- coming and going ---


def test_a_removed_agent_is_found_no_more() -> None:
    """One version of it, or all; what was not there is said."""
    runtime = IntentusRuntime()
    for version in ("1.0", "2.0"):
        runtime.registry.add(agent_of("a", "x", "y.*", "*.z", "*", version=version))
    assert runtime.remove("a", "2.0") is True
    assert runtime.route("y.1").payload == ("a", "1.0")
    assert runtime.remove("a") is True
    assert runtime.remove("a") is False
    assert runtime.remove("a", "1.0") is False
    for intent in ("x", "y.1", "2.z", "any"):
        assert runtime.registry.candidates(intent, "1.0") == ()
    assert runtime.registry.agents() == ()


class Naive(RuleBasedStateMachine):
    """A registry beside a plain list of agents."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry()
        self.agents: list[Agent] = []

    @rule(
        name=st.sampled_from("pqr"),
        version=st.sampled_from(["1", "2", "10"]),
        handles=st.lists(
            st.builds(str.__add__, st.sampled_from(PATTERNS), st.sampled_from(RANGES)), min_size=1, max_size=3
        ),
        rank=st.integers(0, 2),
    )
    def add(self, name: str, version: str, handles: list[str], rank: int) -> None:
        """One more, unless it is there."""
        agent = agent_of(name, *handles, version=version, rank=rank)
        if any((a.name, a.definition.version) == (name, version) for a in self.agents):
            with pytest.raises(DuplicateAgent):
                self.registry.add(agent)
        else:
            self.registry.add(agent)
            self.agents.append(agent)

    @rule(name=st.sampled_from("pqr"), version=st.sampled_from([None, "1", "2"]))
    def remove(self, name: str, version: str | None) -> None:
        """One less, or several."""
        rest = [a for a in self.agents if a.name != name or version not in (None, a.definition.version)]
        assert self.registry.remove(name, version) is (len(rest) < len(self.agents))
        self.agents = rest

    @rule(intent=st.sampled_from(INTENTS))
    def ask(self, intent: str) -> None:
        """Who handles an intent is what a walk through all agents says."""
        for version in ("1.0", "1.5", "2.0", "odd"):
            expected = naive_registry.candidates(self.agents, intent, version)
            for _ in range(2):  # looked up, and remembered
                assert self.registry.candidates(intent, version) == expected
            able = naive_registry.handling(self.agents, intent, version)
            assert list(self.registry.catalog.handling(intent, version)) == able

    @rule(intent=st.sampled_from(INTENTS), name=st.sampled_from("pqr"), versions=st.sampled_from(RANGES))
    def find(self, intent: str, name: str, versions: str) -> None:
        """What a reference means is the newest of that name in the range."""
        found = self.registry.catalog.find(name + versions, intent, "1.0")
        assert (() if found is None else (found,)) == naive_registry.named(
            self.agents, [name + versions], intent
        )

    @invariant()
    def is_listed(self) -> None:
        """All agents are listed, once."""
        listed = self.registry.agents()
        assert len(listed) == len(self.agents)
        assert set(listed) == set(self.agents)


TestNaive = Naive.TestCase


def test_agents_come_and_go_while_others_route() -> None:
    """Whoever routes meanwhile gets an answer of an agent that was there, and none of half an agent."""
    runtime = IntentusRuntime()
    runtime.registry.add(agent_of("steady", "x", rank=1))
    stop = threading.Event()
    answers: list[object] = []

    def route() -> None:
        while not stop.is_set():
            answers.append(runtime.route("x").payload)

    threads = [threading.Thread(target=route) for _ in range(4)]
    for thread in threads:
        thread.start()
    for n in range(300):
        runtime.registry.add(agent_of("guest", "x", "y*", version=str(n)))
        assert runtime.route("x").payload == ("guest", str(n))
        assert runtime.remove("guest", str(n))
        assert runtime.route("x").payload == ("steady", "1.0")
    stop.set()
    for thread in threads:
        thread.join()
    assert {"steady", "guest"} >= {answer[0] for answer in answers}  # type: ignore[index]  # a name and a version


def test_a_copy_goes_its_own_way() -> None:
    """A registry that took another one's agents has them, and from then on neither learns of the other's."""
    first = Registry([agent_of("a", "x"), agent_of("b", "x*")])
    second = Registry()
    assert second.candidates("x", "1.0") == ()
    second.copy(first)
    assert second.candidates("x", "1.0") == first.candidates("x", "1.0") == first.agents()
    second.remove("a")
    first.add(agent_of("c", "x"))
    assert [agent.name for agent in first.candidates("x", "1.0")] == ["a", "b", "c"]
    assert [agent.name for agent in second.candidates("x", "1.0")] == ["b"]
