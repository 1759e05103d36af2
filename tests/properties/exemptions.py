"""What is not held to a property, and why: the only place where a property is waived.

A property that *cannot* apply (no mask, no groups) needs no exemption: it says so itself.
"""

from __future__ import annotations

# Public functions without a case.
FUNCTIONS: dict[str, str] = {
    "shaping.relative": "makes a reward: held to check_reward in tests/properties/test_rewards.py",
    "shaping.match_anchors": "matches prompts by key: no numbers in, held to by tests/shaping/test_anchored.py",
}

# (case, property) -> reason. A case name without its [variant] covers all variants.
PROPERTIES: dict[tuple[str, str], str] = {
    ("divergences.generator", "dtype_parity"): "f and f′ are elementwise formulas; f_divergence converts what they get",
    ("shaping.centre[running]", "finite_difference_gradient"): "running statistics are constants of the gradient",
    ("shaping.zscore[running]", "finite_difference_gradient"): "running statistics are constants of the gradient",
    ("shaping.minmax[running]", "finite_difference_gradient"): "running statistics are constants of the gradient",
    ("shaping.running_clip", "finite_difference_gradient"): "running statistics are constants of the gradient",
    ("objectives.tpo_tree", "pad_invariance"): "the check pads tensors, not spans; test_ranked.py pads both",
    ("shaping.length_residual", "finite_difference_gradient"): "the slope on length is a detached statistic",
}

# (function, parameter) -> why no case shows its effect. '*' stands for every function.
OPTIONS: dict[tuple[str, str], str] = {
    ("shaping.lengths_of", "samples"): "an input: the case orders the rows of one set of samples",
    ("shaping.pointwise", "name"): "a label in the graph",
    ("shaping.potential", "truncated"): "decides where next_phi must be given, and the case gives it everywhere",
    ("objectives.pairwise", "name"): "a label of the term",
    ("objectives.listwise", "name"): "a label of the term",
    ("objectives.pairwise", "needs"): "what the weight reads, told to the loop; held to by check_objective",
    ("objectives.listwise", "needs"): "what the weight reads, told to the loop; held to by check_objective",
    ("objectives.weighted_log_ratio", "needs"): "what the weights read, told to the loop; held to by check_objective",
    ("objectives.expectation", "name"): "a label of the term",
    ("objectives.relative_expectation", "name"): "a label of the term",
    (
        "logprobs.token_logprobs",
        "products",
    ): "rounds gradients alone; tests/numerics/test_logprobs.py shows by how much",
    (
        "logprobs.token_logprobs",
        "logits",
    ): "rounds values, which finite differences do not see through; tests/numerics/test_logprobs.py has its twin",
    ("logprobs.token_logprobs", "chunk_tokens"): "memory and speed only: the chunked case has the twin's values",
    ("logprobs.token_logprobs", "chunk_vocab"): "memory and speed only: the chunked case has the twin's values",
}

# Parameters that a case spells otherwise, because a case's inputs are tensors.
ALIASES: dict[str, tuple[str, ...]] = {"partition": ("ids",), "rewards": ("reward",), "second": ("hidden2", "second")}
