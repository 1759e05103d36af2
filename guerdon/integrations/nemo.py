"""Rewards in NeMo-RL (an environment) and NeMo Gym (a verifier).

NeMo adds up what a reward of several components gives, so components are the weighted terms of the reward's sum:
their total is the reward. A reward that is no weighted sum is one component. Interfaces: NeMo-RL 0.7, NeMo Gym 0.4.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from guerdon.batch import Status
from guerdon.errors import NeedsError
from guerdon.integrations.graphs import Term, group_need, refuse_group, terms, told_part, weights
from guerdon.integrations.hosts import Invalid, checked_invalid, told
from guerdon.rewards.bind import Answer, Bound, bind, read
from guerdon.rewards.interface import Reward, State

Messages = Sequence[Mapping[str, Any]]


class EnvironmentReturn(NamedTuple):
    """NeMo-RL's own type of this name, where that is not installed."""

    observations: list[dict[str, str]]
    metadata: list[Any]
    next_stop_strings: list[Any]
    rewards: Tensor | dict[str, Tensor]
    terminateds: Tensor
    answers: list[str | None] | None


@dataclass(frozen=True)
class NemoEnvironment:
    """What ``as_nemo_env`` gives; picklable where the reward is."""

    bound: Bound
    invalid: Invalid = "raise"
    missing: Invalid = "raise"
    components: bool = False
    answer: str = "ground_truth"

    def step(
        self, message_log_batch: Sequence[Messages], metadata: Sequence[Any], return_extracted_answer: bool = False
    ) -> Any:
        """An EnvironmentReturn of B rows, all terminated. Rewards: float32 [B] whatever the reward computes in, or
        'reward/<component>' -> float32 [B]. Raises RewardError as ``invalid`` and ``missing`` say."""
        prompts, responses = zip(*map(turns, message_log_batch), strict=True) if message_log_batch else ((), ())
        done = self.bound.evaluation(prompts, responses, columns(metadata, self.answer))
        answers = read(done)
        rewards: Tensor | dict[str, Tensor]
        if self.components:
            rows = [parts(a, terms(done), i, self.invalid, self.missing) for i, a in enumerate(answers)]
            rewards = {f"reward/{k}": torch.tensor([r[k] for r in rows]).float() for k in weights(self.bound.reward)}
        else:
            rewards = torch.tensor([told(a, self.invalid, f"Row {i}") for i, a in enumerate(answers)]).float()
        seen = ["no reward" if a.value is None else f"reward {a.value:g}" for a in answers]
        return environment_return()(
            observations=[{"role": "environment", "content": f"Environment: {text}"} for text in seen],
            metadata=list(metadata),
            next_stop_strings=[None] * len(answers),
            rewards=rewards,
            terminateds=torch.ones(len(answers), dtype=torch.bool),
            answers=[None] * len(answers) if return_extracted_answer else None,
        )

    def global_post_process_and_metrics(self, batch: Any) -> tuple[Any, dict[str, float]]:
        """The batch as it is, and of every reward in it count, mean, standard deviation (with N, not N - 1), least and
        greatest over the finite ones, and how many are not finite."""
        name, metrics = self.bound.__name__, dict[str, float]()
        for key in [k for k in batch if k in ("rewards", "total_reward") or str(k).startswith("reward/")]:
            value = torch.as_tensor(batch[key]).float()
            kept = value[torch.isfinite(value)]
            at = f"{name}/{key}"
            metrics |= {f"{at}/num_samples": float(len(value)), f"{at}/num_invalid": float(len(value) - len(kept))}
            if len(kept):
                metrics |= {f"{at}/mean": float(kept.mean()), f"{at}/std": float(kept.std(correction=0))}
                metrics |= {f"{at}/min": float(kept.min()), f"{at}/max": float(kept.max())}
        return batch, metrics

    def actor(self, **options: Any) -> Any:
        """A handle of this environment as a Ray actor, for NeMo-RL's ``task_to_env``; options: Ray's (num_cpus,
        runtime_env, max_concurrency). Raises NeedsError without Ray."""
        try:
            import ray
        except ImportError as error:
            raise NeedsError("An actor needs Ray, which comes with NeMo-RL; install it.") from error
        made = ray.remote(NemoEnvironment)
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        return (made.options(**options) if options else made).remote(**held)


