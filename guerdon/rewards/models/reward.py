"""Reward models as rewards: scores of samples by a text model, or by any callable on token ids."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from guerdon.batch import Channel, Samples, Scores, Status, TokenRows
from guerdon.errors import GuerdonError, NeedsError
from guerdon.rewards.interface import Context, Reward, State
from guerdon.rewards.models import embedded, scalar
from guerdon.rewards.models.scalar import ScalarRewardModel
from guerdon.worlds.text import Encoded, tokenizer_key


@runtime_checkable
class TextScorer(Protocol):
    """Whatever scores texts with K members: ScalarRewardModel, EmbeddingRewardModel, or yours."""

    @property
    def members(self) -> int:
        """K."""
        ...

    def score_texts(self, prompts: Sequence[Any], responses: Sequence[str]) -> Tensor:
        """Scores [N,K]."""
        ...


def member_names(members: int) -> tuple[str, ...]:
    """Channel names of K members: 'reward' alone, else 'member/0' … 'member/K-1'."""
    return ("reward",) if members == 1 else tuple(f"member/{k}" for k in range(members))


class ModelReward(Reward):
    """A text reward model as a reward: one channel 'reward', or 'member/k' for each of K members (combine them to use
    them).

    Reads the token ids as sampled where the payload is TokenRows of the model's own tokenizer (``ids`` True, or None
    and ``Samples.made_by['tokenizer']`` equals this tokenizer's key); otherwise prompts and responses as text. A row
    whose response does not fit the context is FAILED with a note. Scores do not depend on the batch (to 1e-4).
    """

    def __init__(
        self,
        model: TextScorer,
        name: str = "reward_model",
        *,
        tokens_at_once: int | None = None,
        ids: bool | None = None,
        folder: str | None = None,
    ) -> None:
        self.model = model
        self.name = name
        self.tokens_at_once = tokens_at_once
        self.ids = ids
        self.folder = folder
        self.channels = member_names(model.members)

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        """Scores of every row; stateless."""
        if isinstance(self.model, ScalarRewardModel):
            values, notes = self._scalar(self.model, samples)
        else:
            values, notes = self.model.score_texts(samples.prompts, samples.texts()), None
        lost = torch.tensor([bool(n) for n in notes or [""] * len(samples)], dtype=torch.bool)
        status = torch.where(lost, int(Status.FAILED), int(Status.OK)).to(torch.int8) if bool(lost.any()) else None
        return (
            Scores({name: Channel(values[:, k], status, note=notes) for k, name in enumerate(self.channels)}),
            state,
        )

    def spec(self) -> tuple[str, dict[str, Any]]:
        """(factory, arguments) for serialisation. Raises GuerdonError for a model that was not loaded from a folder."""
        if self.folder is None:
            raise GuerdonError(
                f"The reward {self.name!r} holds a model in memory; save it and use load_reward(folder) instead."
            )
        return "guerdon.rewards.models.reward:load_reward", {"folder": self.folder, "name": self.name}

    def _scalar(self, model: ScalarRewardModel, samples: Samples) -> tuple[Tensor, list[str] | None]:
        read = self._sampled if self._own_ids(model, samples) else self._told
        rows, notes = read(model, samples)
        kept = [i for i, row in enumerate(rows) if row is not None]
        values = torch.full((len(rows), model.members), float("nan"))
        if kept:
            values[kept] = model.score_encoded([r for r in rows if r is not None], self.tokens_at_once)
        return values, notes if len(kept) < len(rows) else None

    def _sampled(self, model: ScalarRewardModel, samples: Samples) -> tuple[list[Encoded | None], list[str]]:
        """Rows of the payload's own ids, None with a note where one does not fit."""
        payload: TokenRows = samples.payload
        rows: list[Encoded | None] = []
        notes = []
        for i in range(len(samples)):
            real = payload.attention[i]
            ids = payload.ids[i][real].tolist()
            acted = payload.response[i][real].nonzero().flatten().tolist()
            # Tokens behind the last response token (a tool's output cut short) are not read: a causal score stands
            # before them.
            start, stop = (acted[0], acted[-1] + 1) if acted else (len(ids), len(ids))
            row = Encoded(tuple(ids[:start]), tuple(ids[start:stop]))
            fits = model.max_length is None or len(row) <= model.max_length
            rows.append(row if fits else None)
            notes.append("" if fits else f"{len(row)} tokens do not fit the model's context of {model.max_length}")
        return rows, notes

    def _told(self, model: ScalarRewardModel, samples: Samples) -> tuple[list[Encoded | None], list[str]]:
        """Rows of the texts, None with a note where one cannot be encoded."""
        texts = samples.texts()
        known = model.tokenizer_for(samples.prompts, texts)
        rows: list[Encoded | None] = []
        notes = []
        for prompt, text in zip(samples.prompts, texts, strict=True):
            try:
                rows.append(model.encode(prompt, text, tokenizer=known))
                notes.append("")
            except NeedsError:
                raise
            except GuerdonError as error:
                rows.append(None)
                notes.append(str(error))
        return rows, notes

    def _own_ids(self, model: ScalarRewardModel, samples: Samples) -> bool:
        if not isinstance(samples.payload, TokenRows) or self.ids is False:
            return False
        return bool(self.ids) or samples.made_by.get("tokenizer") == tokenizer_key(model.tokenizer)


class TensorReward(Reward):
    """A callable on token rows as a reward: ``fn(TokenRows) -> [N]`` or ``[N,K]`` (tiny models of a lab, any head).

    The payload is read exactly as sampled. Gradient is kept where ``differentiable``.
    """

    def __init__(
        self,
        fn: Callable[[TokenRows], Tensor],
        name: str = "tensor",
        *,
        members: int = 1,
        differentiable: bool = False,
    ) -> None:
        self.fn = fn
        self.name = name
        self.differentiable = differentiable
        self.channels = member_names(members)

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        """Scores of every row; stateless."""
        if not isinstance(samples.payload, TokenRows):
            raise NeedsError(
                f"Reward {self.name!r} reads TokenRows, but the payload is a {type(samples.payload).__name__}."
            )
        with torch.set_grad_enabled(self.differentiable and torch.is_grad_enabled()):
            values = self.fn(samples.payload)
        columns = values.unsqueeze(1) if values.ndim == 1 else values
        if columns.shape != (len(samples), len(self.channels)):
            raise GuerdonError(
                f"Reward {self.name!r} must give [{len(samples)},{len(self.channels)}], but {list(values.shape)} came."
            )
        return Scores({name: Channel(columns[:, k]) for k, name in enumerate(self.channels)}), state


_FORMATS: Mapping[str, Any] = {
    scalar.FORMAT: ScalarRewardModel.load,
    embedded.FORMAT: embedded.EmbeddingRewardModel.load,
}


def load_model(folder: str | Path, *, device: str = "cpu") -> Any:
    """A saved reward model of any kind. Raises GuerdonError where the folder holds none."""
    about = Path(folder) / "reward_model.json"
    if not about.is_file():
        raise GuerdonError(f"A saved reward model was expected in {folder}, but it holds no reward_model.json.")
    kind = json.loads(about.read_text(encoding="utf-8")).get("format")
    if kind not in _FORMATS:
        raise GuerdonError(f"{about} has format {kind!r}, but one of {sorted(_FORMATS)} was expected.")
    return _FORMATS[kind](folder, device=device)


def load_reward(folder: str | Path, name: str = "reward_model", *, device: str = "cpu") -> ModelReward:
    """A saved reward model as a reward that serialises by its folder."""
    return ModelReward(load_model(folder, device=device), name, folder=str(folder))
