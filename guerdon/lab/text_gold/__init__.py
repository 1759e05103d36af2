"""A tiny causal LM over a generated language, with a hidden gold reward and proxies that can be hacked.

Belongs here: the language, its gold reward, demonstrations, preference pairs with knobs, the policy, the proxies, the
testbed that builds all of them from a seed, and its tuned baselines. Does not belong here: sampling (``worlds/text``),
losses (``objectives``), loops (``training``), or the comparison of methods (``lab/protocol``).
"""

from guerdon.lab.text_gold.demonstrations import Demonstrations, demonstrations
from guerdon.lab.text_gold.language import (
    HELD_OUT,
    PROMPTS,
    TRAINING,
    VOCABULARY,
    GoldReward,
    attributes,
    gold,
    gold_reward,
    prompt_ids,
    rows_of,
    tokenizer,
)
from guerdon.lab.text_gold.pairs import Annotator, GoldPairs, compare, label
from guerdon.lab.text_gold.policy import SAMPLING, fresh_policy, text_world, warm_start
from guerdon.lab.text_gold.proxy import Proxy, fit_proxy, standardised
from guerdon.lab.text_gold.recipes import best_of_n, leave_one_out, offline, online, preference, supervised
from guerdon.lab.text_gold.testbed import HARSH, MILD, Bed, Condition, build, evaluate, sample

__all__ = [
    "HARSH",
    "HELD_OUT",
    "MILD",
    "PROMPTS",
    "SAMPLING",
    "TRAINING",
    "VOCABULARY",
    "Annotator",
    "Bed",
    "Condition",
    "Demonstrations",
    "GoldPairs",
    "GoldReward",
    "Proxy",
    "attributes",
    "best_of_n",
    "build",
    "compare",
    "demonstrations",
    "evaluate",
    "fit_proxy",
    "fresh_policy",
    "gold",
    "gold_reward",
    "label",
    "leave_one_out",
    "offline",
    "online",
    "preference",
    "prompt_ids",
    "rows_of",
    "sample",
    "standardised",
    "supervised",
    "text_world",
    "tokenizer",
    "warm_start",
]
