"""Sentence embeddings from any encoder or language model, bucketed by length and cached on disk by content."""

import hashlib
import os
import sys
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guerdon.errors import GuerdonError
from guerdon.files import replacing
from guerdon.rewards.models import loading
from guerdon.worlds.text import surround

POOLINGS = ("mean", "last", "first")


def cache_root() -> Path:
    """Where derived files live: GUERDON_CACHE, else the platform's cache folder (~/.cache/guerdon on Linux)."""
    if given := os.environ.get("GUERDON_CACHE"):
        return Path(given)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "guerdon"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "guerdon"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "guerdon"


def pool(hidden: Tensor, attention: Tensor, pooling: str) -> Tensor:
    """One vector a row from hidden states [N,L,D] and attention bool [N,L]: 'mean' over real tokens, the 'last' or
    'first' real token. Padding is told by the mask alone; a row without real tokens gives zeros."""
    if pooling == "mean":
        inside = attention.unsqueeze(-1)
        total = torch.where(inside, hidden.float(), 0.0).sum(1)
        return total / attention.sum(1, keepdim=True).clamp(min=1)
    where = torch.arange(attention.shape[1], device=attention.device)
    at = torch.where(attention, where, -1).amax(1) if pooling == "last" else attention.int().argmax(1)
    row = torch.arange(len(hidden), device=hidden.device)
    return torch.where(attention.any(1, keepdim=True), hidden[row, at.clamp(min=0)].float(), 0.0)


@dataclass(frozen=True)
class Embedder:
    """Texts to vectors.

    pooling: 'mean' (encoders), 'last' real token (causal models) or 'first' ([CLS]). normalise: unit L2 norm, as
    sentence-transformers does. keep: which end of a text longer than ``max_length`` tokens stays, 'start' or 'end'.
    cache: folder of stored embeddings, or None. tokens_at_once: budget of padded tokens a forward pass, None for
    ``default_budget``. Vectors do not depend on the batch (to 1e-5).
    """

    backbone: Any
    tokenizer: Any
    pooling: str
    max_length: int
    name: str = "embedder"
    normalise: bool = True
    keep: str = "end"
    cache: Path | None = None
    tokens_at_once: int | None = None

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise GuerdonError(f"Embedder.pooling must be one of {POOLINGS}, but {self.pooling!r} came.")
        if self.keep not in ("start", "end"):
            raise GuerdonError(f"Embedder.keep must be 'start' or 'end', but {self.keep!r} came.")

    @property
    def dimension(self) -> int:
        """Width of a vector."""
        return loading.hidden_size(self.backbone)

    def key(self) -> str:
        """Hash of all that the vectors depend on besides the text: weights, vocabulary, pooling, length, truncation,
        norm."""
        settings = repr((self.pooling, self.max_length, self.normalise, self.keep))
        # Hashing the weights takes a second; the parameters' version counters tell whether they were changed since.
        changes = tuple(p._version for p in self.backbone.parameters())
        known = _FINGERPRINTS.get(self.backbone)
        if known is None or known[0] != changes:
            known = (changes, loading.fingerprint(self.backbone, self.tokenizer))
            _FINGERPRINTS[self.backbone] = known
        weights = known[1]
        return hashlib.blake2b((weights + settings).encode(), digest_size=16).hexdigest()

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Vectors float32 [N,D] on the CPU, in the order of ``texts``; equal texts are computed once."""
        keys = [hashlib.blake2b(t.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest() for t in texts]
        folder = None if self.cache is None else self.cache / "embeddings" / self.key()
        known = {} if folder is None else read_shards(folder, set(keys))
        missing = {k: t for k, t in zip(keys, texts, strict=True) if k not in known}
        if missing:
            fresh = self.compute(list(missing.values()))
            known.update(zip(missing, fresh, strict=True))
            if folder is not None:
                write_shard(folder, list(missing), fresh)
        return torch.stack([known[k] for k in keys]) if keys else torch.zeros(0, self.dimension)

    @torch.inference_mode()
    def compute(self, texts: Sequence[str]) -> Tensor:
        """Vectors [N,D] without looking at the cache; longest texts first, so that memory peaks at the start."""
        rows = self._ids(texts)
        out = torch.zeros(len(rows), self.dimension)
        device = self.backbone.device
        for batch in buckets([len(r) for r in rows], self.tokens_at_once or default_budget(device)):
            width = max(len(rows[i]) for i in batch)
            ids = torch.full((len(batch), width), self.tokenizer.pad_token_id, dtype=torch.int64)
            attention = torch.zeros(len(batch), width, dtype=torch.bool)
            for j, i in enumerate(batch):  # padding on the right
                ids[j, : len(rows[i])] = torch.tensor(rows[i], dtype=torch.int64)
                attention[j, : len(rows[i])] = True
            hidden = self.backbone(
                input_ids=ids.to(device), attention_mask=attention.long().to(device)
            ).last_hidden_state
            vector = pool(hidden, attention.to(device), self.pooling)
            out[batch] = (torch.nn.functional.normalize(vector, dim=-1) if self.normalise else vector).cpu()
        return out.clone()

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Every text cut to the length, with its special tokens; one call of the tokenizer for all."""
        before, after = surround(self.tokenizer)
        room = self.max_length - self.tokenizer.num_special_tokens_to_add()
        bodies = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"] if texts else []
        kept = [ids[:room] if self.keep == "start" else ids[max(0, len(ids) - room) :] for ids in bodies]
        return [[*before, *ids, *after] or [self.tokenizer.pad_token_id] for ids in kept]


