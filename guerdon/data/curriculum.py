"""Curry-DPO's curriculum: several pairs a prompt, from the widest gap in quality to the narrowest."""

from collections.abc import Sequence

from guerdon.batch import Preference
from guerdon.data.provenance import noted, only_pair, worths
from guerdon.errors import DataError

ORDERS = ("easy", "hard")


def curriculum(
    records: Sequence[Preference], stages: int = 3, order: str = "easy", sort: bool = True
) -> list[Preference]:
    """Pairs of the best response of every record against worse ones, stage by stage (Pattnaik et al. 2024, 2403.07230).

    Of ranked responses R1 ≻ … ≻ RK stage i pairs R1 with R_{K+1−i}: (R1,R4), (R1,R3), (R1,R2) for K = 4. Records with
    more responses than ``stages`` + 1 pair R1 with the worst, the second, and ranks spread evenly between; records with
    fewer take part in the first stages alone, so that K = 2 gives every pair once, in stage 1. Worth is the score, or
    without scores the number of wins (``worths``). A pair of equal worth is dropped. order: 'easy' from the widest gap
    to the narrowest, 'hard' the other way round. sort: within a stage, too, records are in that order of their gaps;
    records of one gap keep their order. Provenance: transform 'curriculum' with stage (from 1) and gap.

    Raises DataError where no record holds two responses of different worth, or for another ``order``.
    """
    if order not in ORDERS or stages < 1:
        raise DataError(f"curriculum takes order 'easy' or 'hard' and stages ≥ 1, but {order!r} and {stages} came.")
    made: list[list[tuple[float, Preference]]] = [[] for _ in range(stages)]
    for record in records:
        worth = worths(record)
        if worth is None:
            continue
        ranking = sorted(range(len(worth)), key=lambda i: -worth[i])
        for stage, place in enumerate(_places(len(ranking), stages)):
            best, other = ranking[0], ranking[place]
            gap = worth[best] - worth[other]
            if gap > 0:
                pair = noted(only_pair(record, best, other), "curriculum", stage=stage + 1, gap=gap)
                made[stage].append((gap, pair))
    if not any(made):
        raise DataError("A curriculum needs records with responses of different worth; give scores or comparisons.")
    if sort:
        made = [sorted(stage, key=lambda x: -x[0]) for stage in made]
    chosen = [pair for stage in made for _, pair in stage]
    return chosen if order == "easy" else chosen[::-1]


def _places(count: int, stages: int) -> list[int]:
    """Places (from 0, the best) of the responses that the best one meets, worst first; at most ``stages``."""
    if count - 1 <= stages:
        return list(range(count - 1, 0, -1))
    if stages == 1:
        return [count - 1]
    return [round(count - 1 - i * (count - 2) / (stages - 1)) for i in range(stages)]
