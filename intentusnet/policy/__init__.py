"""Who may do what: rules in a file, decided per envelope and candidate, explained and checked.

Layers, bottom to top: ``rules`` (data), ``parse`` (files), ``decide`` (the meaning, one rule at a time),
``compile`` (all rules at once, fast), ``findings`` (rules that cannot matter).
"""

from intentusnet.policy.compile import NO_POLICY, CompiledPolicy, Stage, compile_policy
from intentusnet.policy.decide import (
    AgentFacts,
    ConditionTrace,
    Decision,
    EnvelopeFacts,
    RuleTrace,
    explain,
)
from intentusnet.policy.findings import Finding, check
from intentusnet.policy.parse import PolicyFaults, load_policy, parse_policy
from intentusnet.policy.rules import Comparison, Matcher, PolicySource, Rule

__all__ = [
    "NO_POLICY",
    "AgentFacts",
    "Comparison",
    "CompiledPolicy",
    "ConditionTrace",
    "Decision",
    "EnvelopeFacts",
    "Finding",
    "Matcher",
    "PolicyFaults",
    "PolicySource",
    "Rule",
    "RuleTrace",
    "Stage",
    "check",
    "compile_policy",
    "explain",
    "load_policy",
    "parse_policy",
]