_FINGERPRINTS: weakref.WeakKeyDictionary[Any, tuple[tuple[int, ...], str]] = weakref.WeakKeyDictionary()


def load_embedder(
    model: str | Path = loading.MINILM,
    *,
    pooling: str | None = None,
    max_length: int | None = None,
    normalise: bool = True,
    keep: str = "end",
    cache: bool | Path = True,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    tokens_at_once: int | None = None,
) -> Embedder:
    """An embedder from 'minilm', a folder or a hub id.

    pooling None: 'mean' for encoders, 'last' for causal models. max_length None: what model and tokenizer allow, at
    most 512. cache: True for ``cache_root()``, False for none, or a folder. Raises GuerdonError where ``model`` is not
    a model.
    """
    backbone = loading.load_backbone(model, dtype=dtype, device=device)
    tokenizer = loading.load_tokenizer(model)
    limit = loading.context_length(backbone, tokenizer)
    length = min(x for x in (max_length or 512, limit) if x is not None)
    folder = cache_root() if cache is True else Path(cache) if cache else None
    how = pooling or ("last" if loading.is_causal(backbone) else "mean")
    return Embedder(backbone, tokenizer, how, length, str(model), normalise, keep, folder, tokens_at_once)


def default_budget(device: torch.device) -> int:
    """Tokens of a forward pass: few enough for a CPU's caches, enough to keep another device busy."""
    return 1024 * torch.get_num_threads() if device.type == "cpu" else 16384


def buckets(lengths: Sequence[int], tokens_at_once: int) -> Iterator[list[int]]:
    """Row numbers in batches of similar length whose padded size is at most ``tokens_at_once`` (one row always
    fits)."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    start = 0
    while start < len(order):
        size = max(1, tokens_at_once // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size


def read_shards(folder: Path, wanted: set[str]) -> dict[str, Tensor]:
    """The stored vectors among ``wanted``; a shard that cannot be read is ignored and will be computed again."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    found: dict[str, Tensor] = {}
    for shard in sorted(folder.glob("*.safetensors")):
        try:
            tensors = load_file(shard)
        except (SafetensorError, OSError):
            continue
        keys = [bytes(row.tolist()).hex() for row in tensors["keys"]]
        found.update((k, v) for k, v in zip(keys, tensors["values"], strict=True) if k in wanted)
    return found


def write_shard(folder: Path, keys: Sequence[str], values: Tensor) -> None:
    """Add one shard atomically: a reader sees all of it or nothing, and two writers never share a file."""
    from safetensors.torch import save_file

    codes = torch.tensor([list(bytes.fromhex(k)) for k in keys], dtype=torch.uint8)
    name = hashlib.blake2b("".join(keys).encode(), digest_size=12).hexdigest()
    with replacing(folder / f"{name}.safetensors") as part:
        save_file({"keys": codes, "values": values.contiguous()}, part)
