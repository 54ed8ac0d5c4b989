"""Limits: retries, circuit breakers, rates and bounded concurrency, all of them off unless asked for.

`intentusnet.limits` holds what a user writes. Each of ``retry``, ``breaker``, ``bucket`` and ``concurrency``
holds one limiter: a frozen state, and steps that take the state, a point in time and what has happened, and
return the next state and a verdict. In them is no clock, no chance, no thread and no lock, and all time is in
integer nanoseconds, so a verdict depends on nothing but its arguments. ``gates`` holds the states, and
``passage`` is the way of one call through them.

``now`` may be any clock that all steps of a limiter share. It should not go back; where it does, a reading
counts as the highest that the limiter has seen.
"""
