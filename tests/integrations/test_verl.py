"""Rewards in verl, called as its reward loop calls them (verl itself does not install beside the rest)."""

import asyncio
import importlib.util
import inspect
import math
import pickle
import sys
import types
from functools import partial

import numpy as np
import pytest
import torch

from guerdon.batch import Samples
from guerdon.errors import GuerdonError, NeedsError, RewardError
from guerdon.integrations.verl import as_verl, verl_manager, write_verl
from guerdon.rewards import Context, dispatch, reward
from guerdon.rewards.rules.length import Length
from guerdon.rewards.rules.match import Match
from guerdon.shaping import zscore


@reward
def brief(responses):
    """1 of at most four characters."""
    return [float(len(r) <= 4) for r in responses]


@reward
def of_prompt(prompts):
    """How many messages or characters the prompt has."""
    return [float(len(p)) for p in prompts]


MIXED = 0.75 * Match() + 0.25 * brief
MIXED_RULES = 0.75 * Match() + 0.25 * Length()
CALL = {"data_source": "gsm8k", "solution_str": "four", "ground_truth": "four", "extra_info": {"index": 3}}


def loop_call(function, extra_info, **kwargs):
    """One item as verl's naive and gdpo managers ask for it."""
    wrapped = partial(lambda raw, given, **k: raw(**{**k, **given}), function, kwargs)
    return wrapped(data_source="gsm8k", solution_str="four", ground_truth="4", extra_info=extra_info)


def test_the_dict_holds_the_score_and_every_component_unweighted():
    assert as_verl(MIXED)(**CALL) == {"score": 1.0, "match": 1.0, "brief": 1.0}
    assert as_verl(MIXED)(**{**CALL, "solution_str": "five!"}) == {"score": 0.0, "match": 0.0, "brief": 0.0}
    assert as_verl(MIXED)(**{**CALL, "ground_truth": "five"}) == {"score": 0.25, "match": 0.0, "brief": 1.0}


def test_the_call_by_name_binds_and_what_verl_adds_is_swallowed():
    function = as_verl(MIXED)
    names = ("data_source", "solution_str", "ground_truth", "extra_info", "reward_router_address")
    inspect.signature(function).bind(**dict.fromkeys((*names, "reward_model_tokenizer")))
    given = loop_call(function, {}, reward_router_address="localhost:1", reward_model_tokenizer=object())
    assert given["score"] == 0.25


def test_the_reward_reads_extra_info_and_configured_arguments_as_columns():
    @reward
    def seen(prompts, responses, answer, index, limit, data_source):
        return [
            float(f"{p}{r}{a}{i}{n}{d}" == "2+2?four432gsm8k")
            for p, r, a, i, n, d in zip(prompts, responses, answer, index, limit, data_source, strict=True)
        ]

    # verl's own gsm8k rows hold the whole solution as extra_info's answer: the gold one is ground_truth.
    extra = {"index": 3, "question": "2+2?", "answer": "2 and 2 are #### 4"}
    assert loop_call(as_verl(seen), extra, limit=2)["score"] == 1.0
    assert extra == {"index": 3, "question": "2+2?", "answer": "2 and 2 are #### 4"}


def test_every_row_has_every_component():
    """verl reads the keys of the first row in every row: a KeyError in a batch of two tasks."""
    both = as_verl(dispatch("data_source", {"gsm8k": Match(), "chat": brief}))
    rows = [both(**CALL), both(**{**CALL, "data_source": "chat"})]
    table = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    assert table["match"][0] == 1.0
    assert np.isnan(table["match"][1])
    assert table["score"].tolist() == [1.0, 1.0]
    with pytest.raises(RewardError, match="'brief' has no value"):
        as_verl(dispatch("data_source", {"gsm8k": Match(), "chat": brief}), missing="raise")(**CALL)


def test_an_invalid_score_is_never_a_silent_zero():
    unanswered = {**CALL, "ground_truth": None}
    with pytest.raises(RewardError, match="NOT_APPLICABLE"):
        as_verl(Match())(**unanswered)
    assert math.isnan(as_verl(Match(), invalid="nan")(**unanswered)["score"])
    assert as_verl(Match(), invalid=-1)(**unanswered)["score"] == -1.0
    with pytest.raises(GuerdonError, match="invalid must be"):
        as_verl(Match(), invalid="zero")


def test_groups_and_names_of_verls_own_are_refused():
    with pytest.raises(NeedsError, match="one row at a time"):
        as_verl(MIXED.pipe(zscore("prompt")))
    as_verl(MIXED.pipe(zscore("running")))
    with pytest.raises(GuerdonError, match="'score'"):
        as_verl(reward(name="score")(lambda responses: [0.0 for _ in responses]))


