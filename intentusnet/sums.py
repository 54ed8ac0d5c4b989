"""Sums of numbers that many threads, processes and runs come to in any order: exact, so that none matters.

A float is a fraction whose denominator is a power of two. Added as such, nothing is rounded on the way, and
what is taken off again leaves no trace. Only what is handed out is rounded, once.
"""

from __future__ import annotations

from fractions import Fraction

Number = int | float


def as_number(total: Fraction) -> Number:
    """A sum as a number: an int if it is whole, else the float that is closest.

    From 2⁵³ on, where floats are whole, it is cut to an int, so that no sum is too large.
    """
    if total.denominator == 1 or abs(total) >= 1 << 53:
        return int(total)
    return float(total)
