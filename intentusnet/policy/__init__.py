"""Who may do what: rules in a file, decided per envelope and candidate, explained and checked.

Layers, bottom to top: ``rules`` (data), ``files`` and ``parse`` (from text to rules), ``comparing`` (the
meaning of one comparison), ``decide`` (of one rule), ``compile`` (all rules at once, fast), ``findings``
(rules that cannot matter), ``engine`` (what the router needs of a policy, so that ``cedar`` or another one
may decide), ``facts`` (what is decided on), ``trial`` and ``backtest`` (what would have been decided).
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
from intentusnet.policy.engine import Policy, Staged
from intentusnet.policy.files import PolicyFaults
from intentusnet.policy.findings import Finding, check
from intentusnet.policy.parse import load_policy, parse_policy
from intentusnet.policy.rules import Budget, Comparison, Matcher, PolicySource, Rule

__all__ = [
    "NO_POLICY",
    "AgentFacts",
    "Budget",
    "Comparison",
    "CompiledPolicy",
    "ConditionTrace",
    "Decision",
    "EnvelopeFacts",
    "Finding",
    "Matcher",
    "Policy",
    "PolicyFaults",
    "PolicySource",
    "Rule",
    "RuleTrace",
    "Stage",
    "Staged",
    "check",
    "compile_policy",
    "explain",
    "load_policy",
    "parse_policy",
]
