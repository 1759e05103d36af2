"""Rewards that a rule decides: matches, mathematical answers, formats, lengths, repetition.

Belongs here: small frozen rewards of texts and columns, their adversarial cases tested. Does not belong here: anything
learned (``models``), code execution (a sandbox), penalties computed from other rewards (``guerdon.shaping``).
"""

from guerdon.rewards.rules.answers import MathAnswer
from guerdon.rewards.rules.common import normalised
from guerdon.rewards.rules.format import JsonFormat, PatternFormat, ThinkFormat, answer_in
from guerdon.rewards.rules.length import Length, Overlong
from guerdon.rewards.rules.match import Match
from guerdon.rewards.rules.repetition import Repetition, repeated_share

__all__ = [
    "JsonFormat",
    "Length",
    "Match",
    "MathAnswer",
    "Overlong",
    "PatternFormat",
    "Repetition",
    "ThinkFormat",
    "answer_in",
    "normalised",
    "repeated_share",
]
