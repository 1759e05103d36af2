"""What every test shares: one torch thread, no network, the same examples on every run, where published data lie."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

# Set before any test module imports transformers or torch, which read them once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest
import torch

REPOSITORY = Path(__file__).resolve().parent.parent

torch.set_num_threads(1)
hypothesis.settings.register_profile("guerdon", derandomize=True, deadline=None, max_examples=50, database=None)
hypothesis.settings.load_profile("guerdon")


@pytest.fixture(autouse=True)
def _same_draws_every_time() -> None:
    """A test that draws from torch's global generator sees the same numbers alone, in the suite and on any worker."""
    torch.manual_seed(0)


def data_root() -> Path:
    """Folder of the published data sets: GUERDON_DATA, or `../shared/data` beside the repository."""
    return Path(os.environ.get("GUERDON_DATA") or REPOSITORY.parent / "shared" / "data")


@pytest.fixture(scope="session")
def guerdon_data() -> Callable[[str], Path]:
    """`guerdon_data("hh_rlhf/test.jsonl.gz")` is that path; where it is absent the test is skipped and says why."""

    def find(name: str) -> Path:
        path = data_root() / name
        if not path.exists():
            pytest.skip(f"no data set {name!r} under {data_root()}; set GUERDON_DATA to the folder that holds it")
        return path

    return find
