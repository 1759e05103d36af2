"""Rewards in verl: the function of ``reward.custom_reward_function``, and a reward manager.

verl asks about one response at a time, so there are no groups: a reward that reads group statistics is refused where
that can be told; let verl's advantage estimator normalise instead. Signatures: verl 0.8, experimental/reward_loop.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from guerdon.errors import GuerdonError
from guerdon.integrations.graphs import refuse_group, told_part
from guerdon.integrations.hosts import Invalid, checked_invalid, told
from guerdon.rewards import dumps
from guerdon.rewards.bind import Bound, bind, component_names
from guerdon.rewards.interface import Reward, State

TAKEN = ("score", "data_source", "reward_model", "extra_info", "raw_prompt", "uid", "index")
"""Keys of verl's own: a component of that name would overwrite them."""


class VerlReward:
    """What ``as_verl`` gives; picklable where the reward is."""

    def __init__(self, bound: Bound, invalid: Invalid, missing: Invalid) -> None:
        self.bound, self.invalid, self.missing = bound, checked_invalid(invalid), checked_invalid(missing)
        self.__name__ = self.__qualname__ = bound.__name__

    def __call__(
        self,
        data_source: Any,
        solution_str: str,
        ground_truth: Any,
        extra_info: Mapping[str, Any] | None = None,
        *,
        reward_router_address: Any = None,
        reward_model_tokenizer: Any = None,
        **reward_kwargs: Any,
    ) -> dict[str, float]:
        """'score' and every component. Raises RewardError as ``invalid`` and ``missing`` say."""
        extra = dict(extra_info or {})
        prompt = extra.pop("prompt", extra.get("question", ""))
        columns = {**extra, **reward_kwargs, "data_source": data_source, "ground_truth": ground_truth}
        answer = self.bound.answer(prompt, solution_str, {**columns, "answer": ground_truth, "extra_info": extra_info})
        parts = {name: told_part(value, self.missing, name) for name, value in answer.components.items()}
        return {"score": told(answer, self.invalid), **parts}


def as_verl(
    reward: Reward,
    state: State | None = None,
    *,
    invalid: Invalid = "raise",
    missing: Invalid = "nan",
    asynchronous: bool = False,
) -> Callable[..., Any]:
    """``(data_source, solution_str, ground_truth, extra_info=None, **reward_kwargs) -> {'score', component: value}``.

    The reward reads the prompt from extra_info's 'prompt' or else 'question' ('' without either), and as columns
    everything in extra_info and reward_kwargs, 'data_source', 'ground_truth', the same as 'answer' (extra_info's own
    'answer' is the whole solution in verl's data), and 'extra_info' whole. The dict becomes verl's reward_extra_info:
    ``algorithm.gdpo_reward_keys`` name components, which are unweighted (``gdpo_reward_weights`` weigh them).

    invalid: the score of a row without a valid reward; 'nan' would spread through the advantages of its group.
    missing: a component that has no value in this row (every row needs every key); NaN does no harm in logs, but use
    'raise' or a number for keys that GDPO reads. asynchronous: a coroutine function that scores in a thread.
    Raises NeedsError where the reward needs its group, GuerdonError where a component bears a name of verl's own.
    """
    refuse_group(reward, "verl", "leave it out and normalise in verl's advantage estimator")
    taken = sorted(set(component_names(reward).values()) & set(TAKEN))
    if taken:
        raise GuerdonError(
            f"The components {taken} would overwrite keys of verl's own; give these rewards other names."
        )
    scorer = VerlReward(bind(reward, state), invalid, missing)
    if not asynchronous:
        return scorer
    # verl asks inspect.iscoroutinefunction, which sees through a partial but not into an object.
    awaited: Any = partial(_awaited, scorer)
    awaited.__name__ = awaited.__qualname__ = scorer.__name__
    return awaited


async def _awaited(
    scorer: VerlReward,
    /,
    data_source: Any,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    **reward_kwargs: Any,
) -> dict[str, float]:
    return await asyncio.to_thread(scorer, data_source, solution_str, ground_truth, extra_info, **reward_kwargs)


