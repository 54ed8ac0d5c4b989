"""What policies cost, as ratios taken in one run: a decision, and a backtest of a store.

A decision is held against the plainest way to decide, one rule after the other in a loop, and against a bare
call of a function. A backtest is held against the plainest way to read what it reads: the lines of the log,
each taken as JSON and not checked.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
from measuring import Case, measure, seconds, show
from million import make_store

from intentusnet import FileExecutionStore
from intentusnet.log.segment import LOG_DIR, list_segments
from intentusnet.policy import AgentFacts, CompiledPolicy, EnvelopeFacts, compile_policy, parse_policy
from intentusnet.policy.backtest import backtest
from intentusnet.policy.comparing import comparison_test
from intentusnet.policy.rules import Condition, Matcher, PolicySource, glob_matcher

Decide = Callable[[EnvelopeFacts, AgentFacts], bool]

#: Rules and candidates of a request.
SIZES = ((10, 1), (100, 1), (100, 20), (1000, 20))
REQUEST = EnvelopeFacts(
    "ticket.kind-7",
    "1.0",
    {"amount": 50, "text": "the printer is on fire"},
    "caller-7",
    ("clerk",),
    "acme",
    ("vip",),
)


def policy_of(rules: int) -> CompiledPolicy:
    """So many rules of every sort, a tenth of which are about each intent of the store."""
    found: list[dict[str, Any]] = []
    for n in range(rules):
        kinds: list[dict[str, Any]] = [
            {"intent": f"ticket.kind-{n % 20}", "payload": {"amount": {"gt": 1000 + n}}},
            {"caller": f"caller-{n % 50}", "agent": f"agent-{n}"},
            {"intent": f"money.{n}.*", "role": ["admin", "owner"]},
            {"tag": f"tag-{n}", "side_effect": "irreversible"},
            {"intent": f"ticket.kind-{n % 20}", "tenant": f"tenant-{n}*"},
        ]
        found.append(
            {"id": f"rule-{n}", "effect": "allow" if n % 4 == 3 else "deny", **kinds[n % len(kinds)]}
        )
    return compile_policy(parse_policy({"default": "allow", "rules": found}))


def loop(source: PolicySource) -> Decide:
    """The baseline: each rule's conditions, one after the other, until one decides."""
    rules = [(rule.effect, [_test(condition) for condition in rule.conditions]) for rule in source.rules]

    def decide(envelope: EnvelopeFacts, agent: AgentFacts) -> bool:
        for wanted in ("deny", "allow"):
            for effect, tests in rules:
                if effect == wanted and all(test(envelope, agent) for test in tests):
                    return effect == "allow"
        return source.default == "allow"

    return decide


def _test(condition: Condition) -> Decide:
    if not isinstance(condition, Matcher):
        compare = comparison_test(condition)
        return lambda envelope, agent: compare(envelope.payload) is not False
    tests = [glob_matcher(glob) for glob in condition.globs]
    facts: dict[str, Callable[[EnvelopeFacts, AgentFacts], tuple[str, ...]]] = {
        "intent": lambda envelope, agent: (envelope.intent,),
        "caller": lambda envelope, agent: (envelope.caller,),
        "role": lambda envelope, agent: envelope.roles,
        "tag": lambda envelope, agent: envelope.tags,
        "tenant": lambda envelope, agent: (envelope.tenant or "",),
        "agent": lambda envelope, agent: (agent.name,),
        "side_effect": lambda envelope, agent: (agent.side_effect,),
    }
    fact = facts[condition.name]
    return lambda envelope, agent: any(test(value) for value in fact(envelope, agent) for test in tests)


