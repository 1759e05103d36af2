"""Rewards in RewardBench: an entry of its ``REWARD_MODEL_CONFIG``. RewardBench itself is not imported."""

from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.errors import RewardError
from guerdon.integrations.hosts import Invalid, checked_invalid, told
from guerdon.rewards.bind import Bound, bind
from guerdon.rewards.interface import Reward
from guerdon.rewards.models.scalar import ScalarRewardModel
from guerdon.worlds.text import Encoded
from guerdon.worlds.text.encoding import surround
from guerdon.worlds.text.rendering import turn_ends

Split = Callable[[str], tuple[str, str]]


def as_rewardbench(
    reward: ScalarRewardModel | Reward, *, split: Split | None = None, invalid: Invalid = "raise"
) -> dict[str, Any]:
    """``REWARD_MODEL_CONFIG["my-reward"] = as_rewardbench(reward)``, then ``rewardbench --model=my-reward
    --tokenizer=FOLDER`` scores with ``reward`` as it is: no 8-bit weights, no half precision, no second begin token.

    RewardBench hands over rendered conversations. A ScalarRewardModel reads their token ids (of K members the mean),
    ended as its own rows end; ids beyond its context, or beyond ``max_length`` where the host truncates, are dropped
    from the start. Any other reward reads prompt and response as ``split`` cuts the text; by default behind the last
    generation prompt of the host tokenizer's chat template. Scores do not depend on the batch (to 1e-4, rb#137).

    invalid: what the host is told where there is no reward ('raise', 'nan' or a number); NaN counts as a lost
    comparison there.
    """
    scores: Callable[..., Tensor]
    if isinstance(reward, ScalarRewardModel):
        module: nn.Module | None = reward.eval()
        scores = partial(_model_scores, reward)
    else:
        module = None
        scores = partial(_reward_scores, bind(reward), split, checked_invalid(invalid))
    return {
        "model_builder": lambda path, **given: Scored(scores, module),
        "pipeline_builder": Pipeline,
        "quantized": False,
        "custom_dialogue": False,
        "model_type": "Seq. Classifier",
        "torch_dtype": torch.float32,
    }


class Scored(nn.Module):
    """What the host moves to its device and prepares: the scoring function, the model inside where there is one."""

    def __init__(self, scores: Callable[..., Tensor], model: nn.Module | None) -> None:
        super().__init__()
        self.scores = scores
        self.inner = model
        self.config = SimpleNamespace(pad_token_id=0)  # the host sets it where it is None; nothing here reads it

    def forward(self, samples: Sequence[str], tokenizer: Any, limit: int | None) -> Tensor:
        """Scores float32 [N] of rendered conversations."""
        return self.scores(samples, tokenizer, limit)


class Pipeline:
    """``pipeline_builder(task, model=…, tokenizer=…)``; called with texts and tokenizer options it gives scores [N]."""

    def __init__(self, task: str, model: nn.Module, tokenizer: Any) -> None:
        self.task, self.model, self.tokenizer = task, model, tokenizer

    def __call__(self, samples: Sequence[str], return_inputs: bool = False, **given: Any) -> Any:
        """Scores [N]; with ``return_inputs`` also what was scored. given: the host's batch_size, truncation,
        max_length, padding, function_to_apply and return_token_type_ids."""
        limit = given.get("max_length") if given.get("truncation") else None
        scores = self.model(list(samples), self.tokenizer, limit)
        return (scores, {"text": list(samples)}) if return_inputs else scores


def _model_scores(model: ScalarRewardModel, samples: Sequence[str], tokenizer: Any, limit: int | None) -> Tensor:
    most = min((n for n in (limit, model.max_length) if n is not None), default=None)
    rows = []
    for text in samples:
        ids = _row(model.tokenizer, text)
        ids = ids if most is None else ids[-most:]
        rows.append(Encoded(tuple(ids[:-1]), tuple(ids[-1:])))
    return model.score_encoded(rows).mean(1)


def _row(tokenizer: Any, text: str) -> list[int]:
    """The ids of a rendered conversation, closed as our rows are: no white space behind the last turn's end, else an
    end token; with the begin token once where no template wrote it."""
    templated = bool(getattr(tokenizer, "chat_template", None))
    ends = turn_ends(tokenizer, "template" if templated else "raw")
    closed = bool(ends) and text.rstrip().endswith(ends)
    ids = list(tokenizer(text.rstrip() if closed else text, add_special_tokens=False)["input_ids"])
    before = list(surround(tokenizer)[0])
    if not templated and ids[: len(before)] != before:
        ids = before + ids
    return ids if closed or tokenizer.eos_token_id is None else [*ids, tokenizer.eos_token_id]


def _reward_scores(
    bound: Bound, split: Split | None, invalid: Invalid, samples: Sequence[str], tokenizer: Any, limit: int | None
) -> Tensor:
    cut = split or partial(split_by_template, tokenizer)
    pairs = [cut(text) for text in samples]
    answers = bound.answers([p for p, _ in pairs], [r for _, r in pairs])
    return torch.tensor([told(a, invalid, f"Row {i}") for i, a in enumerate(answers)], dtype=torch.float32)


def split_by_template(tokenizer: Any, text: str) -> tuple[str, str]:
    """A rendered conversation as (all before the last answer, that answer), cut where the chat template opens an
    answer. Raises RewardError where the tokenizer has no template or the text no such place."""
    opening = ""
    if getattr(tokenizer, "chat_template", None):
        asked = [{"role": "user", "content": "\x00"}]
        plain, opened = (
            tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=on) for on in (False, True)
        )
        opening = opened.removeprefix(plain)
    before, found, answer = text.rpartition(opening) if opening.strip() else ("", "", "")
    if not found:
        raise RewardError(
            "A rendered conversation could not be cut into prompt and response by the tokenizer's chat template; "
            "give split, a function from the text to both."
        )
    ends = turn_ends(tokenizer, "template")
    answer = answer.rstrip() if answer.rstrip().endswith(ends) else answer
    return before, next((answer.removesuffix(e).rstrip() for e in ends if answer.endswith(e)), answer)
