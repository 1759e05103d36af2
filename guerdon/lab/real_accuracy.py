"""How well a small reward model reads real people: a Bradley–Terry head on frozen sentence embeddings of human
judgements.

``python -m guerdon.lab.real_accuracy`` reads the 2,312 harmlessness pairs of HH-RLHF under $GUERDON_DATA, fits on 1,800
and tests on 512 in each of 10 seeded splits, and prints the mean held-out accuracy beside a length-only baseline on the
same splits. Which texts are embedded and how strong the weight decay is are chosen in every split by 5-fold
cross-validation *within its training pairs*.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import guerdon
from guerdon.batch import Preference, Seed
from guerdon.data import read_preferences
from guerdon.errors import DataError
from guerdon.files import write_text
from guerdon.lab.stats import paired_interval
from guerdon.rewards.models import Embedder, LinearHead, Scaling, features, load_embedder
from guerdon.training.reward_models import TextPairs, fit_head

FILE = "hh_rlhf/harmless-base/test.jsonl.gz"
TRAIN, TEST, FOLDS = 1800, 512, 5
# The menu: what is embedded, and the weight decay on features of unit mean squared norm. It was narrowed by
# cross-validation inside 1,800 pairs of one other permutation; within a split the choice never sees a test pair.
FEATURES = (("response",), ("response", "exchange"), ("response", "dialogue"), ("response", "exchange", "dialogue"))
DECAYS = (0.03, 0.1, 0.3, 1.0)


@dataclass(frozen=True)
class Split:
    """One split's outcome: held-out accuracies, what cross-validation chose and what it expected."""

    seed: int
    accuracy: float
    length_baseline: float
    features: tuple[str, ...]
    weight_decay: float
    cross_validated: float
    train_accuracy: float


def accuracy(gap: Tensor) -> float:
    """Share of pairs with score difference > 0; a tie counts one half."""
    return float(((gap > 0).double() + 0.5 * (gap == 0).double()).mean())


def fitted(winner: Tensor, loser: Tensor, decay: float) -> tuple[LinearHead, Scaling]:
    """A head and the scaling fitted on these training pairs [P,D]."""
    scaling = Scaling.fit(torch.cat([winner, loser]))
    head = LinearHead(winner.shape[1])
    fit_head(head, scaling(winner), scaling(loser), weight_decay=decay, steps=50)
    return head, scaling


def gaps(model: tuple[LinearHead, Scaling], winner: Tensor, loser: Tensor) -> Tensor:
    """Score differences [P] of unseen pairs."""
    head, scaling = model
    with torch.no_grad():
        return (head(scaling(winner)) - head(scaling(loser))).squeeze(-1)


def cross_validated(winner: Tensor, loser: Tensor, decay: float, folds: Sequence[Tensor]) -> float:
    """Mean accuracy over the folds, each predicted by a head fitted on the others."""
    out = []
    for k, held in enumerate(folds):
        rest = torch.cat([f for j, f in enumerate(folds) if j != k])
        model = fitted(winner[rest], loser[rest], decay)
        out.append(accuracy(gaps(model, winner[held], loser[held])))
    return sum(out) / len(out)


def length_baseline(gap: Tensor, train: Tensor, test: Tensor) -> float:
    """Prefer the longer, or the shorter, response: whichever is right more often in training."""
    sign = 1.0 if accuracy(gap[train]) >= 0.5 else -1.0
    return accuracy(sign * gap[test])


def one_split(seed: int, blocks: dict[str, tuple[Tensor, Tensor]], length_gap: Tensor) -> Split:
    """Choose by cross-validation on the training pairs, fit on all of them, test once."""
    order = torch.randperm(len(length_gap), generator=Seed(seed).child("real_accuracy", "split").torch())
    train, test = order[:TRAIN], order[TRAIN : TRAIN + TEST]
    folds = [train[k::FOLDS] for k in range(FOLDS)]
    sides = {
        names: (torch.cat([blocks[n][0] for n in names], 1), torch.cat([blocks[n][1] for n in names], 1))
        for names in FEATURES
    }
    tried = [(cross_validated(*sides[n], d, folds), d, n) for n in FEATURES for d in DECAYS]
    best, decay, names = max(tried, key=lambda t: (t[0], t[1]))  # at a tie the stronger weight decay
    winner, loser = sides[names]
    model = fitted(winner[train], loser[train], decay)
    return Split(
        seed,
        accuracy(gaps(model, winner[test], loser[test])),
        length_baseline(length_gap, train, test),
        names,
        decay,
        best,
        accuracy(gaps(model, winner[train], loser[train])),
    )


