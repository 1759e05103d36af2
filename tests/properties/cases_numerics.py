"""Cases of guerdon.divergences and guerdon.logprobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from guerdon import divergences, logprobs
from guerdon.checks import Case, Degree, Limit, Move
from tests.properties.examples import MASK, ROWS, STEPS, log_probs, real, unit

P, Q = log_probs(ROWS, 4, seed=1), log_probs(ROWS, 4, seed=2)
D_PI, D_REF = P.exp(), Q.exp()
ALPHA = divergences.generator("alpha", 0.3)


def pair_case(function: Callable[..., Any], inputs: dict[str, Tensor], **roles: Any) -> Case:
    """A divergence of two [N,K] inputs."""
    given: dict[str, Any] = {
        "real": tuple(inputs),
        "differentiable": tuple(inputs),
        "rows": dict.fromkeys(inputs, 0),
        "split": "rows",
        "domain": dict.fromkeys(inputs, (-80.0, 0.0) if "logp" in inputs else (1e-6, 1.0)),
        "function": function,
        **roles,
    }
    return Case(f"divergences.{function.__name__}", function, inputs, **given)


LOGS = {"logp": P, "logq": Q}
OCCUPANCY = {"d_pi": D_PI, "d_ref": D_REF}
GAUSS = {
    "mean_p": real(ROWS, seed=1),
    "std_p": unit(ROWS, seed=2),
    "mean_q": real(ROWS, seed=3),
    "std_q": unit(ROWS, seed=4),
}


def estimate(kind: str, gradient: str, **roles: Any) -> Case:
    """kl_estimate with one kind and one gradient."""
    function = divergences.kl_estimate
    given: dict[str, Any] = {
        "real": ("log_ratio",),
        "differentiable": () if gradient == "none" else ("log_ratio",),
        "rows": {"log_ratio": 0},
        "split": "rows",
        "domain": {"log_ratio": (-80.0, 80.0)},
        "effects": {"clamp_ratio": 0.1, "clamp_value": 0.05, "kind": {"k1": "k2", "k2": "k3", "k3": "k1"}[kind]},
        "function": function,
        **roles,
    }
    inputs = {"log_ratio": real(ROWS, STEPS)}
    return Case(
        f"divergences.kl_estimate[{kind},{gradient}]", function, inputs, {"kind": kind, "gradient": gradient}, **given
    )


DIVERGENCES = [
    *(
        Case(
            f"divergences.generator[{options['name']}]",
            lambda log_u, name, alpha=None: divergences.generator(name, alpha).f(log_u),
            {"log_u": real(ROWS, STEPS)},
            options,
            real=("log_u",),
            differentiable=("log_u",),
            rows={"log_u": 0},
            split="rows",
            domain={"log_u": (-40.0, 40.0)},
            effects=effects,
            function=divergences.generator,
        )
        for options, effects in (({"name": "js"}, {"name": "chi2"}), ({"name": "alpha", "alpha": 0.3}, {"alpha": 0.6}))
    ),
    pair_case(divergences.f_divergence, LOGS, options={"of": ALPHA}, effects={"of": divergences.generator("js")}),
    pair_case(divergences.reverse_kl, LOGS),
    pair_case(divergences.forward_kl, LOGS),
    pair_case(divergences.jensen_shannon, LOGS),
    pair_case(
        divergences.alpha_divergence,
        LOGS,
        options={"alpha": 0.3},
        effects={"alpha": 0.6},
        limits=(
            Limit({"alpha": 0.0}, divergences.reverse_kl, "reverse_kl"),
            Limit({"alpha": 1.0}, divergences.forward_kl, "forward_kl"),
        ),
        # Away from normalised distributions the two differ by terms linear in u, so gradients are compared nowhere.
        differentiable=(),
    ),
    pair_case(divergences.chi_squared, LOGS, domain={"logp": (-40.0, 0.0), "logq": (-40.0, 0.0)}),
    pair_case(divergences.total_variation, LOGS),
    pair_case(
        divergences.occupancy_divergence,
        OCCUPANCY,
        degrees=(Degree(("d_pi", "d_ref"), 1.0),),
        options={"of": ALPHA},
        effects={"of": divergences.generator("js")},
    ),
    pair_case(divergences.occupancy_kl, OCCUPANCY, degrees=(Degree(("d_pi", "d_ref"), 1.0),)),
    pair_case(divergences.occupancy_chi2, OCCUPANCY, degrees=(Degree(("d_pi", "d_ref"), 1.0),)),
    pair_case(divergences.occupancy_root_chi2, OCCUPANCY, degrees=(Degree(("d_pi", "d_ref"), 0.5),)),
    pair_case(
        divergences.gaussian_kl,
        GAUSS,
        domain={"mean_p": (-1e4, 1e4), "mean_q": (-1e4, 1e4), "std_p": (1e-3, 1e3), "std_q": (1e-3, 1e3)},
        moves=(Move(("mean_p", "mean_q"), 0.0),),
        degrees=(Degree(("mean_p", "mean_q", "std_p", "std_q"), 0.0),),
    ),
    estimate("k1", "pathwise", moves=(Move(("log_ratio",), 1.0),), degrees=(Degree(("log_ratio",), 1.0),), domain={}),
    estimate("k2", "pathwise", degrees=(Degree(("log_ratio",), 2.0),), domain={}, effects={"gradient": "score"}),
    estimate("k3", "pathwise", effects={"gradient": "k2"}),
    estimate("k3", "none", effects={"clamp_ratio": 0.1, "clamp_value": 0.05}),
]

WORDS, WIDTH = 7, 3
LABELS = torch.randint(WORDS, (ROWS, STEPS), generator=torch.Generator().manual_seed(4))
HIDDEN = real(ROWS, STEPS, WIDTH, seed=5)
WEIGHT, BIAS = real(WORDS, WIDTH, seed=6), real(WORDS, seed=7)
SECOND = (real(ROWS, STEPS, 2, seed=8), real(WORDS, 2, seed=9), None)
WANT = ("logp", "entropy", "collision", "kl")


def head(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with the second head's three parts as inputs of their own."""

    def call(hidden2: Tensor, weight2: Tensor, **given: Any) -> dict[str, Tensor]:
        return function(second=(hidden2, weight2, None), **given)

    return call


