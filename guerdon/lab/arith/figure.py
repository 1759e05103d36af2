"""The study's curves."""

from collections.abc import Mapping
from typing import Any

from guerdon.lab.svg import COLOURS, INK, drawn


def figure(stored: Mapping[str, Any]) -> str:
    """Left: held-out accuracy by round, sampled (solid) and greedy (dashed), a colour a seed. Right: mean training
    reward of the rounds between two looks."""

    def draw(whole: Any) -> None:
        left, right = whole.subplots(1, 2, sharey=True)
        for i, s in enumerate(stored["seeds"]):
            colour = COLOURS[i % len(COLOURS)]
            left.plot(s["rounds"], s["sampled"], color=colour, label=f"seed {s['seed']}")
            left.plot(s["rounds"], s["greedy"], color=colour, linestyle="--", linewidth=0.9)
            right.plot(s["rounds"][1:], s["reward"], color=colour)
        left.axhline(0.9, color=INK, linestyle=":", linewidth=1.2)
        left.set(xlabel="round", ylabel="held-out accuracy", ylim=(0, 1.02))
        right.set(xlabel="round", ylabel="training reward")
        left.legend()

    return drawn((8.4, 3.4), draw)