def decision_cases() -> dict[str, Case]:
    """A request with its candidates, decided by stage and by loop; seconds are those of one candidate."""
    cases: dict[str, Case] = {"bare call": lambda: seconds(_nothing, 20_000)}
    for rules, candidates in SIZES:
        policy = policy_of(rules)
        decide = loop(policy.source)
        agents = [AgentFacts(f"agent-{n}", "1.0", "read_only") for n in range(candidates)]

        def staged(policy: CompiledPolicy = policy, agents: list[AgentFacts] = agents) -> None:
            stage = policy.stage(REQUEST)
            for agent in agents:
                stage.decide(agent)

        def looped(decide: Decide = decide, agents: list[AgentFacts] = agents) -> None:
            for agent in agents:
                decide(REQUEST, agent)

        cases[f"staged {rules} {candidates}"] = _per(candidates, staged, 2000)
        cases[f"loop {rules} {candidates}"] = _per(candidates, looped, 200)
    return cases


def _per(candidates: int, call: Callable[[], object], decisions: int) -> Case:
    return lambda: seconds(call, decisions // candidates) / candidates


def _nothing() -> None:
    pass


def decision_ratios(took: Mapping[str, float]) -> dict[str, float]:
    """The ratios of one round."""
    found = {}
    for rules, candidates in SIZES:
        staged, name = took[f"staged {rules} {candidates}"], f"{rules:,} rules × {candidates} candidates"
        found[f"a candidate, {name} / bare call"] = staged / took["bare call"]
        found[f"a loop over the rules / that, {name}"] = took[f"loop {rules} {candidates}"] / staged
        found[f"a candidate, {name}, as a share of the 2 µs to reach"] = staged / 2e-6
    return found


def backtest_cases(directory: Path, executions: int) -> dict[str, Case]:
    """A backtest of a store, by one process and by all; seconds are those of one execution."""
    store = FileExecutionStore(directory, create=False)
    store.list()  # so that the index is there
    new = policy_of(100)
    segments = list_segments(directory / LOG_DIR)

    def timed(call: Callable[[], object]) -> float:
        begin = time.perf_counter()
        call()
        return (time.perf_counter() - begin) / executions

    def parse() -> None:
        for segment in segments:
            with segment.open() as file:
                for line in file:
                    if b'"kind":"opened"' in line[:80]:
                        orjson.loads(line)

    processes = os.cpu_count() or 1
    return {
        "parse": lambda: timed(parse),
        "one": lambda: timed(lambda: backtest(store, new)),
        "all": lambda: timed(lambda: backtest(store, new, jobs=processes)),
        "two policies": lambda: timed(lambda: backtest(store, new, against=policy_of(90))),
        "chosen": lambda: timed(lambda: backtest_of(store, new, "ticket.kind-7")) * 20,
    }


def backtest_of(store: FileExecutionStore, new: CompiledPolicy, intent: str) -> object:
    """A backtest of the executions of one intent: one in twenty."""
    from intentusnet import Query

    return backtest(store, new, query=Query(intent=intent))


def backtest_ratios(took: Mapping[str, float]) -> dict[str, float]:
    """The ratios of one round."""
    return {
        "backtest, one process / lines as JSON, unchecked": took["one"] / took["parse"],
        "backtest, all processes / one process": took["all"] / took["one"],
        "against another policy / against the record": took["two policies"] / took["one"],
        "an execution that a filter chooses / one of all": took["chosen"] / took["one"],
        "backtest, all processes, as a share of the 20 µs to reach": took["all"] / 20e-6,
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="how often everything is measured")
    parser.add_argument("--executions", type=int, default=200_000, help="how many the store has")
    arguments = parser.parse_args()
    rounds = max(arguments.rounds, 4)
    show("Decisions, one request", measure(decision_cases(), decision_ratios, rounds))
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent, prefix=".bench-") as directory:
        path = Path(directory) / "store"
        make_store(path, arguments.executions)
        cases = backtest_cases(path, arguments.executions)
        show(f"Backtest, {arguments.executions:,} executions", measure(cases, backtest_ratios, rounds))


if __name__ == "__main__":
    main()