def verl_manager(reward: Reward, state: State | None = None, **options: Any) -> type:
    """A reward manager class for ``reward.reward_manager.source=importlib`` (``module.path``: a file that names it).

    Like ``as_verl``, whose ``invalid`` and ``missing`` are the options, and the reward reads the messages of the prompt
    ('raw_prompt'). A subclass of verl's RewardManagerBase where verl is installed; ``compute_score`` is not used.
    """
    score = as_verl(reward, state, **options)
    base: Any = manager_base()

    class RewardManager(base):
        """One response at a time; of several sequences of a row the last."""

        def __init__(
            self,
            config: Any,
            tokenizer: Any,
            compute_score: Any = None,
            reward_router_address: Any = None,
            reward_model_tokenizer: Any = None,
        ) -> None:
            super().__init__(config, tokenizer, compute_score)

        async def run_single(self, data: Any) -> dict[str, Any]:
            """{'reward_score', 'reward_extra_info'} of the last item."""
            call = await asyncio.to_thread(_arguments, data[-1:][0], self.tokenizer)
            result = await asyncio.to_thread(score, **call)
            return {"reward_score": result["score"], "reward_extra_info": result}

    return RewardManager


class ManagerBase:
    """What a manager has of verl's RewardManagerBase where verl is not installed."""

    def __init__(self, config: Any, tokenizer: Any, compute_score: Any) -> None:
        self.config, self.tokenizer, self.compute_score = config, tokenizer, compute_score


def manager_base() -> Any:
    """verl's RewardManagerBase, or the one here where verl is not installed."""
    try:
        from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase
    except ImportError:
        return ManagerBase
    return RewardManagerBase


def _arguments(item: Any, tokenizer: Any) -> dict[str, Any]:
    """The function's arguments for one item of verl's batch."""
    ids, held = item.batch["responses"], item.non_tensor_batch
    real = int(item.batch["attention_mask"][-ids.shape[-1] :].sum())
    extra = {**(held.get("extra_info") or {}), **dict(held.get("tool_extra_fields") or {})}
    extra |= {"num_turns": held.get("__num_turns__"), "rollout_reward_scores": held.get("reward_scores", {})}
    if held.get("raw_prompt") is not None:
        extra["prompt"] = list(held["raw_prompt"])
    return {
        "data_source": held["data_source"],
        "solution_str": tokenizer.decode(ids[:real], skip_special_tokens=True),
        "ground_truth": held["reward_model"]["ground_truth"],
        "extra_info": extra,
    }


def write_verl(
    path: str | Path,
    reward: Reward | str | Path,
    state: State | None = None,
    *,
    invalid: Invalid = "raise",
    missing: Invalid = "nan",
    asynchronous: bool = False,
) -> Path:
    """Write the module file that verl loads: ``custom_reward_function.path=<path> .name=compute_score``, or
    ``reward_manager.source=importlib .module.path=<path> .name=RewardManager``.

    reward: one that ``dumps`` can write, or the folder of a saved reward model. state: written beside it (.pt), where
    given; then both files must stand where verl's workers read. Raises GuerdonError where the reward cannot be stored
    or names functions of ``__main__``, which workers cannot import.
    """
    path = Path(path)
    if isinstance(reward, str | Path):
        made = f"load_reward({str(Path(reward).resolve())!r})"
    else:
        refuse_group(reward, "verl", "leave it out and normalise in verl's advantage estimator")
        text = dumps(reward)
        if '"__main__:' in text:
            raise GuerdonError("verl's workers cannot import functions of __main__; move the reward into a module.")
        made = f"loads({text!r})"
    given = "None"
    if state:
        import torch

        torch.save(dict(state), path.with_suffix(".pt"))
        given = 'torch.load(Path(__file__).with_suffix(".pt"), weights_only=True)'
    options = f"invalid={invalid!r}, missing={missing!r}"
    path.write_text(
        '"""A reward for verl: compute_score for custom_reward_function, RewardManager for reward_manager."""\n\n'
        + ("from pathlib import Path\n\nimport torch\n\n" if state else "")
        + "from guerdon.integrations.verl import as_verl, verl_manager\n"
        + "from guerdon.rewards import loads\nfrom guerdon.rewards.models import load_reward\n\n"
        + f"REWARD = {made}\nSTATE = {given}\n"
        + f"compute_score = as_verl(REWARD, STATE, {options}, asynchronous={asynchronous!r})\n"
        + f"RewardManager = verl_manager(REWARD, STATE, {options})\n",
        encoding="utf-8",
    )
    return path
