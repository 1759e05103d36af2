"""Load a causal LM and its tokenizer from a folder or a hub id, with one-sentence errors."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from guerdon.errors import GuerdonError


@dataclass(frozen=True)
class Lora:
    """A LoRA adapter (Hu et al. 2021): rank, alpha (the update is scaled by alpha / rank), dropout, and the modules
    adapted."""

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "all-linear"


def load_policy(
    path: str | Path,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
    lora: Lora | int | None = None,
) -> tuple[Any, Any]:
    """(model, tokenizer) of a causal LM, in eval mode; with ``lora`` (a rank or a ``Lora``) the model is a peft model
    whose adapters alone are trainable.

    Reads safetensors and runs no code from the folder. Raises GuerdonError, in one sentence, where the path is no
    model, its weights or tokenizer cannot be read, or the dtype or device is unknown.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    where = str(path)
    kind = _dtype(dtype)
    _check_folder(where)
    try:
        config = AutoConfig.from_pretrained(where, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise GuerdonError(f"{where!r} is not a model that transformers can read: {_short(error)}") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
    except Exception as error:
        raise GuerdonError(f"{where!r} holds no tokenizer that can be read: {_short(error)}") from error
    try:
        model = AutoModelForCausalLM.from_pretrained(
            where, config=config, trust_remote_code=False, use_safetensors=True
        )
    except Exception as error:
        raise GuerdonError(f"The weights of {where!r} cannot be loaded as a causal LM: {_short(error)}") from error
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        raise GuerdonError(
            f"The tokenizer of {where!r} has {len(tokenizer)} tokens, but the model embeds only "
            f"{model.get_input_embeddings().weight.shape[0]}; they do not belong together."
        )
    try:
        model = model.to(device=torch.device(device), dtype=kind)
    except (RuntimeError, AssertionError) as error:
        raise GuerdonError(f"The device {str(device)!r} cannot be used: {_short(error)}") from error
    if lora is not None:
        model = add_lora(model, Lora(rank=lora) if isinstance(lora, int) else lora)
    return model.eval(), tokenizer


def add_lora(model: Any, lora: Lora) -> Any:
    """The model wrapped by peft with fresh adapters: at the start it computes exactly what the model did. Raises
    GuerdonError where no module has the names to be adapted."""
    from peft import LoraConfig, get_peft_model

    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    try:
        config = LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,  # type: ignore[arg-type,unused-ignore]
            lora_dropout=lora.dropout,
            target_modules=targets,
            task_type="CAUSAL_LM",
        )
        return get_peft_model(model, config)
    except ValueError as error:
        raise GuerdonError(f"LoRA cannot be added to {type(model).__name__}: {_short(error)}") from error


def _check_folder(where: str) -> None:
    folder = Path(where)
    local = folder.exists() or where.startswith((".", "/", "~")) or where.count("/") > 1
    if not local:
        return
    if not folder.exists():
        raise GuerdonError(f"There is no folder {where!r}; give a model's folder or hub id.")
    if not (folder / "config.json").is_file():
        raise GuerdonError(f"{where!r} is not a model: it holds no config.json.")


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    found = getattr(torch, dtype, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise GuerdonError(f"The dtype must be float32, bfloat16 or float16, but {dtype!r} came.")
    return found


def _short(error: BaseException) -> str:
    """The first line of an error, ended by a full stop."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return text.rstrip(".") + "."
