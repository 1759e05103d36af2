"""A scalar reward model as a folder for ``AutoModelForSequenceClassification``: TRL's reward models, RewardBench,
servers of vLLM and SGLang, and whoever else scores with one label."""

import copy
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from guerdon.errors import GuerdonError
from guerdon.rewards.models import loading
from guerdon.rewards.models.heads import LinearHead
from guerdon.rewards.models.saving import whole_folder
from guerdon.rewards.models.scalar import ScalarRewardModel

PAD = "<|pad|>"
PROBE = ("a", "b")


def as_sequence_classifier(model: ScalarRewardModel, out: str | Path, *, member: int | None = None) -> Path:
    """Write ``model`` with its tokenizer to the folder ``out`` (replaced whole), returned; ``model`` stays as it is.

    There ``classifier(input_ids, attention_mask).logits[:, 0]`` is our score of the same ids to 1e-5 in float32. Of K
    members it is their mean, which one linear head has exactly, or that of ``member``. LoRA is merged.

    Hosts score the last token whose id is not the pad id. So the tokenizer pads with a token that no row ends with: its
    own, or a new ``<|pad|>`` where that is the end token, the unknown token or missing (trl#6952, trl#937), and one
    embedding is added where the vocabulary has no room. It pads on the right; models with learned positions (GPT-2)
    need that, since transformers counts positions from the padding. A chat template that writes something behind the
    last turn's end (ChatML's newline) loses it there, so that texts which hosts render end where our rows end; a model
    that renders otherwise (``rendering`` 'raw', 'dialogue') is written without template. A host that joins plain texts
    itself (TRL without message lists) adds no end token: it asks about other rows than ours.

    Raises GuerdonError where the head or backbone has no counterpart in transformers, or ``member`` does not exist.
    """
    if member is not None and not 0 <= member < model.members:
        raise GuerdonError(f"member must be in 0…{model.members - 1}, but {member} came.")
    tokenizer = _tokenizer(model)
    whole: Any = copy.deepcopy(model.backbone) if model.readout == "classifier" else _assemble(model, member)
    if len(tokenizer) > whole.get_input_embeddings().num_embeddings:
        whole.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    for config in (whole.config, whole.config.get_text_config()):
        config.pad_token_id = tokenizer.pad_token_id
    _compare(model, whole, member)
    with whole_folder(out) as part:
        whole.save_pretrained(part)
        tokenizer.save_pretrained(part)
    return Path(out)


def _assemble(model: ScalarRewardModel, member: int | None) -> Any:
    """The backbone, adapters merged, below transformers' own classifier class."""
    from transformers import AutoModelForSequenceClassification

    if not isinstance(model.head, LinearHead):
        raise GuerdonError(f"A sequence classifier has one linear head, but this is a {type(model.head).__name__}.")
    own: Any = copy.deepcopy(model.backbone)
    backbone: Any = own.merge_and_unload() if hasattr(own, "peft_config") else own
    kind = type(backbone).__name__
    if not loading.is_causal(backbone):
        raise GuerdonError(
            f"transformers' classifier of a {kind} reads its first token through a pooler, but this model reads the "
            "last; export models with a causal backbone, or ones loaded from a classifier."
        )
    config = copy.deepcopy(backbone.config)
    config.num_labels, config.problem_type = 1, "regression"  # no sigmoid in transformers' pipelines
    try:
        with torch.device("meta"):
            whole: Any = AutoModelForSequenceClassification.from_config(config)
    except ValueError:
        raise GuerdonError(f"transformers has no sequence classifier for a {kind}.") from None
    prefix, score = whole.base_model_prefix, getattr(whole, "score", None)
    if type(getattr(whole, prefix, None)) is not type(backbone) or not isinstance(score, nn.Linear):
        raise GuerdonError(f"{type(whole).__name__} is not a {kind} with one linear head 'score'.")
    heads = model.head.weight.detach()
    row = heads.mean(0, keepdim=True) if member is None else heads[member : member + 1]
    setattr(whole, prefix, backbone)
    whole.score = nn.Linear(heads.shape[1], 1, bias=False, dtype=model.backbone.dtype, device=model.device)
    with torch.no_grad():
        whole.score.weight.copy_(row)
    return whole.eval()


def _compare(model: ScalarRewardModel, whole: Any, member: int | None) -> None:
    """Refuse a classifier that scores a probe otherwise (another pooling, a scale). Coarser types are not compared."""
    if whole.dtype != torch.float32:
        return
    row = model.encode(*PROBE)
    ids = torch.tensor([[*row.prompt, *row.response]], device=model.device)
    with torch.no_grad():
        theirs = float(whole(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, 0])
    heads = model.score_encoded([row])[0]
    ours = float(heads.mean() if member is None else heads[member])
    if abs(ours - theirs) > 1e-4 * max(1.0, abs(ours)):
        raise GuerdonError(
            f"{type(whole).__name__} reads its score elsewhere than this model ({theirs:.4f} for {ours:.4f}), so there "
            "is no equal classifier; serve the model as a reward instead."
        )


def _tokenizer(model: ScalarRewardModel) -> Any:
    """A copy that pads on the right with a token no row ends with, and whose template ends where our rows end."""
    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.padding_side = "right"
    if model.max_length is not None:
        tokenizer.model_max_length = model.max_length
    row = model.encode(*PROBE)
    if model.rendering not in ("auto", "template"):
        tokenizer.chat_template = None
    elif getattr(tokenizer, "chat_template", None):
        _close_template(tokenizer, [*row.prompt, *row.response])
    ends = {tokenizer.eos_token_id, tokenizer.unk_token_id, None, *row.response[-1:]}
    if tokenizer.pad_token_id in ends and model.readout != "classifier":
        tokenizer.add_special_tokens({"pad_token": PAD})
    return tokenizer


def _close_template(tokenizer: Any, ours: list[int]) -> None:
    """Make the template write ``ours`` for the probe, by taking white space off its end or adding the end token."""
    written = tokenizer.chat_template
    talk = [{"role": "user", "content": PROBE[0]}, {"role": "assistant", "content": PROBE[1]}]
    if isinstance(written, str):
        plain = written.removesuffix("\n")  # Jinja drops it at the end of a template, not inside one
        kept = "{% set answered %}" + plain + "{% endset %}{{ answered if add_generation_prompt else answered.rstrip()"
        for template in (written, kept + " }}", kept + " + eos_token }}"):
            tokenizer.chat_template = template
            text = tokenizer.apply_chat_template(talk, tokenize=False)
            if tokenizer(text, add_special_tokens=False)["input_ids"] == ours:
                return
    tokenizer.chat_template = written
    warnings.warn(
        "The chat template writes an answered prompt otherwise than this model reads it; hosts that render messages "
        "with it may score other rows.",
        stacklevel=4,
    )
