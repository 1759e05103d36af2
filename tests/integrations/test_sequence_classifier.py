"""Scalar reward models as sequence classifiers: the same scores in transformers, in TRL, and read again by us."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from guerdon.batch import Seed
from guerdon.errors import GuerdonError
from guerdon.integrations.sequence_classifier import as_sequence_classifier
from guerdon.rewards.models import ScalarRewardModel
from guerdon.worlds.text import Encoded
from tests.integrations import tiny_text
from tests.integrations.tiny_text import chatml_model, policy, settings, tokenizer

PROMPTS = ["w1 w2 w3", "w4", [{"role": "user", "content": "w5 w6"}], "w7 w8"]
RESPONSES = ["w9", "w10 w11 w12 w13", "", "w14 </s> w15"]


def backbone(kind: str) -> Any:
    import transformers as t

    torch.manual_seed(0)
    llama = tiny_text.config().to_dict()
    common = {k: llama[k] for k in ("vocab_size", "bos_token_id", "eos_token_id", "initializer_range")}
    sized = {k: llama[k] for k in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")}
    if kind == "gpt2":
        config: Any = t.GPT2Config(**common, n_embd=16, n_layer=2, n_head=2, n_positions=64)
    elif kind == "bert":
        config = t.BertConfig(**common, **sized)
    elif kind == "llama":
        config = tiny_text.config()
    else:
        made = {"qwen2": t.Qwen2Config, "gemma": t.GemmaConfig}[kind]
        more = {"head_dim": 8} if kind == "gemma" else {}
        config = made(**common, **sized, num_key_value_heads=2, max_position_embeddings=64, **more)
    return t.AutoModel.from_config(config).eval()


def reward_model(kind: str = "llama", members: int = 1, template: bool = True, pad: str = "<pad>") -> ScalarRewardModel:
    return ScalarRewardModel(backbone(kind), tokenizer(template, pad), members, seed=Seed(3)).eval()


def read(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    return AutoModelForSequenceClassification.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def scores(classifier: Any, pads: Any, rows: list[list[int]], side: str = "right") -> torch.Tensor:
    batch = pads.pad({"input_ids": rows}, return_tensors="pt", padding_side=side)
    with torch.no_grad():
        return classifier(**batch).logits[:, 0]


def whole(rows: list[Encoded]) -> list[list[int]]:
    return [[*r.prompt, *r.response] for r in rows]


@pytest.mark.parametrize("pad", ["<pad>", "</s>", "<unk>"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma", "gpt2"])
def test_scores_are_ours_whatever_the_padding_and_the_batch(tmp_path: Path, kind: str, pad: str) -> None:
    """trl#6952, trl#3750, trl#937: pad = eos makes a host read a position before the end."""
    model = reward_model(kind, pad=pad)
    folder = as_sequence_classifier(model, tmp_path / "out")
    classifier, pads = read(folder)
    rows = [model.encode(p, r) for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    ours = model.score_encoded(rows)[:, 0]
    assert ours.std() > 0.01
    assert torch.allclose(scores(classifier, pads, whole(rows)), ours, atol=1e-5)
    alone = torch.cat([scores(classifier, pads, [ids]) for ids in whole(rows)])
    assert torch.allclose(alone, ours, atol=1e-5)
    if kind != "gpt2":  # learned positions are counted from the padding there
        assert torch.allclose(scores(classifier, pads, whole(rows), side="left"), ours, atol=1e-5)
    assert pads.padding_side == "right"
    assert pads.pad_token_id not in {ids[-1] for ids in whole(rows)} and pads.pad_token_id != pads.unk_token_id
    assert classifier.config.pad_token_id == pads.pad_token_id and classifier.config.num_labels == 1


def test_what_hosts_render_ends_where_our_rows_end(tmp_path: Path) -> None:
    model = reward_model()
    _, pads = read(as_sequence_classifier(model, tmp_path / "out"))
    talk = [{"role": "user", "content": "w1 w2"}, {"role": "assistant", "content": "w3"}]
    text = pads.apply_chat_template(talk, tokenize=False)
    assert pads(text, add_special_tokens=False)["input_ids"] == whole([model.encode("w1 w2", "w3")])[0]
    start = model.tokenizer.apply_chat_template(talk[:1], tokenize=False, add_generation_prompt=True)
    assert pads.apply_chat_template(talk[:1], tokenize=False, add_generation_prompt=True) == start


@pytest.mark.parametrize("eos", ["<|im_end|>", "<|endoftext|>"])
def test_a_template_that_writes_behind_the_last_turn_loses_it(tmp_path: Path, eos: str) -> None:
    """ChatML's newline is a token that our rows do not have, and pad = end of turn hides the end whatever eos is."""
    model = chatml_model(eos)
    _, pads = read(as_sequence_classifier(model, tmp_path / "out"))
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]
    text = pads.apply_chat_template(talk, tokenize=False)
    ids = pads(text, add_special_tokens=False)["input_ids"]
    assert text.endswith("<|im_end|>") and ids == whole([model.encode("q", "r")])[0]
    assert pads.pad_token_id != ids[-1] and pads.model_max_length == 60
    start = model.tokenizer.apply_chat_template(talk[:1], tokenize=False, add_generation_prompt=True)
    assert pads.apply_chat_template(talk[:1], tokenize=False, add_generation_prompt=True) == start


