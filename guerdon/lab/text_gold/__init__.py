"""A tiny causal LM over a generated language, with a hidden gold reward and proxies that can be hacked.

Belongs here: the language, its gold reward, demonstrations, preference pairs with knobs, the policy, the proxies, and
the testbed that builds all of them from a seed. Does not belong here: sampling (``worlds/text``), losses
(``objectives``), loops (``training``), or the comparison of methods (``lab/protocol``).
"""

from guerdon.lab.text_gold.demonstrations import Demonstrations, demonstrations
from guerdon.lab.text_gold.language import (
    HELD_OUT,
    PROMPTS,
    TRAINING,
    VOCABULARY,
    attributes,
    gold,
    gold_reward,
    prompt_ids,
    tokenizer,
)

__all__ = [
    "HELD_OUT",
    "PROMPTS",
    "TRAINING",
    "VOCABULARY",
    "Demonstrations",
    "attributes",
    "demonstrations",
    "gold",
    "gold_reward",
    "prompt_ids",
    "tokenizer",
]
