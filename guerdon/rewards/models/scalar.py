"""A scalar reward model: any transformers backbone with K linear heads on its last response token."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.batch import Seed, TokenRows
from guerdon.errors import GuerdonError
from guerdon.rewards.models import loading
from guerdon.rewards.models.embeddings import buckets, default_budget
from guerdon.rewards.models.heads import LinearHead
from guerdon.rewards.models.packed import last_states, packs_alike
from guerdon.rewards.models.saving import read_about, whole_folder
from guerdon.worlds.text import Encoded, as_messages, encode, pad_rows, prepared, right_padded
from guerdon.worlds.text.precision import computing

FORMAT = "guerdon-scalar-reward-1"


class ScalarRewardModel(nn.Module):
    """Backbone, tokenizer and head. K = ``members`` heads share the backbone (a shared-backbone ensemble).

    The score is read at the last real response token, told by the masks and never by a token id, so padding side, a pad
    token that equals the end token, end tokens inside the text and batch mates do not move it. ``readout`` 'classifier'
    keeps the pooled classification head of an encoder checkpoint as it is (K = 1). rendering: how prompt and response
    become one row (``guerdon.worlds.text.rendering_for``). ``compute``, an attribute: None, or torch.bfloat16 for the
    backbone's matrix products (``guerdon.worlds.text.precision``).
    """

    def __init__(
        self,
        backbone: nn.Module,
        tokenizer: Any,
        members: int = 1,
        *,
        seed: Seed | None = None,
        max_length: int | None = None,
        readout: str = "last",
        rendering: str = "auto",
        base: str | None = None,
    ) -> None:
        super().__init__()
        if readout not in ("last", "classifier"):
            raise GuerdonError(f"readout must be 'last' or 'classifier', but {readout!r} came.")
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.readout = readout
        self.rendering = rendering
        self.base = base
        self.compute: torch.dtype | None = None
        self._looked: tuple[Any, bool] | None = None
        limit = loading.context_length(backbone, tokenizer)
        self.max_length = min((x for x in (max_length, limit) if x is not None), default=None)
        width = loading.hidden_size(backbone)
        # Drawn from a key, not from torch's global generator: the head cannot be initialised "before seeding".
        self.head = LinearHead(width, members, init=1.0, seed=seed or Seed(0)).to(self.device)

    @property
    def members(self) -> int:
        """K."""
        return self.head.members

    @property
    def device(self) -> torch.device:
        """Where the backbone lives."""
        return next(self.backbone.parameters()).device

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        members: int = 1,
        *,
        seed: Seed | None = None,
        max_length: int | None = None,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        lora: Mapping[str, Any] | None = None,
        rendering: str = "auto",
    ) -> "ScalarRewardModel":
        """From a folder or hub id: a saved guerdon model, an AutoModelForSequenceClassification checkpoint with one
        label, or any other transformer (then the heads are drawn from ``seed``). lora: arguments of peft's LoraConfig,
        or None. rendering: 'raw' for a classifier that was fitted on plain questions and answers.

        Raises GuerdonError where ``model`` is not a model or has more than one label.
        """
        if (Path(str(model)) / "reward_model.json").is_file():
            return cls.load(model, dtype=dtype, device=device)
        config = loading.load_config(model)
        tokenizer = loading.load_tokenizer(model)
        architectures = getattr(config, "architectures", None) or [""]
        if architectures[0].endswith("ForSequenceClassification"):
            out = _from_classifier(cls, model, config, tokenizer, max_length, dtype, device)
        else:
            backbone = loading.load_backbone(model, dtype=dtype, device=device)
            out = cls(backbone, tokenizer, members, seed=seed, max_length=max_length, base=str(model))
        out.rendering = rendering
        return out.with_lora(lora, seed or Seed(0)) if lora is not None else out

    def with_lora(self, lora: Mapping[str, Any], seed: Seed) -> "ScalarRewardModel":
        """Freeze the backbone and add low-rank adapters (peft); target_modules 'all-linear' unless given. Changes this
        model."""
        if self.readout == "classifier":
            raise GuerdonError("LoRA needs a backbone, but this is a whole classifier; give the encoder it came from.")
        from peft import LoraConfig, get_peft_model

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed.child("lora").integer(31))
            settings = LoraConfig(**{"target_modules": "all-linear", **lora})
            self.backbone = get_peft_model(self.backbone, settings)
        return self

    def forward(self, rows: TokenRows) -> Tensor:
        """Scores float32 [N,K] of token rows; carries gradient. A row without response tokens is read at its last real
        token.

        Raises GuerdonError for a row without any token.
        """
        rows = right_padded(rows)
        if not bool(rows.attention.any(1).all()):
            raise GuerdonError(f"Row {int((~rows.attention.any(1)).nonzero()[0])} holds no token to score.")
        ids = rows.ids.to(self.device)
        attention = rows.attention.to(self.device)
        with computing(self.device, self.compute):
            out = self.backbone(input_ids=ids, attention_mask=attention.long())
        if self.readout == "classifier":
            return out.logits.float()
        hidden = out.last_hidden_state
        at = torch.arange(ids.shape[1], device=self.device)
        response = rows.response.to(self.device)
        read = torch.where(response.any(1, keepdim=True), response, attention)
        last = torch.where(read, at, -1).amax(1)
        return self.head(hidden[torch.arange(len(ids), device=self.device), last])

    def encode(self, prompt: Any, response: str, source: str = "this row", tokenizer: Any = None) -> Encoded:
        """Token ids of one row within the context (``guerdon.worlds.text.encode``). Raises DataError naming ``source``
        where the response does not fit.

        A text is one user turn, as it is in the records the model was fitted on. tokenizer: this model's own, or what
        ``tokenizer_for`` made of it.
        """
        turns = as_messages(prompt)
        return encode(
            self.tokenizer if tokenizer is None else tokenizer,
            turns,
            response,
            max_length=self.max_length,
            rendering=self.rendering,
            source=source,
        )

    def tokenizer_for(self, prompts: Sequence[Any], responses: Sequence[str]) -> Any:
        """This model's tokenizer, with the texts of these rows tokenised ahead in one call."""
        return prepared(self.tokenizer, [as_messages(p) for p in prompts], responses, self.rendering)

    def encode_rows(self, prompts: Sequence[Any], responses: Sequence[str]) -> list[Encoded]:
        """``encode`` of every row, by one call of the tokenizer. Raises DataError naming the first row that does not
        fit the context."""
        known = self.tokenizer_for(prompts, responses)
        pairs = zip(prompts, responses, strict=True)
        return [self.encode(p, r, f"row {i}", known) for i, (p, r) in enumerate(pairs)]

    def packed_scores(self, rows: Sequence[Encoded], tokens_at_once: int | None = None) -> Tensor:
        """``forward`` by ``packed.last_states``: scores float32 [N,K] that carry gradient, N > 0, only where ``packs``
        is true."""
        with computing(self.device, self.compute):
            read = last_states(self.backbone, rows, tokens_at_once or default_budget(self.device))
        return self.head(read)

    @torch.no_grad()
    def score_encoded(self, rows: Sequence[Encoded], tokens_at_once: int | None = None) -> Tensor:
        """Scores [N,K] on the CPU without gradient; equal to 1e-4 for any budget and in any company.

        Where the backbone is known to allow it, by ``packed_scores``: each prompt is computed once for all its
        responses, without padding, and the last layer only where a score is read; its slow twin is ``score_plainly``.
        tokens_at_once: how many tokens a forward pass takes, by default what keeps a CPU's caches warm, or a GPU busy.
        """
        if empty := [i for i, r in enumerate(rows) if len(r) == 0]:
            raise GuerdonError(f"Row {empty[0]} holds no token to score.")
        with _in_eval(self):
            if not rows or not self.packs():
                return self.score_plainly(rows, tokens_at_once)
            return self.packed_scores(rows, tokens_at_once).cpu()

    @torch.no_grad()
    def score_plainly(self, rows: Sequence[Encoded], tokens_at_once: int | None = None) -> Tensor:
        """``score_encoded`` by ``forward``, in padded batches of similar length."""
        with _in_eval(self):
            out = torch.zeros(len(rows), self.members)
            for batch in buckets([len(r) for r in rows], tokens_at_once or default_budget(self.device)):
                out[batch] = self(pad_rows([rows[i] for i in batch], self.tokenizer)).cpu()
            return out

    def score_texts(self, prompts: Sequence[Any], responses: Sequence[str]) -> Tensor:
        """Scores [N,K] of texts, without gradient."""
        return self.score_encoded(self.encode_rows(prompts, responses))

    def packs(self) -> bool:
        """Whether ``packed_scores`` gives the scores of ``forward`` in eval mode; looked at once for each backbone."""
        if self._looked is None or self._looked[0] is not self.backbone:
            with _in_eval(self):
                self._looked = (self.backbone, self.readout == "last" and packs_alike(self.backbone))
        return self._looked[1]

    def save(self, folder: str | Path) -> None:
        """Safetensors and JSON in ``folder``, written beside it first and then moved, so that a kill leaves old or new,
        never half."""
        from safetensors.torch import save_file

        with whole_folder(folder) as part:
            adapted = hasattr(self.backbone, "peft_config")
            self.backbone.save_pretrained(part / ("adapter" if adapted else "backbone"))  # type: ignore[operator]
            self.tokenizer.save_pretrained(part / "tokenizer")
            save_file({"head": self.head.weight.detach().cpu().contiguous()}, part / "head.safetensors")
            about = {
                "format": FORMAT,
                "members": self.members,
                "max_length": self.max_length,
                "readout": self.readout,
                "rendering": self.rendering,
                "base": self.base if adapted else None,
            }
            (part / "reward_model.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(
        cls, folder: str | Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu"
    ) -> "ScalarRewardModel":
        """The model that ``save`` wrote. Raises GuerdonError where ``folder`` holds none."""
        from safetensors.torch import load_file

        folder = Path(folder)
        about = read_about(folder, FORMAT)
        tokenizer = loading.load_tokenizer(folder / "tokenizer")
        if about["base"] is not None:
            from peft import PeftModel

            backbone = loading.load_backbone(about["base"], dtype=dtype, device=device)
            backbone = PeftModel.from_pretrained(backbone, folder / "adapter").eval()
        elif about["readout"] == "classifier":
            backbone = _classifier(folder / "backbone", dtype, device)
        else:
            backbone = loading.load_backbone(folder / "backbone", dtype=dtype, device=device)
        out = cls(backbone, tokenizer, about["members"], max_length=about["max_length"], readout=about["readout"])
        out.base, out.rendering = about["base"], about.get("rendering", "auto")
        with torch.no_grad():
            out.head.weight.copy_(load_file(folder / "head.safetensors")["head"])
        return out.eval()


@contextmanager
def _in_eval(model: nn.Module) -> Iterator[None]:
    """Eval mode for the block, then the mode from before."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _classifier(path: str | Path, dtype: torch.dtype, device: str) -> Any:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(path, dtype=dtype).to(device).eval()


def _from_classifier(
    cls: type[ScalarRewardModel],
    model: str | Path,
    config: Any,
    tokenizer: Any,
    max_length: int | None,
    dtype: torch.dtype,
    device: str,
) -> ScalarRewardModel:
    if config.num_labels != 1:
        raise GuerdonError(
            f"A reward model has one label, but the classifier at {str(model)!r} has {config.num_labels}; "
            "give one with num_labels=1 or a backbone."
        )
    whole = _classifier(loading.resolve(model), dtype, device)
    linear = getattr(whole, "score", None)
    if not isinstance(linear, nn.Linear) or linear.bias is not None:
        return cls(whole, tokenizer, max_length=max_length, readout="classifier", base=str(model)).eval()
    out = cls(whole.base_model, tokenizer, max_length=max_length, base=str(model))
    with torch.no_grad():
        out.head.weight.copy_(linear.weight.float())
    return out.eval()
