"""Easy and hard pairs by the gap that a reward model sees, which never judges what it was trained on."""

import statistics
from collections.abc import Callable, Sequence

import torch

from guerdon.batch import Preference, Seed
from guerdon.data.provenance import noted
from guerdon.data.split import prompt_key
from guerdon.errors import DataError

Gap = Callable[[Preference], float]
"""r(y_w) − r(y_l) of a record's first comparison."""


def cross_fitted(
    records: Sequence[Preference], fit: Callable[[Sequence[Preference]], Gap], folds: int = 2, seed: int = 0
) -> list[float]:
    """The gap of every record by a reward model that ``fit`` made of the *other* folds, so that no pair judges itself
    (a model that has seen a pair, wrong label and all, inflates its gap).

    Prompts are parted, never the records of one prompt. Raises DataError where there are fewer prompts than folds, or
    folds < 2.
    """
    keys = list(dict.fromkeys(prompt_key(r) for r in records))
    if not 2 <= folds <= len(keys):
        raise DataError(f"Cross-fitting needs 2 ≤ folds ≤ prompts, but folds={folds} came for {len(keys)} prompts.")
    order = torch.randperm(len(keys), generator=Seed(seed).child("folds").torch()).tolist()
    fold = {key: order[i] % folds for i, key in enumerate(keys)}
    models = [fit([r for r in records if fold[prompt_key(r)] != k]) for k in range(folds)]
    return [models[fold[prompt_key(r)]](r) for r in records]


def by_gap(
    records: Sequence[Preference], gaps: Sequence[float], threshold: float | None = None, noise: str = "hard"
) -> tuple[list[Preference], list[Preference]]:
    """(easy, hard): records whose gap exceeds ``threshold``, and the others (Gou & Nguyen 2024, 2403.19443).

    threshold: γ ≥ 0, or None for the median gap, at least 0, so that an easy pair is never one that the model thinks
    mislabelled; −inf calls all easy, +inf none. noise: what becomes of gaps below −γ (labels that the model is sure are
    wrong): 'hard' keeps them there (hard pairs give prompts alone), 'drop' leaves them out. Both sides keep the order
    of the records; without 'drop' they are a partition. Provenance: transform 'by_gap' with gap, threshold and side.
    Raises DataError for another ``noise``, a gap that is NaN or another number of gaps.
    """
    if noise not in ("hard", "drop") or len(gaps) != len(records) or any(g != g for g in gaps):
        raise DataError(
            f"by_gap takes a gap a record and noise 'hard' or 'drop', but {len(gaps)} gaps came for {len(records)} "
            f"records with noise={noise!r} (or a gap is NaN)."
        )
    gamma = max(0.0, statistics.median(gaps)) if threshold is None and gaps else threshold or 0.0
    easy: list[Preference] = []
    hard: list[Preference] = []
    for record, gap in zip(records, gaps, strict=True):
        side = "easy" if gap > gamma else "hard"
        if side == "hard" and noise == "drop" and gap < -abs(gamma):
            continue
        (easy if side == "easy" else hard).append(noted(record, "by_gap", gap=gap, threshold=gamma, side=side))
    return easy, hard
