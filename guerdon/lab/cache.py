"""Testbeds are built once: tensors kept by a hash of everything that their values depend on."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guerdon.files import replacing
from guerdon.lab.results import sources_hash
from guerdon.rewards.models.embeddings import cache_root

# What the values of a text testbed depend on besides its own sources.
SOURCES = ("guerdon.worlds", "guerdon.training", "guerdon.objectives.expectation", "guerdon.preferences")


@cache
def _hash(modules: tuple[str, ...]) -> str:
    return sources_hash(modules)


def key_of(kind: str, settings: Mapping[str, Any], sources: Sequence[str]) -> str:
    """Hash of kind, settings, sources, library versions and thread count.

    The thread count belongs in it: sums are split among threads, so results are bitwise equal only at one count.
    """
    import transformers

    about = {
        "kind": kind,
        "settings": settings,
        "sources": _hash(tuple(sources)),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]


def kept(
    kind: str,
    settings: Mapping[str, Any],
    make: Callable[[], Mapping[str, Tensor]],
    sources: Sequence[str],
    folder: Path | None = None,
) -> dict[str, Tensor]:
    """What ``make()`` gives, from disk where an equal one was made before.

    Stored as safetensors in ``folder`` (default: 'lab' in the user's cache folder, GUERDON_CACHE). A file that cannot
    be read is made again. Writing is atomic, so that two processes may build the same testbed.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load, save

    path = (folder or cache_root() / "lab") / f"{kind}-{key_of(kind, settings, sources)}.safetensors"
    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError):
        pass
    made = {name: x.detach().contiguous() for name, x in make().items()}
    with replacing(path) as part:
        part.write_bytes(save(made))
    return made