def as_nemo_env(
    reward: Reward,
    state: State | None = None,
    *,
    invalid: Invalid = "raise",
    missing: Invalid = "raise",
    components: bool = False,
    answer: str = "ground_truth",
    grouped: bool = False,
) -> NemoEnvironment:
    """The reward as a NeMo-RL environment of one turn: ``task_to_env = {'math': as_nemo_env(reward).actor()}``.

    The reward reads the messages before the first of the assistant as the prompt, those from it on as the response,
    and the keys of the metadata as columns (None in rows without the key), the one named ``answer`` as 'answer' too.

    components: rewards as a dict of the terms, weights included, for GDPO (its ``reward_weights`` then stay 1).
    invalid: what a row without a valid reward is told (spread evenly over components). missing: what a component that
    does not apply to a row with a valid reward is told; 0.0 keeps NeMo's total right. NaN stays NaN in both.
    grouped: True says that a step sees whole groups (synchronous rollouts; asynchronous ones ask row by row). Raises
    NeedsError without it where the reward reads group statistics.
    """
    if not grouped and group_need(reward) is not None:
        refuse_group(reward, "an asynchronous rollout of NeMo-RL", "with synchronous rollouts say grouped=True")
    return NemoEnvironment(bind(reward, state), checked_invalid(invalid), checked_invalid(missing), components, answer)


@dataclass(frozen=True)
class NemoGymVerify:
    """What ``nemo_gym_verify`` gives; picklable where the reward is."""

    bound: Bound
    invalid: Invalid = "raise"
    missing: Invalid = "raise"
    answer: str = "expected_answer"

    def __call__(self, body: Any) -> dict[str, Any]:
        """The request's fields with 'reward' and 'reward_components', which add up to it. Raises RewardError as
        ``invalid`` and ``missing`` say."""
        held = dict(body) if isinstance(body, Mapping) else body.model_dump()
        asked, output = held["responses_create_params"]["input"], held["response"]["output"]
        own = {k: v for k, v in held.items() if k not in ("responses_create_params", "response")}
        done = self.bound.evaluation([asked], [list(output)], columns([own], self.answer))
        answer = read(done)[0]
        given = parts(answer, terms(done), 0, self.invalid, self.missing)
        return {**held, "reward": math.fsum(given.values()), "reward_components": given}


def nemo_gym_verify(
    reward: Reward,
    state: State | None = None,
    *,
    invalid: Invalid = "raise",
    missing: Invalid = "raise",
    answer: str = "expected_answer",
) -> NemoGymVerify:
    """``verify(body) -> fields of a BaseMultiRewardVerifyResponse``, for the ``verify`` method of a resources server.

    body: the verify request (the model or its fields). The reward reads the input as the prompt, the output items as
    the response (its last assistant message as text) and the request's other fields as columns, the one named
    ``answer`` as 'answer' too. invalid, missing: as in ``as_nemo_env``. Raises NeedsError where the reward needs its
    group: requests come one by one.
    """
    refuse_group(reward, "NeMo Gym", "leave it out and normalise in the trainer")
    return NemoGymVerify(bind(reward, state), checked_invalid(invalid), checked_invalid(missing), answer)


def parts(answer: Answer, found: Sequence[Term], row: int, invalid: Invalid, missing: Invalid) -> dict[str, float]:
    """Component -> weight · value of one row; Σ is the reward where ``missing`` is 0 or nothing is missing."""
    if answer.status is not Status.OK:
        share = told(answer, invalid, f"Row {row}") / len(found)
        return {t.name: share for t in found}
    values = {t.name: told_part(t.answers[row].value, missing, t.name) for t in found}
    return {
        t.name: v if t.answers[row].value is None else t.weight * v for t, v in zip(found, values.values(), strict=True)
    }


def turns(log: Messages) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(prompt, response): the messages before the first of the assistant, and those from it on."""
    plain = [{k: m[k] for k in ("role", "content") if k in m} for m in log]
    start = next((i for i, m in enumerate(plain) if m.get("role") == "assistant"), len(plain))
    return plain[:start], plain[start:]


def columns(metadata: Sequence[Any], answer: str) -> dict[str, list[Any]]:
    """Key -> a value a row, None where a row lacks the key; the key ``answer`` also as 'answer' unless that is one."""
    held = [m if isinstance(m, Mapping) else {} for m in metadata]
    names = list(dict.fromkeys(k for m in held for k in m))
    found = {k: [m.get(k) for m in held] for k in names}
    return found if answer not in found or "answer" in found else {**found, "answer": found[answer]}


def environment_return() -> Any:
    """NeMo-RL's EnvironmentReturn, or the one here where NeMo-RL is not installed."""
    try:
        from nemo_rl.environments.interfaces import EnvironmentReturn as Theirs
    except ImportError:
        return EnvironmentReturn
    return Theirs