def embed(records: Sequence[Preference], embedder: Embedder) -> tuple[dict[str, tuple[Tensor, Tensor]], Tensor]:
    """Feature blocks of winners and losers by name, and the difference of response lengths in characters [P]."""
    pairs = TextPairs.of(records)
    names = sorted({n for group in FEATURES for n in group})
    blocks = {
        n: (
            features(embedder, pairs.prompts, pairs.winners, [n]),
            features(embedder, pairs.prompts, pairs.losers, [n]),
        )
        for n in names
    }
    lengths = [float(len(w) - len(l)) for w, l in zip(pairs.winners, pairs.losers, strict=True)]
    return blocks, torch.tensor(lengths)


def summary(splits: Sequence[Split]) -> dict[str, Any]:
    """Means and 95 % Student intervals over splits. The splits share pairs, so the intervals are of the procedure on
    this data set."""
    model = paired_interval([s.accuracy for s in splits])
    length = paired_interval([s.length_baseline for s in splits])
    gain = paired_interval([s.accuracy - s.length_baseline for s in splits])
    return {"accuracy": asdict(model), "length_baseline": asdict(length), "gain": asdict(gain)}


def line(found: dict[str, Any]) -> str:
    """The one line the command prints last."""
    a, l, g = found["accuracy"], found["length_baseline"], found["gain"]
    return (
        f"held-out accuracy {a['estimate']:.4f} [{a['low']:.4f}, {a['high']:.4f}] "
        f"over {a['n']} splits of {TRAIN}/{TEST}; "
        f"length only {l['estimate']:.4f} [{l['low']:.4f}, {l['high']:.4f}]; "
        f"difference {g['estimate']:+.4f} [{g['low']:+.4f}, {g['high']:+.4f}]"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the splits, store the result, print the line."""
    parser = argparse.ArgumentParser(prog="python -m guerdon.lab.real_accuracy", description=__doc__)
    parser.add_argument("--data", default=os.environ.get("GUERDON_DATA", "../shared/data"), help="folder of data sets")
    parser.add_argument("--out", default="results/real_accuracy.json", help="where the result is stored")
    parser.add_argument("--splits", type=int, default=10, help="seeded splits")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    path = Path(given.data) / FILE
    records, _ = read_preferences(path, strict_pairs=False)
    if len(records) < TRAIN + TEST:
        raise DataError(f"{path} must hold at least {TRAIN + TEST} pairs, but holds {len(records)}.")
    start = time.perf_counter()
    print(f"embedding {2 * len(records)} dialogues (cached by content) …", flush=True)
    blocks, length_gap = embed(records, load_embedder("minilm", max_length=256))
    splits = []
    for seed in range(given.splits):
        splits.append(one_split(seed, blocks, length_gap))
        s = splits[-1]
        print(
            f"split {seed}: {s.accuracy:.4f}, length only {s.length_baseline:.4f} "
            f"(chosen: {' + '.join(s.features)}, weight decay {s.weight_decay:g}, expected {s.cross_validated:.4f})",
            flush=True,
        )
    found = summary(splits)
    store(Path(given.out), found, splits, time.perf_counter() - start, len(records))
    print(line(found))
    return 0


def store(path: Path, found: dict[str, Any], splits: Sequence[Split], seconds: float, pairs: int) -> None:
    """The result with per-seed numbers and versions, replaced atomically."""
    import transformers

    data = {
        "command": "python -m guerdon.lab.real_accuracy",
        "data": FILE,
        "pairs": pairs,
        "encoder": "minilm (all-MiniLM-L6-v2, frozen), 256 tokens",
        **found,
        "splits": [asdict(s) for s in splits],
        "menu": {"features": FEATURES, "weight_decay": DECAYS, "folds": FOLDS},
        "seconds": round(seconds, 1),
        "versions": {
            "guerdon": guerdon.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "threads": torch.get_num_threads(),
        },
    }
    write_text(path, json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
