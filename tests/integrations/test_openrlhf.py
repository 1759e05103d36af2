"""Rewards as OpenRLHF calls them: the file it loads, the words it reads. It is not installed here; ``_like_openrlhf``
does with names, threads and values what its agent does."""

import asyncio
import importlib.util
import logging
import math
import pickle
import sys

import pytest
import torch

from guerdon.errors import GuerdonError, NeedsError, RewardError
from guerdon.integrations.openrlhf import Words, as_openrlhf, openrlhf_function
from guerdon.rewards import bind, dispatch, dumps, reward
from guerdon.rewards.rules import Length, Match
from guerdon.shaping import zscore
from tests.integrations.rewards_of_text import even, length  # type: ignore[import-not-found,unused-ignore]


def _loaded(path):
    """The module, as the host loads it: by its path, under the name 'reward_func'."""
    spec = importlib.util.spec_from_file_location("reward_func", str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.reward_func


def _like_openrlhf(function, items):
    """(query, prompt, label) of many rollouts at once: a thread and a call an item; (reward, score, info) an item."""

    async def fetch(query, prompt, label):
        (found,) = await asyncio.gather(asyncio.to_thread(function, [query], [prompt], [label]))
        score = found.get("scores")
        score = found.get("rewards") if score is None else score
        info = {k: torch.tensor([v.flatten()[0].item()]) for k, v in found["extra_logs"].items()}
        return torch.tensor([found.get("rewards")]), torch.tensor([score]), info

    async def play():
        return await asyncio.gather(*(fetch(*item) for item in items))

    return asyncio.run(play())


def test_many_items_at_once_each_get_their_own():
    items = [(f"Q{i}? {'x' * i}<|im_end|>", f"Q{i}? ", None) for i in range(60)]
    for i, (value, score, info) in enumerate(_like_openrlhf(openrlhf_function(Length("characters")), items)):
        assert value.shape == (1,) and float(value) == i and info["rewards/length"].tolist() == [i]
        assert float(score) == min(i, 1)


def test_a_score_of_zero_is_a_score():
    """OpenRLHF 33f9d72f: scores=0.0 was taken for missing and the reward stood in its place."""
    found = openrlhf_function(Length("characters") - 5.0, bounds=(0.0, 10.0))(["pabc"], ["p"], [None])
    assert found["rewards"].tolist() == [-2.0] and found["scores"].tolist() == [0.0]
    ((value, score, _),) = _like_openrlhf(openrlhf_function(Length("characters") - 5.0), [("pabc", "p", None)])
    assert float(value) == -2.0 and float(score) == 0.0


def test_a_failed_fetch_is_no_number_and_is_said_aloud(caplog):
    """OpenRLHF's agent logs a failed fetch at INFO and leaves the reward None."""
    function = openrlhf_function(even)
    with caplog.at_level(logging.ERROR), pytest.raises(RewardError, match="Row 0 has no valid reward"):
        function(["pa b"], ["p"], [None])
    assert "takes for None" in caplog.text
    assert math.isnan(openrlhf_function(even, invalid="nan")(["pa b"], ["p"], [None])["rewards"][0])
    found = openrlhf_function(even, invalid=0.5)(["pa b"], ["p"], [None])
    assert found["rewards"].tolist() == [0.5] == found["scores"].tolist()
    assert found["extra_logs"]["rewards/even"].tolist() == [0.0] == found["extra_logs"]["rewards/even/valid"].tolist()


def test_every_item_has_the_same_logs():
    """The host joins logs by the first item's names and crashes where another lacks one."""
    both = dispatch("label", {"a": Length("words"), "b": Match()})
    first, second = _like_openrlhf(openrlhf_function(both), [("pb", "p", "b"), ("px y", "p", "a")])
    assert first[2].keys() == second[2].keys()
    assert second[2]["rewards/length"].tolist() == [2.0] and second[2]["rewards/match/valid"].tolist() == [0.0]


def test_scores_from_bounds_or_from_a_component():
    total = Match() + 0.01 * Length("characters")
    found = openrlhf_function(total, component="match")(["pyes", "pno"], ["p", "p"], ["yes", "yes"])
    assert found["scores"].tolist() == [1.0, 0.0]
    assert found["rewards"].tolist() == pytest.approx([1.03, 0.02])
    scores = openrlhf_function(Length("characters"), bounds=(1, 5))(["p", "pab", "p" * 9], ["p"] * 3, None)["scores"]
    assert scores.tolist() == [0.0, 0.25, 1.0]


def test_the_prompt_is_taken_off_exactly():
    words = Words()
    assert words.response("ab ab x", "ab ") == "ab x"
    assert words.response("p x</s><|im_end|>", "p") == " x"
    assert words.response("p</s>", "p") == ""
    assert Words(ends=()).response("px</s>", "p") == "x</s>"
    with pytest.raises(GuerdonError, match=r"query\[2\] must begin with prompts\[2\], but differs from character 1"):
        words.response("pxq", "pqq", 2)
    whole = Words(query="whole").rows(["other text</s>"], ["prompt"], ["l"])
    assert whole.responses == ["other text</s>"] and whole.columns == {"label": ["l"], "answer": ["l"]}
    assert Words(label="gold").rows(["p"], ["p"], [3]).columns["gold"] == [3]


@pytest.mark.parametrize(
    "options",
    [{"query": "none"}, {"bounds": (1, 1)}, {"invalid": "zero"}, {"invalid": math.inf}, {"ends": "</s>"}],
)
def test_a_setting_that_is_none_is_refused(options):
    with pytest.raises(GuerdonError):
        Words(**options)


def test_what_the_host_cannot_give_is_refused():
    with pytest.raises(NeedsError, match="zscore"):
        openrlhf_function(Length().pipe(zscore("prompt")))
    with pytest.raises(NeedsError, match="'style'"):
        openrlhf_function(Length(), component="style")


def test_the_file_is_loaded_by_its_path_and_scores_as_at_home(tmp_path):
    total = Match(column="gold") + 0.5 * Length("words")
    path = as_openrlhf(total, tmp_path / "mine.py", label="gold", invalid=-1, bounds=(0, 4), ends=("</s>",))
    function = _loaded(path)
    found = function(queries=["pa b</s>", "pc"], prompts=["p", "p"], labels=["a b", "d"])
    home = bind(total)(["p", "p"], ["a b", "c"], gold=["a b", "d"])
    assert found["rewards"].tolist() == pytest.approx(home) and found["scores"].tolist() == [0.5, 0.125]
    assert found["rewards"].dtype == torch.float32 and found["rewards"].shape == (2,)
    assert function.words == Words(-1, "response", ("</s>",), "gold", (0, 4))


def test_the_file_finds_rewards_in_a_module_beside_it(tmp_path, monkeypatch):
    (tmp_path / "my_own_rewards.py").write_text(
        "from guerdon.rewards import reward\n@reward(each=True)\ndef vowels(response):\n"
        "    return float(sum(c in 'aeiou' for c in response))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import my_own_rewards

    as_openrlhf(my_own_rewards.vowels, tmp_path / "shim.py")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(tmp_path)])
    monkeypatch.delitem(sys.modules, "my_own_rewards")
    assert _loaded(tmp_path / "shim.py")(["pabe"], ["p"], [None])["rewards"].tolist() == [2.0]


def test_what_a_file_cannot_hold_is_refused(tmp_path):
    with pytest.raises(GuerdonError, match="running statistics"):
        as_openrlhf(Length().pipe(zscore("running")), tmp_path / "x.py")
    with pytest.raises(GuerdonError, match="closure"):
        as_openrlhf(reward(name="inner")(lambda responses: [0.0]), tmp_path / "x.py")
    with pytest.raises(GuerdonError, match=r"\.py"):
        as_openrlhf(length, tmp_path / "x.json")
    script = reward(lambda responses: [0.0 for _ in responses])
    script.function.__module__, script.function.__qualname__ = "__main__", "script"
    with pytest.raises(GuerdonError, match="__main__"):
        as_openrlhf(script, tmp_path / "x.py")
    assert "__main__:script" in dumps(script) and not (tmp_path / "x.py").exists()


def test_the_function_pickles():
    again = pickle.loads(pickle.dumps(openrlhf_function(length, bounds=(0, 4))))
    assert again.__name__ == "reward_func"
    assert again(["px y"], ["p"], [None])["scores"].tolist() == [0.5]
