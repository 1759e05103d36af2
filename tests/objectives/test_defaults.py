"""Default hyperparameters as they were published: a change of one changes what users get, so it is made here too."""

import inspect
import math

import pytest

from guerdon import objectives

DEFAULTS = {
    "alphapo": {"beta": 2.5, "alpha": 0.25, "gamma": 0.25, "smoothing": 0.0},
    "aot": {"beta": 0.1, "smoothing": 0.0},
    "apo_down": {"beta": 0.1},
    "apo_zero": {"beta": 0.1},
    "asft": {"weight": 1.0, "beta": 1.0},
    "bco": {"beta": 0.1},
    "bco_pair": {"beta": 0.1},
    "beta_dpo": {"beta": 0.1, "alpha": 0.6, "momentum": 0.9, "least": 0.001, "smoothing": 0.0},
    "bradley_terry_loss": {"smoothing": 0.0},
    "brain": {"gamma": 1.0},
    "cal_dpo": {"beta": 0.1},
    "chi_po": {"beta": 0.05, "reward_range": math.inf, "highest": 20.0, "smoothing": 0.0},
    "clipped": {"low": 0.2},
    "cpo": {"beta": 0.1, "weight": 1.0, "smoothing": 0.0},
    "cream": {"beta": 0.1},
    "degree_loss": {"degrees": 3, "margin": 1.0},
    "desensitised_log_ratio": {"alpha": 0.5},
    "discopop": {"beta": 0.05, "tau": 0.05},
    "dno": {"eta": 0.1},
    "dpo": {"beta": 0.1, "smoothing": 0.0},
    "dpo_gamma": {"beta": 0.1, "gamma": 0.5},
    "dpo_ranking": {"beta": 0.1},
    "dpo_shift": {"beta": 0.01, "shift": 0.95, "smoothing": 0.0},
    "dpop": {"beta": 0.3, "weight": 50.0},
    "exo": {"beta": 0.1, "epsilon": 0.001},
    "exp_dpo": {"beta": 0.1},
    "expectation": {"sign": -1.0},
    "f_dpo": {"beta": 0.1, "alpha": 0.5, "smoothing": 0.0},
    "flex_dpo": {"chosen": 0.1, "rejected": 0.08, "smoothing": 0.0},
    "gpo": {"beta": 0.001},
    "guided_log_ratio": {"strength": 0.05},
    "hinge": {"margin": 1.0},
    "hinge_dpo": {"beta": 0.1, "margin": 1.0},
    "ipo_mean": {"tau": 0.1},
    "ipo_sum": {"tau": 0.1},
    "kto": {"beta": 0.1, "desirable": 1.0, "undesirable": 1.0},
    "ld_dpo": {"beta": 0.1, "alpha": 0.5},
    "lipo": {"beta": 0.05},
    "listwise": {"least": 2},
    "logistic": {"margin": 0.0, "smoothing": 0.0},
    "modpo": {"beta": 0.1, "weight": 0.5},
    "nca": {"beta": 0.01},
    "odpo": {"beta": 0.1, "alpha": 1.0, "least": 0.001, "smoothing": 0.0},
    "orpo": {"beta": 0.1},
    "r_dpo": {"beta": 0.1, "alpha": 0.01, "smoothing": 0.0},
    "relative_expectation": {"sign": 1.0},
    "robust_dpo": {"beta": 0.1, "flip": 0.1},
    "rpo": {"beta": 0.01, "eta": 0.005},
    "rso": {"beta": 0.05},
    "sampo": {"beta": 0.1, "smoothing": 0.0},
    "second_against_worst": {"margin": 0.0, "smoothing": 0.0},
    "selm": {"beta": 0.01, "alpha": 0.001},
    "sequence_sum": {"scale": 1.0},
    "sft_dpo": {"beta": 0.1, "gamma": 0.01},
    "simpo": {"beta": 2.0, "gamma": 1.0, "smoothing": 0.0},
    "slic": {"margin": 1.0, "weight": 0.5},
    "spo_degree": {"beta": 0.1, "gamma": 0.5, "degrees": 3},
    "sppo": {"eta": 1000.0},
    "sppo_hard": {"eta": 1000.0},
    "sppo_single": {"eta": 1000.0},
    "squared_hinge_dpo": {"beta": 0.1},
    "srpo": {"beta": 0.05, "alpha": 0.5},
    "tdpo": {"beta": 0.1, "alpha": 0.5, "smoothing": 0.0},
    "tdpo1": {"beta": 0.1, "smoothing": 0.0},
    "tgdpo": {"beta": 0.1, "alpha": 0.5},
    "tpo_tree": {"beta": 0.5},
    "triple_po": {"beta": 0.01, "weight": 1.0, "smoothing": 0.0},
    "triple_po_l": {"beta": 2.0, "gamma": 0.5, "weight": 1.0, "smoothing": 0.0},
    "vpo": {"beta": 0.1, "alpha": 0.1, "sign": -1.0},
    "wpo": {"beta": 0.1, "most": 1.0, "smoothing": 0.0},
    "xpo": {"beta": 0.1, "alpha": 1e-05},
}


def numbers(function: object) -> dict[str, float]:
    """Keyword -> default of those that are numbers."""
    found = {}
    for p in inspect.signature(function).parameters.values():  # type: ignore[arg-type]
        if isinstance(p.default, int | float) and not isinstance(p.default, bool):
            found[p.name] = p.default
    return found


@pytest.mark.parametrize("name", [n for n in objectives.__all__ if inspect.isfunction(getattr(objectives, n))])
def test_defaults_are_the_published_ones(name: str) -> None:
    assert numbers(getattr(objectives, name)) == DEFAULTS.get(name, {})
