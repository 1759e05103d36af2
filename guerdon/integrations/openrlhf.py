"""Rewards in OpenRLHF: the function of ``--reward.remote_url file.py``, and the words of its HTTP servers.

OpenRLHF decodes prompt and response as one text (the query), asks for one item at a time from many threads, trains on
'rewards', filters groups by 'scores' between 0 and 1 and logs 'extra_logs'. Where the function raises, or the server
answers with an error five times, it logs a line at level INFO and goes on with the reward None; the same error is
therefore logged here at level ERROR first. Read at OpenRLHF 0.11, openrlhf/utils/agent.py.
"""

import json
import logging
import math
import pprint
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

from guerdon import __version__
from guerdon.errors import GuerdonError, NeedsError
from guerdon.files import write_text
from guerdon.integrations.batching import Batcher, Rows
from guerdon.integrations.graphs import refuse_group
from guerdon.integrations.hosts import Invalid, checked_invalid, told
from guerdon.rewards import from_dict, to_dict
from guerdon.rewards.bind import Answer, Bound, bind, component_names
from guerdon.rewards.interface import Reward

ENDS = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<end_of_turn>",
    "<｜end▁of▁sentence｜>",
    "</s>",
)
"""End tokens as text: OpenRLHF decodes with special tokens, so responses end in one, which no rule means to read."""
LOG = logging.getLogger("guerdon.integrations.openrlhf")


class Options(TypedDict, total=False):
    """What ``Words`` is made of, all of it optional."""

    invalid: Invalid
    query: str
    ends: tuple[str, ...]
    label: str | None
    bounds: tuple[float, float]
    component: str | None


@dataclass(frozen=True)
class Words:
    """How a host's payload is read and answered.

    invalid: what a row without a valid reward is told. query: 'response' takes the prompt off the front of the query,
    exactly, and the end tokens ``ends`` off its end; 'whole' scores the query as it came. label: one more column that
    holds the label, which rewards read as 'label' or 'answer' anyway. bounds: the score is (x − low) / (high − low),
    cut to 0..1, of x, the reward, or the component of that name.

    Raises GuerdonError for a setting that is none of these.
    """

    invalid: Invalid = "raise"
    query: str = "response"
    ends: tuple[str, ...] = ENDS
    label: str | None = None
    bounds: tuple[float, float] = (0.0, 1.0)
    component: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(checked_invalid(self.invalid), str) and not math.isfinite(self.invalid):  # type: ignore[arg-type]
            raise GuerdonError(f"invalid must be 'raise', 'nan' or a finite number, but {self.invalid!r} came.")
        if self.query not in ("response", "whole"):
            raise GuerdonError(f"query must be 'response' or 'whole', but {self.query!r} came.")
        if isinstance(self.ends, str) or not all(isinstance(e, str) and e for e in self.ends):
            raise GuerdonError(f"ends must be texts, for instance ('</s>',), but {self.ends!r} came.")
        low, high = self.bounds
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise GuerdonError(f"bounds must be two numbers, the lower one first, but {self.bounds!r} came.")

    def fitting(self, reward: Reward) -> "Words":
        """The same. Raises NeedsError where the reward has no component of the name given."""
        names = list(component_names(reward).values())
        if self.component is not None and self.component not in names:
            raise NeedsError(f"The score is read from the component {self.component!r}, but there are {names}.")
        return self

    def columns(self, labels: Sequence[Any] | None) -> dict[str, list[Any]]:
        """The label's columns; none where the host sent no labels."""
        names = ("label", "answer", *([] if self.label is None else [self.label]))
        return {} if labels is None else {name: list(labels) for name in names}

    def rows(self, queries: Sequence[str], prompts: Sequence[str] | None, labels: Sequence[Any] | None) -> Rows:
        """What is to be scored. Raises GuerdonError where a query does not begin with its prompt (the host cuts long
        prompts, and some tokenizers do not give back the text they were given)."""
        if self.query == "whole":
            return Rows(list(prompts or [""] * len(queries)), list(queries), self.columns(labels))
        if prompts is None:
            raise GuerdonError(
                "prompts must come with query, so that the prompt can be taken off its front; query='whole' scores "
                "queries as they are."
            )
        responses = [self.response(q, p, i) for i, (q, p) in enumerate(zip(queries, prompts, strict=True))]
        return Rows(list(prompts), responses, self.columns(labels))

    def response(self, query: str, prompt: str, row: int = 0) -> str:
        """The query without its prompt and without end tokens."""
        if not query.startswith(prompt):
            at = next((i for i, (a, b) in enumerate(zip(query, prompt, strict=False)) if a != b), len(query))
            raise GuerdonError(
                f"query[{row}] must begin with prompts[{row}], but differs from character {at} on "
                f"({query[at : at + 20]!r} for {prompt[at : at + 20]!r}); query='whole' scores queries as they are."
            )
        text = query[len(prompt) :]
        while end := next((e for e in self.ends if text.endswith(e)), None):
            text = text[: -len(end)]
        return text

    def answers(self, answers: Sequence[Answer], names: Sequence[str]) -> dict[str, Any]:
        """{'rewards': [N], 'scores': [N], 'extra_logs': {'rewards/NAME': [N], 'rewards/NAME/valid': [N]}} with
        components by ``names``.

        The host crashes where a log is missing from one of its items, so a component without a value is logged as 0
        with 'valid' 0. Raises RewardError where a row has no valid reward and ``invalid`` is 'raise'.
        """
        logs: dict[str, list[float]] = {}
        for name in names:
            values = [a.components.get(name) for a in answers]
            logs[f"rewards/{name}"] = [0.0 if v is None else v for v in values]
            logs[f"rewards/{name}/valid"] = [float(v is not None) for v in values]
        return {
            "rewards": [self.told(a, f"Row {i}") for i, a in enumerate(answers)],
            "scores": [self.score(a, f"Row {i}") for i, a in enumerate(answers)],
            "extra_logs": logs,
        }

    def told(self, answer: Answer, row: str = "This row") -> float:
        """The reward, or what ``invalid`` puts in its place. Raises RewardError where that is 'raise'."""
        return told(answer, self.invalid, row)

    def score(self, answer: Answer, row: str = "This row") -> float:
        """Between 0 and 1, NaN where ``invalid`` is 'nan' and the row has no value."""
        x = answer.value if self.component is None else answer.components[self.component]
        if x is None:
            x = self.told(Answer(None, answer.status, note=answer.note), row)
        low, high = self.bounds
        return x if math.isnan(x) else min(1.0, max(0.0, (x - low) / (high - low)))


