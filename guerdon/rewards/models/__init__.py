"""Learned rewards: embeddings, heads, scalar reward models on any backbone, and the rewards made of them.

Belongs here: models that turn samples into scores and how they are saved. Does not belong here: how text becomes tokens
(``guerdon.worlds.text``), fitting models (``guerdon.training.reward_models``), combining ensemble members
(``guerdon.shaping``), judging them (``guerdon.audit``). transformers, tokenizers, safetensors and peft are loaded only
when a model is.
"""

from guerdon.rewards.models.embedded import EmbeddingRewardModel, Scaling, features
from guerdon.rewards.models.embeddings import Embedder, cache_root, load_embedder
from guerdon.rewards.models.general import GeneralPreferenceHead, GeneralPreferenceModel, GeneralPreferenceReward
from guerdon.rewards.models.heads import LinearHead, MLPHead, head_from
from guerdon.rewards.models.loading import load_backbone, load_tokenizer
from guerdon.rewards.models.reward import (
    ModelReward,
    TensorReward,
    TextScorer,
    load_model,
    load_reward,
    member_names,
)
from guerdon.rewards.models.scalar import ScalarRewardModel

__all__ = [
    "Embedder",
    "EmbeddingRewardModel",
    "GeneralPreferenceHead",
    "GeneralPreferenceModel",
    "GeneralPreferenceReward",
    "LinearHead",
    "MLPHead",
    "ModelReward",
    "ScalarRewardModel",
    "Scaling",
    "TensorReward",
    "TextScorer",
    "cache_root",
    "features",
    "head_from",
    "load_backbone",
    "load_embedder",
    "load_model",
    "load_reward",
    "load_tokenizer",
    "member_names",
]