def test_members_and_adapters_become_one_head(tmp_path: Path) -> None:
    model = reward_model(members=3)
    rows = [model.encode(p, r) for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    ours = model.score_encoded(rows)
    for member, expected in ((None, ours.mean(1)), (2, ours[:, 2])):
        classifier, pads = read(as_sequence_classifier(model, tmp_path / "out", member=member))
        assert torch.allclose(scores(classifier, pads, whole(rows)), expected, atol=1e-5)
    with pytest.raises(GuerdonError, match="member"):
        as_sequence_classifier(model, tmp_path / "out", member=3)
    pytest.importorskip("peft")
    before = copy.deepcopy(model).score_encoded(rows)
    model.with_lora({"r": 2, "init_lora_weights": False}, Seed(1))
    adapted = model.score_encoded(rows)
    assert (adapted - before).abs().max() > 1e-2
    classifier, pads = read(as_sequence_classifier(model, tmp_path / "out"))
    assert torch.allclose(scores(classifier, pads, whole(rows)), adapted.mean(1), atol=1e-5)
    assert torch.equal(model.score_encoded(rows), adapted)  # the model is left as it was


@pytest.mark.parametrize("template", [True, False])
def test_we_read_it_again(tmp_path: Path, template: bool) -> None:
    model = reward_model(pad="</s>", template=template)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    again = ScalarRewardModel.from_pretrained(as_sequence_classifier(model, tmp_path / "out"))
    assert torch.allclose(again.score_texts(PROMPTS, RESPONSES), model.score_texts(PROMPTS, RESPONSES), atol=1e-5)
    assert again.max_length == model.max_length and again.members == 1
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.tokenizer.pad_token == "</s>"


def test_another_rendering_leaves_no_template_to_render_by(tmp_path: Path) -> None:
    model = reward_model()
    model.rendering = "raw"
    _, pads = read(as_sequence_classifier(model, tmp_path / "out"))
    assert pads.chat_template is None


def test_classifiers_are_written_as_they_are_and_others_are_refused(tmp_path: Path) -> None:
    import transformers as t

    with pytest.raises(GuerdonError, match="BertModel"):
        as_sequence_classifier(reward_model("bert", template=False), tmp_path / "out")
    t.AutoModelForSequenceClassification.from_config(
        t.BertConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, num_labels=1)
    ).save_pretrained(tmp_path / "bert")
    tokenizer().save_pretrained(tmp_path / "bert")
    model = ScalarRewardModel.from_pretrained(tmp_path / "bert")
    classifier, pads = read(as_sequence_classifier(model, tmp_path / "out"))
    rows = [model.encode("w1", "w2 w3"), model.encode("w1", "w2")]
    assert torch.allclose(scores(classifier, pads, whole(rows)), model.score_encoded(rows)[:, 0], atol=1e-5)
    strange = reward_model()
    strange.head = torch.nn.Linear(16, 1)  # type: ignore[assignment]
    with pytest.raises(GuerdonError, match="one linear head"):
        as_sequence_classifier(strange, tmp_path / "strange")
    assert not (tmp_path / "strange").exists()


def test_a_real_grpo_step_scores_with_it(tmp_path: Path) -> None:
    """TRL pads with the classifier's own tokenizer and sets its pad id; pad = eos moved the score there (trl#6952)."""
    trl = pytest.importorskip("trl")
    from datasets import Dataset

    model = reward_model(pad="</s>")
    folder = as_sequence_classifier(model, tmp_path / "our-reward")
    trainer = trl.GRPOTrainer(
        model=policy(),
        reward_funcs=str(folder),
        args=settings(trl.GRPOConfig, tmp_path / "run", num_generations=4),
        train_dataset=Dataset.from_dict({"prompt": [[{"role": "user", "content": "w1 w2"}]]}),
        processing_class=tokenizer(template=True),
    )
    assert trainer.reward_func_names == ["our-reward"]
    trainer.train()
    logs = trainer._logs
    said = [c[0]["content"] for c in logs["completion"]]
    ours = model.score_texts(list(logs["prompt"]), said)[:, 0]
    assert torch.allclose(torch.tensor(list(logs["rewards"]["our-reward"])), ours, atol=1e-4)
