"""Where a causal LM's logits come from: found by a probe, so that only the positions asked for ever meet the
vocabulary."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.worlds.text import forest, llama, masked
from guerdon.worlds.text.packs import Pack, packs
from guerdon.worlds.text.tokens import token_rows

_SOFTCAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")


@dataclass(frozen=True)
class Head:
    """How to read a model. linear: logits = softcap(hidden·Wᵀ + b) with hidden the backbone's last states; otherwise
    only the whole model gives logits. softcap: c in c·tanh(x/c), or None. fast: the backbone may be decoded by
    ``llama.decode``. packs: its states may be had by ``forest.states``. masks: longest row whose states may be had by
    ``masked.states``, 0 where none may or none need."""

    linear: bool
    softcap: float | None = None
    fast: bool = False
    packs: bool = False
    masks: int = 0


def unwrapped(model: nn.Module) -> Any:
    """The transformers model inside a peft wrapper (its adapters stay in place), or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]


def backbone(model: nn.Module) -> Any:
    """The part below the output head."""
    inner = unwrapped(model)
    return getattr(inner, inner.base_model_prefix)


def output(model: nn.Module) -> nn.Linear:
    """The output head of a model whose ``Head`` is linear."""
    return unwrapped(model).get_output_embeddings()


def capped(logits: Tensor, softcap: float | None) -> Tensor:
    """c·tanh(logits / c), or the logits where there is no cap."""
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)


@torch.no_grad()
def find_head(model: nn.Module) -> Head:
    """Probe a model in eval mode: feed a few tokens, scale the head's output up to ±100, and see whether the
    logits are that output (soft-capped where the configuration says so) and the head's input is the backbone's
    output. Architectures that scale, mask or bias their logits, and heads that carry adapters, fail the probe and are
    read through the whole model. Under autocast it probes without."""
    with torch.autocast(next(model.parameters()).device.type, enabled=False):
        return _found(model)


def _found(model: nn.Module) -> Head:
    inner = unwrapped(model)
    head = inner.get_output_embeddings() if hasattr(inner, "get_output_embeddings") else None
    body = getattr(inner, getattr(inner, "base_model_prefix", ""), None)
    if type(head) is not nn.Linear or body is None or body is inner or head.weight.device.type == "meta":
        return Head(linear=False)
    config = inner.config.get_text_config() if hasattr(inner.config, "get_text_config") else inner.config
    softcap = next((float(c) for name in _SOFTCAPS if (c := getattr(config, name, None))), None)
    ids = torch.arange(min(4, head.out_features), device=head.weight.device)[None]
    seen: dict[str, Tensor] = {}

    def spy(_: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
        seen["hidden"], seen["out"] = inputs[0], out * (100 / out.abs().max().clamp(min=1e-9))
        return seen["out"]

    handle = head.register_forward_hook(spy)
    try:
        logits = model(input_ids=ids, use_cache=False).logits
        hidden = body(input_ids=ids, use_cache=False)[0]
    finally:
        handle.remove()
    if seen["hidden"].shape != hidden.shape or not torch.allclose(seen["hidden"], hidden, rtol=1e-3, atol=1e-4):
        return Head(linear=False)
    for c in dict.fromkeys((softcap, None)):
        expected = capped(seen["out"].float(), c)
        if expected.shape == logits.shape and torch.allclose(logits.float(), expected, rtol=1e-2, atol=1e-2):
            whole = packs_alike(body)
            masks = 0 if whole or not masks_alike(body) else masked.reach(body)
            return Head(linear=True, softcap=c, fast=_decodes_alike(body, ids), packs=whole, masks=masks)
    return Head(linear=False)


def _decodes_alike(body: Any, ids: Tensor) -> bool:
    """Whether the fast decoder gives the backbone's states: two rows, one padded on the left, in two calls."""
    if not llama.supported(body):
        return False
    pair = torch.cat([ids, ids.flip(1)])
    mask = torch.ones_like(pair, dtype=torch.bool)
    mask[0, 0] = ids.shape[1] < 3
    position = (mask.long().cumsum(1) - 1).clamp(min=0)
    slow = body(input_ids=pair, attention_mask=mask.long(), position_ids=position, use_cache=False)[0][:, -1]
    split = ids.shape[1] - 1
    _, cache = llama.decode(body, pair[:, :split], mask[:, :split], position[:, :split], None, ids.shape[1])
    quick, _ = llama.decode(body, pair[:, split:], mask, position[:, split:], cache, ids.shape[1])
    return torch.allclose(quick[:, -1], slow, rtol=1e-3, atol=1e-4)


def packs_alike(body: Any) -> bool:
    """Whether ``forest.states`` gives a backbone's states (in eval mode, where no dropout hides them)."""
    return forest.supported(body) and _reads_alike(body, forest.states)


def masks_alike(body: Any) -> bool:
    """Whether ``masked.states`` gives a backbone's states, in eval mode."""
    return masked.reach(body) > 0 and _reads_alike(body, masked.states)


@torch.no_grad()
def _reads_alike(body: Any, states: Callable[[Any, Pack, Tensor], Tensor]) -> bool:
    """Whether packs give the states of rows: two responses to one prompt, and a row of its own."""
    size, device = body.config.vocab_size, next(body.parameters()).device
    ids = [i % size for i in range(8)]
    rows = token_rows([ids[:3], ids[:3], ids[4:5]], [ids[3:5], ids[5:], ids[1:2]], device=device)
    quick = torch.zeros(*rows.ids.shape, body.config.hidden_size, device=device)
    for pack in packs(rows, 64):
        quick.flatten(0, 1)[pack.place] = states(body, pack, pack.own).to(quick)
    slow = body(input_ids=rows.ids, use_cache=False)[0]
    return _alike(quick[rows.response], slow[rows.response])


def _alike(quick: Tensor, slow: Tensor) -> bool:
    """Whether states [m,D] are equal up to the rounding of slow's type. Half types round at every layer, so that each
    state as a whole is compared; a token unseen or misplaced moves it by far more."""
    if slow.dtype in (torch.float32, torch.float64):
        return torch.allclose(quick, slow.to(quick), rtol=1e-3, atol=1e-4)
    slow = slow.to(quick)
    return bool(((quick - slow).norm(dim=-1) <= 4 * torch.finfo(torch.bfloat16).eps * slow.norm(dim=-1)).all())
