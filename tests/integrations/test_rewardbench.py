"""An entry of RewardBench's model table, called by the keywords its runners use (rewardbench 0.1.5; it does not install
here)."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from guerdon.batch import Seed
from guerdon.errors import NeedsError, RewardError
from guerdon.integrations.rewardbench import as_rewardbench, split_by_template
from guerdon.rewards import Reward
from guerdon.rewards.models import ScalarRewardModel
from tests.integrations.rewards_of_text import even, flaky, length
from tests.integrations.tiny_text import chatml_model, policy, tokenizer

TALKS = [
    [{"role": "user", "content": "w1 w2"}, {"role": "assistant", "content": "w3"}],
    [{"role": "user", "content": "w4"}, {"role": "assistant", "content": "w5 w6 w7 w8"}],
    [
        {"role": "user", "content": "w1"},
        {"role": "assistant", "content": "w2 w3"},
        {"role": "user", "content": "w4"},
        {"role": "assistant", "content": "w5 w6"},
    ],
    [{"role": "user", "content": "w9"}, {"role": "assistant", "content": "w10 w11"}],
]


def runner(entry: dict[str, Any], host_tokenizer: Any, texts: Sequence[str], batch_size: int, **more: Any) -> Any:
    """What rewardbench.py and run_rm.py do with an entry, in their order."""
    assert not entry["custom_dialogue"] and entry["model_type"] == "Seq. Classifier" and not entry["quantized"]
    model = entry["model_builder"](
        "my-reward", device_map="auto", torch_dtype=entry.get("torch_dtype"), revision=None, trust_remote_code=False
    )
    pipe = entry["pipeline_builder"]("text-classification", model=model, tokenizer=host_tokenizer)
    if pipe.tokenizer.pad_token_id is None:
        pipe.model.config.pad_token_id = pipe.tokenizer.eos_token_id
        pipe.tokenizer.pad_token_id = pipe.tokenizer.eos_token_id
    if pipe.model.config.pad_token_id is None:
        pipe.model.config.pad_token_id = pipe.tokenizer.pad_token_id
    pytest.importorskip("accelerate")
    from accelerate import Accelerator

    pipe.model = Accelerator(cpu=True).prepare(pipe.model)
    words = {"padding": True, "truncation": False, "max_length": 2048, "function_to_apply": "none", **more}
    said: list[Any] = []
    for start in range(0, len(texts), batch_size):
        batch = list(texts[start : start + batch_size])
        rewards = pipe(batch, batch_size=batch_size, return_token_type_ids=False, **words)
        assert not isinstance(rewards[0], dict)
        said += rewards.float().cpu().numpy().tolist()
    return said


def reward_model(template: bool = True, members: int = 1) -> ScalarRewardModel:
    return ScalarRewardModel(policy().model.eval(), tokenizer(template), members, seed=Seed(3)).eval()


def rendered(host_tokenizer: Any) -> list[str]:
    return [host_tokenizer.apply_chat_template(t, tokenize=False) for t in TALKS]


def begin_with_bos(made: Any) -> None:
    from tokenizers import processors

    made.backend_tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])


@pytest.mark.parametrize("members", [1, 3])
def test_scores_are_the_models_own_at_every_batch_size(members: int) -> None:
    """rb#137: scores changed with the batch size."""
    model = reward_model(members=members)
    if members == 3:
        begin_with_bos(model.tokenizer)  # the template writes all special tokens itself: none is added
    ours = model.score_texts([t[:-1] for t in TALKS], [t[-1]["content"] for t in TALKS]).mean(1)
    assert ours.std() > 0.01
    for batch_size in (1, 2, 4):
        host_tokenizer = tokenizer(template=True, pad="</s>")
        said = runner(as_rewardbench(model), host_tokenizer, rendered(host_tokenizer), batch_size)
        assert torch.allclose(torch.tensor(said), ours, atol=1e-4)


def test_the_begin_token_stands_once_and_an_end_token_closes_plain_text() -> None:
    """RewardBench masks a second begin token; ours is never written."""
    model = reward_model(template=False)
    begin_with_bos(model.tokenizer)
    model.rendering = "raw"
    expected = model.score_texts(["w1 "], ["w2"])[0]
    said = runner(as_rewardbench(model), tokenizer(), ["w1 w2", "<s> w1 w2", "w1 w2 </s>", "w1 w2 </s>\n"], 4)
    assert torch.allclose(torch.tensor(said), expected.expand(4), atol=1e-5)


def test_what_a_template_writes_behind_the_last_turn_is_not_scored() -> None:
    model = chatml_model()
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]
    text = model.tokenizer.apply_chat_template(talk, tokenize=False)
    assert text.endswith("\n")
    (said,) = runner(as_rewardbench(model), model.tokenizer, [text], 1)
    assert said == pytest.approx(model.score_texts(["q"], ["r"]).item(), abs=1e-5)


def test_long_texts_keep_their_end() -> None:
    model = reward_model()
    host_tokenizer = tokenizer(template=True)
    long = host_tokenizer.apply_chat_template([{"role": "user", "content": "w1 " * 80}, *TALKS[0][1:]], tokenize=False)
    assert model.max_length == 64
    (first,) = runner(as_rewardbench(model), host_tokenizer, [long], 1)
    assert runner(as_rewardbench(model), host_tokenizer, [long], 1, max_length=8) == [first]
    (cut,) = runner(as_rewardbench(model), host_tokenizer, [long], 1, truncation=True, max_length=8)
    (short,) = runner(as_rewardbench(model), host_tokenizer, ["w1 " * 4 + "</s>\n<|assistant|> w3 </s>\n"], 1)
    assert math.isfinite(first) and cut == pytest.approx(short, abs=1e-5) and first != pytest.approx(cut, abs=1e-4)


def test_any_reward_reads_prompt_and_response() -> None:
    host_tokenizer = tokenizer(template=True)
    texts = rendered(host_tokenizer)
    assert runner(as_rewardbench(length), host_tokenizer, texts, 2) == [1.0, 4.0, 2.0, 2.0]
    assert split_by_template(host_tokenizer, texts[0]) == ("<|user|> w1 w2 </s>\n", "w3")
    half = as_rewardbench(length, split=lambda text: ("", text.partition("|")[2]))
    assert runner(half, host_tokenizer, ["a|b c", "a|b"], 2) == [2.0, 1.0]
    with pytest.raises(RewardError, match="give split"):
        runner(as_rewardbench(length), tokenizer(), ["w1 w2"], 1)


def test_what_has_no_reward_follows_the_policy() -> None:
    host_tokenizer = tokenizer(template=True)
    texts = rendered(host_tokenizer)
    with pytest.raises(RewardError, match="Row 2"):
        runner(as_rewardbench(flaky), host_tokenizer, texts, 4)
    said = runner(as_rewardbench(flaky, invalid="nan"), host_tokenizer, texts, 4)
    assert said[:2] == [1.0, 1.0] and math.isnan(said[2]) and said[3] == 1.0
    assert runner(as_rewardbench(flaky, invalid=-5.0), host_tokenizer, texts, 4)[2] == -5.0
    with pytest.raises(NeedsError, match="answer"):
        runner(as_rewardbench(even), host_tokenizer, texts, 4)
    assert isinstance(flaky, Reward)
