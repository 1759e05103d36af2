"""Cases of general preferences, SRPO, BRAIn, CREAM and the agreement of rankings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from guerdon import objectives, preferences, reduce
from guerdon.batch import Lists, Steps
from guerdon.checks import Case, Degree, Limit, Move
from guerdon.objectives import Objective
from tests.properties.cases_objectives import BATCH, LOGS, built, loss_of
from tests.properties.examples import MASK, ROWS, STEPS, real, unit

STEPS_OF = BATCH.steps or Steps(MASK)
SAMPLED = replace(
    BATCH, steps=replace(STEPS_OF, logp={**STEPS_OF.logp, "sampler": -unit(ROWS, STEPS, seed=31)}), pairs=None
)
ROLES = replace(
    SAMPLED,
    lists=Lists(
        torch.tensor([[0, 1, 2, 3, 5, 6], [7, 8, 9, 4, 7, 8]]),
        torch.tensor([[0.9, 0.1] * 3, [0.6, 0.4] * 3]),
        torch.tensor([0.5, 2.0]),
    ),
)


def regressed(**options: Any) -> Objective:
    """The regression of GPO on log-ratios."""
    return objectives.listwise(objectives.log_ratio(), objectives.score_regression(**options))


def of_lists(function: Callable[..., Any], names: tuple[str, ...], **roles: Any) -> Case:
    """A function of numbers [G,K] under a mask."""
    inputs = {name: real(ROWS, STEPS, seed=40 + i) for i, name in enumerate(names)}
    wide = (*names, "mask")
    given: dict[str, Any] = {
        "real": names,
        "differentiable": names,
        "masks": {"mask": names},
        "rows": dict.fromkeys(wide, 0),
        "steps": dict.fromkeys(wide, 1),
        "split": "rows",
        "function": function,
        **roles,
    }
    room = function.__module__.split(".")[1]
    return Case(f"{room}.{function.__name__}", function, {**inputs, "mask": MASK}, **given)


RANKED = {
    "differentiable": (),
    "moves": (Move(("first",), 0.0), Move(("second",), 0.0)),
    "degrees": (Degree(("first",), 0.0), Degree(("second",), 0.0)),
}
EMBEDDED = {"v_w": real(ROWS, 4, seed=50), "v_l": real(ROWS, 4, seed=51)}
GATE = 2 * unit(ROWS, 2, seed=52)

CASES = [
    built(
        objectives.brain,
        effects={"gamma": 3.0, "prior": "guide", "behaviour": "old"},
        batch=SAMPLED,
        moves=(Move((*LOGS, "steps.logp.sampler"), 0.0),),
    ),
    built(
        objectives.srpo,
        effects={"beta": 0.5, "alpha": 0.9, "of": "guide", "to": "old"},
        batch=ROLES,
        moves=(Move(LOGS, 0.0),),
    ),
    built(
        objectives.gpo,
        {"beta": 0.3},
        {"beta": 0.7, "ends": False, "limit": 0.2, "of": "guide", "to": "old"},
        batch=SAMPLED,
        moves=(Move(LOGS, 0.0),),
    ),
    built(
        regressed,
        {"beta": 0.3},
        {"beta": 0.7, "ends": False, "limit": 0.2},
        function=objectives.score_regression,
        batch=SAMPLED,
        moves=(Move(LOGS, 0.0),),
    ),
    built(
        objectives.cream,
        {"to": "reference"},
        {"beta": 0.7, "to": "old"},
        moves=(Move(LOGS, 0.0),),
    ),
    built(
        lambda: objectives.cream(to="reference"),
        name="objectives.cream[dpo]",
        function=objectives.cream,
        moves=(Move(LOGS, 0.0),),
        limits=(Limit({}, loss_of(objectives.dpo(0.1)), "dpo on soft labels"),),
    ),
    of_lists(
        objectives.matching_weights,
        ("log_target", "log_policy"),
        step_axis=1,
        moves=(Move(("log_target",), 0.0), Move(("log_policy",), 0.0)),
        effects={"form": "baseline"},
    ),
    of_lists(objectives.effective_samples, ("log_weight",), moves=(Move(("log_weight",), 0.0),)),
    of_lists(reduce.kendall_tau, ("first", "second"), **RANKED),
    of_lists(reduce.spearman, ("first", "second"), **RANKED),
    of_lists(reduce.same_ends, ("first", "second"), **RANKED),
    of_lists(
        reduce.ordinal_rank,
        ("x",),
        step_axis=1,
        differentiable=(),
        moves=(Move(("x",), 0.0),),
        degrees=(Degree(("x",), 0.0),),
    ),
    Case(
        "preferences.skew_score",
        preferences.skew_score,
        {"v_1": EMBEDDED["v_w"], "v_2": EMBEDDED["v_l"]},
        real=("v_1", "v_2"),
        differentiable=("v_1", "v_2"),
        rows={"v_1": 0, "v_2": 0},
        split="rows",
        degrees=(Degree(("v_1",), 1.0), Degree(("v_2",), 1.0)),
        effects={"gate": GATE},
        limits=(
            Limit({}, lambda v_1, v_2: -preferences.skew_score(v_2, v_1), "minus itself with the sides swapped"),
            Limit({"gate": torch.ones(ROWS, 2)}, preferences.skew_score, "the score without a gate"),
        ),
        function=preferences.skew_score,
    ),
    Case(
        "preferences.mean_skew_score",
        preferences.mean_skew_score,
        {"v": real(ROWS, STEPS, 4, seed=53), "mask": MASK},
        real=("v",),
        differentiable=("v",),
        masks={"mask": ("v",)},
        rows={"v": 0, "mask": 0},
        steps={"v": 1, "mask": 1},
        step_axis=1,
        split="rows",
        degrees=(Degree(("v",), 2.0),),
        effects={"gate": GATE},
        function=preferences.mean_skew_score,
    ),
    Case(
        "preferences.general_preference",
        preferences.general_preference,
        EMBEDDED,
        real=("v_w", "v_l"),
        differentiable=("v_w", "v_l"),
        rows={"v_w": 0, "v_l": 0},
        split="rows",
        effects={
            "gate": GATE,
            "preferred": unit(ROWS, seed=54),
            "weight": unit(ROWS, seed=55),
            "smoothing": 0.1,
            "temperature": 1.0,
        },
        limits=(
            Limit(
                {"temperature": 1.0},
                lambda v_w, v_l: preferences.bradley_terry(preferences.skew_score(v_w, v_l), torch.zeros(ROWS)),
                "bradley_terry on the score",
            ),
        ),
        function=preferences.general_preference,
    ),
]
