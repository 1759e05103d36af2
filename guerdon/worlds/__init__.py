"""Worlds: what samples a policy and re-scores the steps it took, on real libraries; and named snapshots of its
parameters.

Belongs here: the interface, snapshots, and one sub-package a kind of world (``text``, ``finite``, …), imported by
name because each needs its own libraries. Does not belong here: rewards, objectives or loops; a world knows nothing
of what its samples are for.
"""

from guerdon.worlds.interface import Hook, Sampling, Start, View, World
from guerdon.worlds.snapshots import (
    EMA,
    Actors,
    AdapterOff,
    CopyEvery,
    Extrapolate,
    Frozen,
    History,
    Rule,
    Snapshots,
    only,
)

__all__ = [
    "EMA",
    "Actors",
    "AdapterOff",
    "CopyEvery",
    "Extrapolate",
    "Frozen",
    "History",
    "Hook",
    "Rule",
    "Sampling",
    "Snapshots",
    "Start",
    "View",
    "World",
    "only",
]