def test_it_pickles_and_has_a_name():
    for made in (as_verl(MIXED), as_verl(MIXED, asynchronous=True)):
        again = pickle.loads(pickle.dumps(made))
        assert again.__name__ == made.__name__ == "sum"
    assert pickle.loads(pickle.dumps(as_verl(MIXED)))(**CALL)["score"] == 1.0


def test_the_asynchronous_one_is_a_coroutine_function_to_verl():
    function = as_verl(MIXED, asynchronous=True)
    assert inspect.iscoroutinefunction(function)
    assert not inspect.iscoroutinefunction(as_verl(MIXED))

    async def rows():
        return await asyncio.gather(*(function(**CALL) for _ in range(3)))

    assert [r["score"] for r in asyncio.run(rows())] == [1.0] * 3


class Item:
    """A DataProto of one row as the reward loop gives it: slices, then one item."""

    def __init__(self, batch, non_tensor_batch):
        self.batch, self.non_tensor_batch = batch, non_tensor_batch

    def __getitem__(self, key):
        return self


class Tokenizer:
    """Letters by number."""

    def decode(self, ids, skip_special_tokens):
        assert skip_special_tokens
        return "".join(chr(int(i)) for i in ids)


def test_the_manager_scores_the_response_without_padding():
    item = Item(
        {
            "responses": torch.tensor([*map(ord, "four"), 0, 0]),
            "attention_mask": torch.tensor([0, 1, 1, 1, 1, 1, 1, 0, 0]),
        },
        {
            "data_source": "gsm8k",
            "reward_model": {"style": "rule", "ground_truth": "four"},
            "extra_info": {"index": 1},
            "raw_prompt": np.array([{"role": "system", "content": "s"}, {"role": "user", "content": "2+2?"}]),
        },
    )
    manager = verl_manager(0.5 * Match() + 0.25 * of_prompt)(
        config=None, tokenizer=Tokenizer(), compute_score=None, reward_router_address=None, reward_model_tokenizer=None
    )
    given = asyncio.run(manager.run_single(item))
    assert given == {"reward_score": 1.0, "reward_extra_info": {"score": 1.0, "match": 1.0, "of_prompt": 2.0}}
    assert item.non_tensor_batch["extra_info"] == {"index": 1}


def test_the_manager_is_a_subclass_of_verls_where_verl_is_installed(monkeypatch):
    class RewardManagerBase:
        def __init__(self, config, tokenizer, compute_score):
            self.config, self.tokenizer, self.compute_score = config, tokenizer, compute_score

    at = "verl.experimental.reward_loop.reward_manager.base"
    for i in range(1, at.count(".") + 2):
        name = ".".join(at.split(".")[:i])
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules[at].RewardManagerBase = RewardManagerBase
    made = verl_manager(Match())
    assert issubclass(made, RewardManagerBase)
    assert made(config={"a": 1}, tokenizer=None, compute_score=None).config == {"a": 1}


def load(path):
    """verl's load_module of a file path."""
    spec = importlib.util.spec_from_file_location(f"custom_module_{hash(path)}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_written_file_rebuilds_the_reward(tmp_path):
    made = load(write_verl(tmp_path / "plain.py", MIXED_RULES, invalid=-2.0))
    assert made.compute_score(**CALL) == {"score": 1.75, "match": 1.0, "length": 4.0}
    assert made.compute_score(**{**CALL, "ground_truth": None, "solution_str": "a b"})["score"] == 0.75
    assert inspect.isclass(made.RewardManager)
    awaited = load(write_verl(tmp_path / "awaited.py", Match(), asynchronous=True)).compute_score
    assert inspect.iscoroutinefunction(awaited)
    saved = write_verl(tmp_path / "saved.py", tmp_path / "model").read_text()
    assert f"load_reward({str(tmp_path / 'model')!r})" in saved


def test_the_written_file_keeps_the_state(tmp_path):
    graph = Length().pipe(zscore("running"))
    _, state = graph.score(Samples(None, ["p"] * 3, ["a", "a b", "a b c d e f"]), graph.init(), Context())
    made = load(write_verl(tmp_path / "running.py", graph, state))
    given = made.compute_score(**CALL)
    assert given == as_verl(graph, state)(**CALL)
    # Characters 1, 3, 11: mean 5, squares 16 + 4 + 36 over 2; four characters are (4 - 5)/sqrt 28.
    assert given["score"] == pytest.approx(-1 / math.sqrt(28), abs=1e-4)


def test_a_reward_that_workers_cannot_import_is_not_written(tmp_path):
    def local(responses):
        return [0.0 for _ in responses]

    with pytest.raises(GuerdonError, match="closure"):
        write_verl(tmp_path / "r.py", reward(local))
    local.__module__, local.__qualname__ = "__main__", "local"
    with pytest.raises(GuerdonError, match="__main__"):
        write_verl(tmp_path / "r.py", reward(local))
    assert not (tmp_path / "r.py").exists()
