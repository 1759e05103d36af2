"""Rewards as TRL's reward functions, in real steps of its trainers."""

import asyncio
import pickle
import threading
from typing import Any

import pytest

from guerdon.errors import GuerdonError, NeedsError, RewardError
from guerdon.integrations.trl import as_trl, trl_rewards
from guerdon.rewards import Reward, Runner, dispatch, linear, reward
from tests.integrations.rewards_of_text import even, flaky, length, slow
from tests.integrations.tiny_text import policy, settings, tokenizer


class Log:
    """What a trainer is told."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self.columns: dict[str, list[Any]] = {}

    def words(self, step: int = 0) -> dict[str, Any]:
        state = type("State", (), {"global_step": step})()
        return {"log_metric": self.metrics.__setitem__, "log_extra": self.columns.__setitem__, "trainer_state": state}


def call(function: Any, completions: list[Any], log: Log | None = None, step: int = 0, **columns: Any) -> Any:
    words = log.words(step) if log is not None else {}
    ids = [[0]] * len(completions)
    return function(prompts=["p"] * len(completions), completions=completions, completion_ids=ids, **columns, **words)


def call_twice(function: Any, prompts: list[Any], completions: list[Any]) -> Any:
    return [function(prompts=prompts, completions=completions) for _ in range(2)]


def alike(name: str, value: float) -> Reward:
    return reward(name=name)(lambda responses: [value for _ in responses])


def test_missing_is_none_and_failure_is_counted_apart() -> None:
    """NeMo-RL#431, trl#2737: neither becomes 0."""
    log = Log()
    assert call(as_trl(even, name="e"), ["a", "a b", "a"], log, answer=[1, 1, None]) == [1.0, 0.0, None]
    assert log.metrics == {"guerdon/e/failed": 0.0, "guerdon/e/not_applicable": pytest.approx(1 / 3)}
    assert call(as_trl(flaky, name="f"), ["a", "a", "a"], log) == [1.0, 1.0, None]
    assert log.metrics["guerdon/f/failed"] == pytest.approx(1 / 3) and log.metrics["guerdon/f/not_applicable"] == 0.0


def test_components_reach_both_logs_and_columns_stay_whatever_rows_come() -> None:
    """verl#2115, OpenRLHF#935: every component under its own name, unweighted."""
    log, case = Log(), dispatch("task", {"long": length, "even": even})
    whole = as_trl(0.5 * case + flaky, name="mix")
    assert call(whole, ["a b", "a", "a"], log, task=["long"] * 3, answer=[1] * 3) == [2.0, 1.5, None]
    assert log.columns == {
        "mix/length": [2.0, 1.0, 1.0],
        "mix/even": [None, None, None],
        "mix/flaky": [1.0, 1.0, None],
    }
    means = {k: v for k, v in log.metrics.items() if k.startswith("rewards/")}
    # No row asked for 'even': a mean of nothing would make TRL's average NaN.
    assert means == {"rewards/mix/length/mean": pytest.approx(4 / 3), "rewards/mix/flaky/mean": 1.0}


def test_older_trainers_without_logs_and_newer_ones_with_more_words() -> None:
    assert call(as_trl(even + length), ["a"], answer=[1]) == [2.0]
    assert as_trl(length)(prompts=["p"], completions=["a b"]) == [2.0]
    assert call(as_trl(length), ["a"], Log(), environments=[object()], trainer=object(), images=None) == [1.0]
    with pytest.raises(NeedsError, match="answer"):
        call(as_trl(even), ["a"])


def test_conversations_are_read_by_the_last_assistant_turn() -> None:
    talk = [{"role": "assistant", "content": "x"}, {"role": "tool", "content": "y"}]
    turns = [talk, [*talk, {"role": "assistant", "content": "a b c"}]]
    asked = [[{"role": "user", "content": "?"}]] * 2
    assert as_trl(length)(prompts=asked, completions=turns, completion_ids=[[0], [0]]) == [1.0, 3.0]


def test_names_are_unique_among_rewards_in_use() -> None:
    """trl#6313 and TRL's metrics by name: two rewards called alike would add up in one number."""
    one, two = as_trl(alike("twin", 1.0)), as_trl(alike("twin", 2.0))
    assert (one.__name__, two.__name__) == ("twin", "twin_2")
    assert as_trl(one.source.bound.reward).__name__ == "twin"
    assert as_trl(alike("twin", 3.0), name="my twin").__name__ == "my_twin"
    del two
    assert as_trl(alike("twin", 4.0)).__name__ == "twin_2"
    assert all(f.__name__.isidentifier() for f in (one, as_trl(alike("3/4 off", 1.0))))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_pickled_copy_keeps_its_name_and_says_the_same(asynchronous: bool) -> None:
    made = as_trl(0.5 * length + even, name="both", asynchronous=asynchronous)
    copy = pickle.loads(pickle.dumps(made))
    said = call(copy, ["a b"], answer=[0])
    assert (asyncio.run(said) if asynchronous else said) == [2.0]
    assert copy.__name__ == "both" and type(copy) is type(made)
    pair = pickle.loads(pickle.dumps(trl_rewards(0.5 * length + even)))
    assert pair.functions[0].source is pair.functions[1].source and pair.weights == [0.5, 1.0]


def test_scheduled_weights_go_by_the_global_step() -> None:
    """trl#3036."""
    made = as_trl(length.schedule(linear(0.0, 1.0, steps=4)))
    assert [call(made, ["a b"], Log(), step=s) for s in (0, 2, 4)] == [[0.0], [1.0], [2.0]]