def head_case(function: Callable[..., Any], **roles: Any) -> Case:
    """token_logprobs and its twin."""
    inputs = {
        "hidden": HIDDEN,
        "weight": WEIGHT,
        "bias": BIAS,
        "labels": LABELS,
        "mask": MASK,
        "hidden2": SECOND[0],
        "weight2": SECOND[1],
    }
    given: dict[str, Any] = {
        "real": ("hidden", "weight", "bias", "hidden2", "weight2"),
        "differentiable": ("hidden", "weight", "bias"),
        "masks": {"mask": ("hidden", "labels", "hidden2")},
        "rows": {"hidden": 0, "labels": 0, "mask": 0, "hidden2": 0},
        "steps": {"hidden": 1, "labels": 1, "mask": 1, "hidden2": 1},
        "step_axis": 1,
        "split": "rows",
        "domain": {"weight": (-10.0, 10.0), "weight2": (-10.0, 10.0), "hidden2": (-10.0, 10.0)},
        "moves": (Move(("bias",), 0.0),),
        "effects": {
            "temperature": 0.7,
            "softcap": 1.0,
            "logit_scale": 2.0,
            "real_vocab": 6,
            "want": ("logp",),
        },
        "function": function,
        **roles,
    }
    if "real_vocab" in given["effects"]:
        inputs["labels"] = inputs["labels"].clamp(max=5)
    return Case(f"logprobs.{function.__name__}", head(function), inputs, {"want": WANT}, **given)


LOGITS = real(ROWS, STEPS, WORDS, seed=10)


LOGPROBS = [
    head_case(
        logprobs.token_logprobs,
        twin=head(logprobs.token_logprobs_reference),
        limits=(
            Limit(
                {"temperature": 1.0, "softcap": None, "logit_scale": 1.0},
                lambda hidden, weight, bias, labels, mask, hidden2, weight2: logprobs.from_logits(
                    hidden @ weight.T + bias, labels, mask=mask, want=WANT, second=hidden2 @ weight2.T
                ),
                "from_logits",
            ),
        ),
    ),
    Case(
        "logprobs.token_logprobs[chunked]",
        head(logprobs.token_logprobs),
        head_case(logprobs.token_logprobs).inputs,
        {"want": WANT, "chunk_tokens": 3, "chunk_vocab": 2},
        real=("hidden", "weight", "bias"),
        differentiable=("hidden", "weight", "bias"),
        masks={"mask": ("hidden", "labels", "hidden2")},
        rows={"hidden": 0, "labels": 0, "mask": 0, "hidden2": 0},
        steps={"hidden": 1, "labels": 1, "mask": 1, "hidden2": 1},
        step_axis=1,
        split="rows",
        domain={"weight": (-10.0, 10.0)},
        moves=(Move(("bias",), 0.0),),
        twin=lambda chunk_tokens, chunk_vocab, **given: head(logprobs.token_logprobs_reference)(**given),
        effects={"temperature": 0.7},
        function=logprobs.token_logprobs,
    ),
    head_case(logprobs.token_logprobs_reference),
    Case(
        "logprobs.from_logits",
        logprobs.from_logits,
        {"logits": LOGITS, "labels": LABELS, "mask": MASK, "second": real(ROWS, STEPS, WORDS, seed=11)},
        {"want": WANT},
        real=("logits", "second"),
        differentiable=("logits",),
        masks={"mask": ("logits", "labels", "second")},
        rows={"logits": 0, "labels": 0, "mask": 0, "second": 0},
        steps={"logits": 1, "labels": 1, "mask": 1, "second": 1},
        step_axis=1,
        split="rows",
        moves=(Move(("logits",), 0.0), Move(("second",), 0.0)),
        effects={"temperature": 0.7, "want": ("logp", "kl")},
        function=logprobs.from_logits,
    ),
]

CASES = [*DIVERGENCES, *LOGPROBS]
