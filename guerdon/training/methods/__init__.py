"""The methods that ``guerdon align`` offers by name, each the library's parts with its paper's settings.

Belongs here: presets, in tables (``PRESETS``) of modules that are found by walking this package. Does not belong here:
any mechanism; a preset names an objective, rules for the snapshots, an estimator, a build, and their defaults.
"""

import difflib
import importlib
import pkgutil
from functools import lru_cache

from guerdon.errors import GuerdonError
from guerdon.training.methods.preset import READS, Preset, frozen, iterated, only_policy

__all__ = ["READS", "Preset", "find", "frozen", "iterated", "names", "only_policy", "presets"]


@lru_cache(maxsize=1)
def presets() -> tuple[Preset, ...]:
    """Every preset, in order of module and table. Raises GuerdonError where two share a name."""
    found: dict[str, Preset] = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        for preset in getattr(importlib.import_module(module.name), "PRESETS", ()):
            if preset.name in found:
                raise GuerdonError(f"Two presets are called {preset.name!r}; one is in {module.name}.")
            found[preset.name] = preset
    return tuple(found.values())


def names(online: bool | None = None) -> tuple[str, ...]:
    """Names of all presets, or of those that sample (True) or learn from records (False)."""
    return tuple(p.name for p in presets() if online is None or p.online == online)


def find(name: str, online: bool | None = None) -> Preset:
    """The preset called ``name``. Raises GuerdonError naming the nearest ones, or all where there are few."""
    known = {p.name: p for p in presets() if online is None or p.online == online}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(sorted(known))}."
        kind = {None: "", True: "online ", False: "offline "}[online]
        raise GuerdonError(f"There is no {kind}method {name!r}; {hint}")
    return known[name]
