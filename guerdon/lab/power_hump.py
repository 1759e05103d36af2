"""What the power report asks of best-of-n on finite, where its law is exact at every n."""

from collections.abc import Mapping
from typing import Any

from guerdon.batch import Seed
from guerdon.lab import finite as fin
from guerdon.worlds.finite import exact

NS = (1, 4, 16, 64, 256, 1024, 4096, 16384)


def hump_finite(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> dict[str, float]:
    """(a) Exact gold and proxy of the best of n by a reward fitted to few pairs of annotators who like length:
    'gold@n' and 'proxy@n'."""
    key = Seed(seed).child("hump")
    bed = fin.finite(key)
    proxy = fin.fit_reward(bed, fin.compare(bed, config["pairs"], key, length=config["length"]))
    found = {}
    for n in NS:
        law = exact.best_of_n(bed.reference, proxy, n)
        found[f"gold@{n}"] = float(exact.expected(law, bed.gold).mean())
        found[f"proxy@{n}"] = float(exact.expected(law, proxy).mean())
    return found