class OpenRLHFFunction:
    """What ``openrlhf_function`` gives; picklable where the reward is."""

    def __init__(self, bound: Bound, words: Words) -> None:
        self.bound, self.words = bound, words
        self.__name__ = self.__qualname__ = "reward_func"
        # Without a waiting time: one item at a time is all that a single rollout asks for.
        self.batcher = Batcher(bound, wait_s=0.0)

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenRLHFFunction, (self.bound, self.words)

    def __call__(
        self, queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any] | None = None, **ignored: Any
    ) -> dict[str, Any]:
        """{'rewards': float32 [N], 'scores': float32 [N], 'extra_logs': name -> float32 [N]}. Raises what the reward
        raises, after logging it."""
        import torch

        try:
            rows = self.words.rows(queries, prompts, labels)
            answers = self.batcher.submit(rows).result()
            found = self.words.answers(answers, list(answers[0].components) if answers else [])
        except GuerdonError as error:
            LOG.error("No reward for %s item(s), which OpenRLHF takes for None: %s", len(queries), error)
            raise
        logs = {name: torch.tensor(values) for name, values in found["extra_logs"].items()}
        return {**{k: torch.tensor(found[k]) for k in ("rewards", "scores")}, "extra_logs": logs}


def openrlhf_function(reward: Reward | Bound, **options: Unpack[Options]) -> Callable[..., dict[str, Any]]:
    """``reward_func(queries, prompts, labels)`` for OpenRLHF; options: fields of ``Words``.

    Calls from several threads are scored one after the other, those of row-wise rewards together. Raises NeedsError
    where the reward needs its group (the host shows one item at a time) or has several channels.
    """
    bound = one_channel(reward)
    refuse_group(bound.reward, "OpenRLHF", "leave it out and choose --algo.advantage.estimator instead")
    return OpenRLHFFunction(bound, Words(**options).fitting(bound.reward))


def as_openrlhf(reward: Reward | Bound | str | Path, path: str | Path, **options: Unpack[Options]) -> Path:
    """Write the file that ``--reward.remote_url PATH`` loads; its path.

    reward: one whose graph can be stored (``guerdon.rewards.dumps``): what it names is imported from installed
    packages or from beside the file. A text or path is the folder of a saved reward model. options: fields of
    ``Words``. Raises GuerdonError where the reward cannot be stored, as ``openrlhf_function`` does otherwise.
    """
    target = Path(path)
    if target.suffix != ".py":
        raise GuerdonError(f"OpenRLHF takes a reward for a file where its name ends in .py, but {path} came.")
    if isinstance(reward, str | Path):
        from guerdon.rewards.models import load_reward

        reward = load_reward(Path(reward).resolve())
    bound = one_channel(reward)
    if bound.state:
        raise GuerdonError(
            f"The reward {bound.reward.name!r} keeps running statistics, which a file of code does not hold; serve it "
            "over HTTP instead (guerdon.integrations.server)."
        )
    function: Any = openrlhf_function(bound, **options)  # refuses what would be refused later, in the host
    stored = to_dict(bound.reward)
    if "__main__:" in json.dumps(stored):
        raise GuerdonError(
            "The reward names code of a script (__main__), which no other process can import; move it to a module "
            "beside the file."
        )
    write_text(target, _source(bound.reward.name, stored, asdict(function.words)))
    return target


def rebuilt(stored: Mapping[str, Any], **options: Unpack[Options]) -> Callable[..., dict[str, Any]]:
    """What the files written by ``as_openrlhf`` call."""
    return openrlhf_function(from_dict(stored), **options)


def one_channel(reward: Reward | Bound) -> Bound:
    """The reward bound. Raises NeedsError where it has several channels: hosts take one number."""
    bound = reward if isinstance(reward, Bound) else bind(reward)
    if len(bound.reward.channels) > 1:
        raise NeedsError(
            f"Reward {bound.reward.name!r} has the channels {list(bound.reward.channels)}, but a host takes one "
            "number; combine them first."
        )
    return bound


def _source(name: str, stored: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    return f'''"""The reward {name!r} for OpenRLHF: --reward.remote_url THIS_FILE. Written by guerdon {__version__}."""

import os
import sys

from guerdon.integrations.openrlhf import rebuilt

# Rewards may stand in a module beside this file.
sys.path.append(os.path.dirname(os.path.abspath(__file__)))

REWARD = {pprint.pformat(dict(stored), width=110, sort_dicts=False)}
OPTIONS = {pprint.pformat(dict(options), width=110, sort_dicts=False)}

reward_func = rebuilt(REWARD, **OPTIONS)
'''
