"""What `policy check` finds to get around rules that look tight: each finding is a way that is open."""

from typing import Any

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, Field

from intentusnet import IntentusRuntime, MemoryExecutionStore
from intentusnet.policy import AgentFacts, EnvelopeFacts, compile_policy, parse_policy
from intentusnet.policy.loopholes import loopholes, other_names

Rules = list[dict[str, Any]]

#: A glob of what is fine, and a value that it lets through all the same.
WIDE = [
    ("*@corp.example", "eve@evil.example,a@corp.example"),
    ("a.*@corp.example", "a.eve@evil.example,a@corp.example"),
    ("*corp.example", "evilcorp.example"),
    ("https://docs.example.com*", "https://docs.example.com.evil.example/"),
    ("https://*.corp.example/*", "https://evil.example/.corp.example/"),
    ("www.example.com*", "www.example.com.evil.example"),
    ("/home/*", "/home/../secret"),
]


def deciding(*rules: dict[str, Any], default: str) -> tuple[dict[str, Any], Any]:
    data = {"default": default, "rules": [{"id": f"r{n}", **rule} for n, rule in enumerate(rules)]}
    return data, compile_policy(parse_policy(data))


def found(*rules: dict[str, Any], default: str) -> list[tuple[str | None, str]]:
    source = deciding(*rules, default=default)[1].source
    return [(finding.rule, finding.code) for finding in loopholes(source)]


@pytest.mark.parametrize(("glob", "value"), WIDE)
@pytest.mark.parametrize(("effect", "operator"), [("allow", "glob"), ("deny", "not_glob")])
@pytest.mark.parametrize("field", ["to", "to[*]", "mail.to"])
def test_a_wide_glob_is_told_with_a_value_that_it_lets_through(
    glob: str, value: str, effect: str, operator: str, field: str
) -> None:
    """The value in the message is allowed by the policy, whichever way the rule says what is fine."""
    default = "deny" if effect == "allow" else "allow"
    _, policy = deciding({"effect": effect, "payload": {field: {operator: glob}}}, default=default)

    [finding] = loopholes(policy.source)

    assert (finding.rule, finding.code) == ("r0", "wide glob")
    assert repr(value) in finding.message
    payload = {"to": value, "to[*]": value, "mail": {"to": value}} if field != "to[*]" else {"to": [value]}
    assert policy.decide(EnvelopeFacts("i", payload=payload), AgentFacts("a")).allowed


@pytest.mark.parametrize(("glob", "value"), WIDE)
def test_a_loophole_that_is_closed_is_not_told(glob: str, value: str) -> None:
    """A deny rule for the value closes it, and so does the rule itself; one for other intents does not."""
    allow = {"effect": "allow", "intent": "mail.*", "payload": {"to": {"glob": glob}}}
    catch = {"effect": "deny", "intent": "mail.send", "payload": {"to": {"glob": ["x*", value]}}}

    assert found(allow, catch, default="deny") == []
    assert found(allow, {**catch, "intent": "files.*"}, default="deny") == [("r0", "wide glob")]
    both = {"effect": "allow", "payload": {"to": {"glob": glob, "not_in": [value]}}}
    assert found(both, default="deny") == []


@pytest.mark.parametrize(
    "glob",
    ["team-*", "*.txt", "*", "ann@corp.example", "https://a.example/*", "GB*", "a?c", "v1.2*", "*-1.5"],
)
def test_a_glob_that_looks_like_what_it_matches_is_left_alone(glob: str) -> None:
    """Globs of names, of whole hosts and of extensions are no finding; nor is one of what is denied."""
    assert found({"effect": "allow", "payload": {"to": {"glob": glob}}}, default="deny") == []
    wide = [glob for glob, _ in WIDE]
    assert found({"effect": "deny", "payload": {"to": {"glob": wide}}}, default="allow") == []


def test_one_element_of_a_list_is_told() -> None:
    """Who compares `to.0` leaves the others to the caller, unless they are ruled out or compared, too."""
    first = {"effect": "allow", "payload": {"to.0": {"in": ["ann"]}}}
    alone = {"effect": "allow", "payload": {"to.0": {"in": ["ann"]}, "to.1": {"exists": False}}}
    others = {"effect": "deny", "payload": {"to[*]": {"not_in": ["ann", "bob"]}}}

    assert found(first, default="deny") == [("r0", "one element")]
    assert found(alone, default="deny") == found(first, others, default="deny") == []
    assert found({"effect": "deny", "payload": {"to.0": {"exists": True}}}, default="allow") == []


class Order(BaseModel):
    recipient: str = Field(validation_alias=AliasChoices("to", AliasPath("parties", 0), "recipient"))
    amount: float = Field(default=1, alias="sum")


def test_a_field_with_another_name_is_told() -> None:
    """A rule on one name of a field is got around by another one: it is told, and true, and can be closed."""
    known = {"effect": "deny", "intent": "pay.*", "payload": {"recipient": {"not_in": ["ann"]}}}
    data, policy = deciding(known, default="allow")
    runtime = IntentusRuntime(store=MemoryExecutionStore(), policy=policy)
    paid: list[str] = []

    @runtime.agent("bank", handles="pay.now")
    def bank(order: Order) -> None:
        paid.append(order.recipient)

    findings = other_names(policy.source, runtime.registry.agents())

    assert {(finding.rule, finding.code) for finding in findings} == {("r0", "other name")}
    assert [finding.message.split()[6] for finding in findings] == ["parties,", "to,"]
    runtime.route("pay.now", {"recipient": "ann", "to": "eve"})
    assert paid == ["eve"]
    for name in ("to", "parties"):
        data["rules"].append({"id": name, "effect": "deny", "payload": {name: {"exists": True}}})
    closed = compile_policy(parse_policy(data))
    assert other_names(closed.source, runtime.registry.agents()) == ()
    assert (
        runtime.configure(policy=closed).route("pay.now", {"recipient": "ann", "to": "eve"}).status == "error"
    )


def test_other_names_are_asked_of_agents_that_the_rule_is_about() -> None:
    """Agents of other intents, and agents without a model, are no matter."""
    known = {"effect": "deny", "intent": "pay.*", "payload": {"recipient": {"not_in": ["ann"]}}}
    _, policy = deciding(known, default="allow")
    runtime = IntentusRuntime()

    @runtime.agent("shop", handles="buy.*")
    def shop(order: Order) -> None: ...

    @runtime.agent("bank", handles="pay.*")
    def bank(order: dict[str, Any]) -> None: ...

    assert other_names(policy.source, runtime.registry.agents()) == ()
