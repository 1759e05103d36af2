"""Seeded train and test splits in which no prompt stands on both sides."""

from collections.abc import Callable, Sequence

from guerdon.batch import Preference, Seed
from guerdon.errors import DataError


def prompt_key(preference: Preference) -> str:
    """What makes two prompts the same: roles and texts, white space aside."""
    return "\n".join(f"{m.role}: {' '.join(m.text.split())}" for m in preference.prompt)


def first_turn_key(preference: Preference) -> str:
    """Coarser: the first user turn alone, so that all stages of one dialogue fall on one side."""
    return next((" ".join(m.text.split()) for m in preference.prompt if m.role == "user"), "")


def split_preferences(
    preferences: Sequence[Preference],
    test: int | float,
    seed: int = 0,
    key: Callable[[Preference], str] = prompt_key,
) -> tuple[list[Preference], list[Preference]]:
    """(train, test): records that share a key fall on the same side; both keep the order of the input.

    test: number of test records, or their share in (0, 1) (rounded). Groups are taken in an order drawn from (seed,
    key) as long as they fit, so the sides do not depend on the order of the records, and the test side holds exactly
    ``test`` records whenever single-record groups can fill it, else a few fewer.

    Raises DataError where either side would be empty.
    """
    wanted = round(test * len(preferences)) if isinstance(test, float) else test
    if not 0 < wanted < len(preferences):
        raise DataError(f"split: test={test} of {len(preferences)} records leaves one side empty; choose another size.")
    groups: dict[str, list[int]] = {}
    for i, preference in enumerate(preferences):
        groups.setdefault(key(preference), []).append(i)
    held: set[int] = set()
    for name in sorted(groups, key=lambda name: Seed(seed).child("split", name).integer()):
        if len(held) + len(groups[name]) <= wanted:
            held.update(groups[name])
    if not held:
        smallest = min(map(len, groups.values()))
        raise DataError(f"split: no group of equal prompts fits test={wanted}; the smallest has {smallest} records.")
    sides: tuple[list[Preference], list[Preference]] = ([], [])
    for i, preference in enumerate(preferences):
        sides[i in held].append(preference)
    return sides
