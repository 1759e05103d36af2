"""The main job as plain functions: read, audit, train a reward model, evaluate it, align, score, sample, serve.

Belongs here: what the command line calls and people call from Python; every verb takes keyword options by the names of
``guerdon.verbs.options`` and, given ``out``, leaves a folder that ``guerdon report`` can read. Does not belong here:
how any of it is done (the rooms above), printing and parsing (``cli``). Names resolve on first use, since ``options``
must load without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guerdon.verbs.alignment import Aligned, align
    from guerdon.verbs.preferences import audit, read, split
    from guerdon.verbs.reward import evaluate, train_reward
    from guerdon.verbs.sampling import sample
    from guerdon.verbs.scoring import explain, score
    from guerdon.verbs.serving import serve

__all__ = [
    "Aligned",
    "align",
    "audit",
    "evaluate",
    "explain",
    "read",
    "sample",
    "score",
    "serve",
    "split",
    "train_reward",
]

_MODULES = {
    "Aligned": "alignment",
    "align": "alignment",
    "audit": "preferences",
    "explain": "scoring",
    "read": "preferences",
    "sample": "sampling",
    "score": "scoring",
    "serve": "serving",
    "split": "preferences",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'guerdon.verbs' has no attribute {name!r}")
    return getattr(import_module(f"guerdon.verbs.{_MODULES.get(name, 'reward')}"), name)