def test_terms_are_functions_with_weights_and_are_evaluated_together() -> None:
    asked: list[int] = []

    @reward
    def counted(responses: Any) -> list[float]:
        asked.append(len(responses))
        return [1.0 for _ in responses]

    split = trl_rewards(0.7 * counted + 0.3 * flaky + 2.0 * counted.gate(length, 1.5))
    assert split.weights == [0.7, 0.3, 2.0]
    prompts, completions = ["p"] * 3, ["a", "a b", "a"]
    for batch in (1, 2):
        said = [f(prompts=prompts, completions=completions) for f in split.functions]
        # TRL adds None as 0: a row that failed in one term has no other term either.
        assert said == [[1.0, 1.0, None], [1.0, 1.0, None], [0.0, 1.0, None]]
        assert asked == [3] * batch
    # Lists that are used again are a new batch.
    assert [call_twice(split.functions[0], prompts, completions) for _ in range(2)] and asked == [3] * 6
    ramped = trl_rewards(length.schedule(linear(0.0, 1.0, steps=4)) + even).functions[0]
    assert call(ramped, ["a b"], Log(), step=2, answer=[1]) == [1.0]
    with pytest.raises(GuerdonError, match="constant"):
        trl_rewards(length + even + 1.0)
    with pytest.raises(GuerdonError, match="sum"):
        trl_rewards(length)


def test_a_host_that_adds_missing_as_zero_can_be_told_otherwise() -> None:
    """TRL's online DPO takes nansum over the functions, so that None is 0 there."""
    with pytest.raises(RewardError, match="Row 2 of 'f'"):
        call(as_trl(flaky, name="f", invalid="raise"), ["a"] * 3)
    assert call(as_trl(flaky, invalid=-1.0), ["a"] * 3) == [1.0, 1.0, -1.0]
    with pytest.raises(GuerdonError, match="invalid"):
        as_trl(flaky, invalid="zero")


def test_time_limits_work_away_from_the_main_thread() -> None:
    """verl#5635, trl#5281: a signal-based limit fails outside the main thread, and every reward was 0."""
    said: list[Any] = []
    with Runner(slow, timeout_s=1.0, workers=2) as limited:
        made = as_trl(limited, name="limited")
        thread = threading.Thread(target=lambda: said.append(call(made, ["fine", "hang"], log)))
        log = Log()
        thread.start()
        thread.join(30.0)
        waiting = as_trl(limited, name="limited", asynchronous=True)
        assert asyncio.run(call(waiting, ["fine"])) == [1.0]
    assert said == [[1.0, None]] and log.metrics["guerdon/limited/failed"] == 0.5


trl = pytest.importorskip("trl")


def rows(conversational: bool) -> Any:
    from datasets import Dataset

    prompts: list[Any] = [f"w{i} w{i + 1}" for i in range(4)]
    if conversational:
        prompts = [[{"role": "user", "content": p}] for p in prompts]
    return Dataset.from_dict({"prompt": prompts, "answer": [0, 1, None, 0], "task": ["x"] * 4})


@pytest.mark.parametrize(("asynchronous", "conversational"), [(False, True), (True, False)])
def test_a_real_grpo_step(tmp_path: Any, asynchronous: bool, conversational: bool) -> None:
    whole = as_trl(length + 0.5 * even, name="whole", asynchronous=asynchronous)
    sometimes = as_trl(even, name="sometimes", asynchronous=asynchronous)
    trainer = trl.GRPOTrainer(
        model=policy(),
        reward_funcs=[whole, sometimes, as_trl(flaky, name="flaky")],
        args=settings(
            trl.GRPOConfig, tmp_path, num_generations=4, max_steps=2, log_completions=True, shuffle_dataset=False
        ),
        train_dataset=rows(conversational).select([2, 0]),
        processing_class=tokenizer(template=True),
    )
    assert trainer._has_async_funcs is asynchronous
    assert trainer.reward_func_names == ["whole", "sometimes", "flaky"]
    trainer.train()
    without, with_ = [h for h in trainer.state.log_history if "reward" in h]  # the first prompt has no answer
    # TRL writes None where a function gave no number at all; a 0 would look like a wrong answer.
    assert without["rewards/sometimes/mean"] is None and with_["rewards/sometimes/mean"] is not None
    assert without["guerdon/sometimes/not_applicable"] == 1.0 and with_["guerdon/sometimes/not_applicable"] == 0.0
    assert "rewards/whole/even/mean" not in without
    assert without["rewards/whole/mean"] == pytest.approx(without["rewards/whole/length/mean"])
    assert with_["rewards/whole/mean"] == pytest.approx(
        with_["rewards/whole/length/mean"] + 0.5 * with_["rewards/whole/even/mean"]
    )
    assert with_["guerdon/flaky/failed"] == 0.25 and with_["rewards/flaky/mean"] == 1.0
    table = trainer._logs["extra"]
    assert {len(v) for v in table.values()} == {4} and set(table) == {"whole/length", "whole/even"}


def test_a_real_rloo_step_with_terms_and_weights(tmp_path: Any) -> None:
    split = trl_rewards(0.25 * length + 2.0 * even)
    policy().save_pretrained(tmp_path / "policy")
    trainer = trl.RLOOTrainer(
        model=str(tmp_path / "policy"),  # it loads the reference from the same place
        reward_funcs=split.functions,
        args=settings(trl.RLOOConfig, tmp_path, num_generations=4, reward_weights=split.weights),
        train_dataset=rows(False).select([0]),
        processing_class=tokenizer(),
    )
    trainer.train()
    (told,) = [h for h in trainer.state.log_history if "reward" in h]
    assert told["reward"] == pytest.approx(0.25 * told["rewards/length/mean"] + 2.0 * told["rewards/even/mean"])
