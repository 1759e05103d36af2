"""Reward models: the score's position, batch and padding invariance, seeds, saving, and clear refusals."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from guerdon.batch import Message, Samples, Seed, Status, TokenRows
from guerdon.errors import GuerdonError, NeedsError
from guerdon.rewards import Context, dumps, loads
from guerdon.rewards.models import (
    EmbeddingRewardModel,
    LinearHead,
    MLPHead,
    ModelReward,
    ScalarRewardModel,
    Scaling,
    TensorReward,
    features,
    head_from,
    load_embedder,
    load_reward,
    load_tokenizer,
)
from guerdon.worlds.text import encode, right_padded, tokenizer_key

Make = Callable[..., Path]
KINDS = ("llama", "qwen2", "qwen3", "gemma", "gpt2", "bert")
CAUSAL = KINDS[:-1]
PROMPTS = ["what is it", "who sat on the mat and why", "how", "where"]
RESPONSES = ["a cat", "the dog sat on the very good rug and it was not bad", "no", ""]


def block(rows: list[list[int]], starts: list[int], *, left: bool, pad: int, width: int = 0) -> TokenRows:
    width = max(width, *map(len, rows))
    ids = torch.full((len(rows), width), pad)
    attention, response = (
        torch.zeros(len(rows), width, dtype=torch.bool),
        torch.zeros(len(rows), width, dtype=torch.bool),
    )
    for i, row in enumerate(rows):
        at = width - len(row) if left else 0
        ids[i, at : at + len(row)] = torch.tensor(row)
        attention[i, at : at + len(row)] = True
        response[i, at + starts[i] : at + len(row)] = True
    return TokenRows(ids, attention, response)


# Rows with end tokens (3) and pad tokens (0) inside prompt and response: ids must never tell padding or ends.
ROWS = [[2, 10, 3, 11, 12, 3, 0, 13], [2, 20, 21, 3], [2, 0, 14, 15, 16, 3, 17, 18, 19, 3], [2, 5, 6]]
STARTS = [3, 2, 1, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_scores_do_not_depend_on_padding_or_batch_mates(kind: str, tiny_model: Make) -> None:
    """Anchor A.2: TRL #6952, #3750, #5338, #937 read the wrong position; rb#137 changed with the batch."""
    model = ScalarRewardModel.from_pretrained(tiny_model(kind), members=2, seed=Seed(1)).eval()
    with torch.no_grad():
        right = model(block(ROWS, STARTS, left=False, pad=0))
        assert float(right.std()) > 1e-2  # else nothing here could fail
        for other in (
            block(ROWS, STARTS, left=True, pad=0),
            block(ROWS, STARTS, left=True, pad=3),  # pad = eos
            block(ROWS, STARTS, left=False, pad=99, width=17),
        ):
            assert (model(other) - right).abs().max() < 1e-5
        for i, row in enumerate(ROWS):
            alone = model(block([row], [STARTS[i]], left=False, pad=0))
            assert (alone[0] - right[i]).abs().max() < 1e-5


@pytest.mark.parametrize("kind", CAUSAL)
def test_the_score_is_read_at_the_last_response_token(kind: str, tiny_model: Make) -> None:
    model = ScalarRewardModel.from_pretrained(tiny_model(kind), seed=Seed(1)).eval()
    rows = block(ROWS, STARTS, left=False, pad=0)
    with torch.no_grad():
        whole = model(rows)
        hidden = model.backbone(input_ids=rows.ids, attention_mask=rows.attention.long()).last_hidden_state
        for i, row in enumerate(ROWS):
            assert torch.allclose(model.head(hidden[i, len(row) - 1]), whole[i], atol=1e-5)
        cut = TokenRows(rows.ids, rows.attention, rows.response.clone())
        cut.response[0, 5:] = False  # a tool's output follows the response: position 4 is its last token
        assert torch.allclose(model(cut)[0], model.head(hidden[0, 4]), atol=1e-5)


def test_the_head_is_drawn_from_its_seed_alone(tiny_model: Make) -> None:
    """TRL #4887: the head was initialised before the seed was set."""
    path = tiny_model("llama")

    def head(seed: int) -> torch.Tensor:
        torch.manual_seed(torch.seed() % 1000)
        return ScalarRewardModel.from_pretrained(path, members=3, seed=Seed(seed)).head.weight.detach()

    assert torch.equal(head(5), head(5)) and not torch.equal(head(5), head(6))
    assert not torch.equal(head(5)[0], head(5)[1])


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_sequence_classifiers_are_read_with_parity(kind: str, tiny_model: Make) -> None:
    from transformers import AutoModelForSequenceClassification

    path = tiny_model(kind, head="classifier")
    model = ScalarRewardModel.from_pretrained(path)
    whole = AutoModelForSequenceClassification.from_pretrained(path).eval()
    rows = block([[2, 10, 11, 12], [2, 13]], [1, 1], left=False, pad=0)
    with torch.no_grad():
        theirs = whole(input_ids=rows.ids, attention_mask=rows.attention.long()).logits
        assert torch.allclose(model(rows), theirs, atol=1e-5) and float(theirs.std()) > 1e-3
    with pytest.raises(GuerdonError, match="has 3"):
        ScalarRewardModel.from_pretrained(tiny_model(kind, head="classifier", labels=3))


@pytest.mark.parametrize("kind", ["qwen2", "bert"])
def test_save_and_load(kind: str, tiny_model: Make, tmp_path: Path) -> None:
    model = ScalarRewardModel.from_pretrained(tiny_model(kind), members=2, seed=Seed(3), max_length=32)
    model.save(tmp_path / "rm")
    model.save(tmp_path / "rm")  # over an old one
    again = ScalarRewardModel.from_pretrained(tmp_path / "rm")
    assert again.max_length == 32 and [p.name for p in tmp_path.iterdir()] == ["rm"]
    assert torch.equal(again.score_texts(PROMPTS, RESPONSES), model.score_texts(PROMPTS, RESPONSES))
    assert not list((tmp_path / "rm").rglob("*.bin"))


def test_lora_trains_little_and_survives_saving(tiny_model: Make, tmp_path: Path) -> None:
    path = tiny_model("llama")
    model = ScalarRewardModel.from_pretrained(path, seed=Seed(1), lora={"r": 2})
    free = [n for n, p in model.named_parameters() if p.requires_grad]
    assert "head.weight" in free and all("lora" in n or n == "head.weight" for n in free)
    plain = ScalarRewardModel.from_pretrained(path, seed=Seed(1))
    assert torch.allclose(model.score_texts(PROMPTS, RESPONSES), plain.score_texts(PROMPTS, RESPONSES), atol=1e-6)
    with torch.no_grad():
        for n, p in model.named_parameters():
            if "lora_B" in n:
                p.fill_(0.1)
    model.save(tmp_path / "rm")
    again = ScalarRewardModel.load(tmp_path / "rm")
    assert torch.allclose(again.score_texts(PROMPTS, RESPONSES), model.score_texts(PROMPTS, RESPONSES), atol=1e-6)
    with pytest.raises(GuerdonError, match="classifier"):
        ScalarRewardModel.from_pretrained(tiny_model("bert", head="classifier"), lora={"r": 2})


def test_a_path_that_is_not_a_model(tmp_path: Path, tiny_model: Make) -> None:
    with pytest.raises(GuerdonError, match=r"holds no config\.json"):
        ScalarRewardModel.from_pretrained(tmp_path)
    with pytest.raises(GuerdonError, match="none could be read"):
        ScalarRewardModel.from_pretrained(tmp_path / "nothing")
    broken = tmp_path / "broken"
    shutil.copytree(tiny_model("llama"), broken)
    (broken / "model.safetensors").write_bytes(b"not a model")
    with pytest.raises(GuerdonError, match="could not be loaded"):
        ScalarRewardModel.from_pretrained(broken)
    with pytest.raises(GuerdonError, match=r"reward_model\.json"):
        ScalarRewardModel.load(tmp_path)
    with pytest.raises(GuerdonError, match=r"no reward_model\.json"):
        load_reward(tmp_path)


def test_a_tokenizer_without_a_pad_token(tiny_model: Make) -> None:
    """trl#937: without a pad token the last *padded* position was read."""
    with_pad = ScalarRewardModel.from_pretrained(tiny_model("gpt2"), seed=Seed(1))
    without = ScalarRewardModel.from_pretrained(tiny_model("gpt2", pad=False), seed=Seed(1))
    assert without.tokenizer.pad_token_id == without.tokenizer.eos_token_id
    assert torch.allclose(without.score_texts(PROMPTS, RESPONSES), with_pad.score_texts(PROMPTS, RESPONSES), atol=1e-5)


def test_encoding_with_and_without_a_chat_template(tiny_model: Make) -> None:
    plain = load_tokenizer(tiny_model("llama"))
    row = encode(plain, "what is it", "a cat")
    assert [plain.convert_ids_to_tokens(part) for part in (row.prompt, row.response)] == [
        ["what", "is", "it"],
        ["a", "cat", "</s>"],
    ]
    encoder = load_tokenizer(tiny_model("bert"))
    row = encode(encoder, "who", "a cat")
    assert [encoder.convert_ids_to_tokens(part) for part in (row.prompt, row.response)] == [
        ["[CLS]", "who", "[SEP]"],
        ["a", "cat", "[SEP]"],
    ]
    chat = load_tokenizer(tiny_model("llama", template=True))
    row = encode(chat, [Message.of("system", "good"), Message.of("user", "who")], "a cat")
    said = chat.convert_ids_to_tokens([*row.prompt, *row.response])
    assert said == ["<|system|>", "good", "</s>", "<|user|>", "who", "</s>", "<|assistant|>", "a", "cat", "</s>"]
    assert len(row.prompt) == 7


def test_a_long_prompt_loses_its_start_and_a_long_response_is_refused(tiny_model: Make) -> None:
    tokenizer = load_tokenizer(tiny_model("llama"))
    row = encode(tokenizer, "what is it", "a cat", max_length=4)
    assert tokenizer.convert_ids_to_tokens([*row.prompt, *row.response]) == ["it", "a", "cat", "</s>"]
    assert (len(row.prompt), row.dropped, row.cut) == (1, 2, 0)
    with pytest.raises(GuerdonError, match="3 tokens, but the context of 2 has room for 1"):
        encode(tokenizer, "what", "a cat", max_length=2)


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_a_model_as_a_reward_does_not_depend_on_the_batch(kind: str, tiny_model: Make) -> None:
    """rb#137: |Δ| < 1e-4 in float32 across batch sizes."""
    model = ScalarRewardModel.from_pretrained(tiny_model(kind), members=2, seed=Seed(1))
    samples = Samples(None, PROMPTS, RESPONSES)
    whole = ModelReward(model).score(samples, {}, Context())[0]
    assert whole.names() == ("member/0", "member/1")
    for budget in (1, 20, 10_000):
        again = ModelReward(model, tokens_at_once=budget).score(samples, {}, Context())[0]
        assert (again["member/1"].value - whole["member/1"].value).abs().max() < 1e-4
    order = [2, 0, 3, 1]
    mixed = Samples(None, [PROMPTS[i] for i in order], [RESPONSES[i] for i in order])
    again = ModelReward(model).score(mixed, {}, Context())[0]
    assert (again["member/0"].value - whole["member/0"].value[order]).abs().max() < 1e-4


def test_the_sampled_ids_are_read_where_the_tokenizer_is_the_same(tiny_model: Make) -> None:
    """TRL #5224: re-tokenising decoded text changes the tokens."""
    model = ScalarRewardModel.from_pretrained(tiny_model("llama"), seed=Seed(1)).eval()
    payload = block([[10, 11, 12, 3], [10, 12]], [2, 1], left=True, pad=0)
    lie = ["the text is not what was sampled"] * 2
    key = {"tokenizer": tokenizer_key(model.tokenizer)}
    with torch.no_grad():
        right = model(payload).squeeze(1)
    own = ModelReward(model).score(Samples(payload, ["p"] * 2, lie, made_by=key), {}, Context())[0]["reward"]
    other = ModelReward(model).score(Samples(payload, ["p"] * 2, lie), {}, Context())[0]["reward"]
    assert torch.allclose(own.value, right, atol=1e-5) and not torch.allclose(other.value, right, atol=1e-2)


def test_a_response_that_does_not_fit_is_failed_not_zero(tiny_model: Make) -> None:
    model = ScalarRewardModel.from_pretrained(tiny_model("llama"), seed=Seed(1), max_length=4)
    channel = ModelReward(model).score(Samples(None, ["what"] * 2, ["cat", "cat " * 9]), {}, Context())[0]["reward"]
    assert channel.statuses().tolist() == [Status.OK, Status.FAILED]
    assert channel.note is not None and "context of 4" in channel.note[1]


def test_a_saved_model_reward_serialises_by_its_folder(tiny_model: Make, tmp_path: Path) -> None:
    model = ScalarRewardModel.from_pretrained(tiny_model("llama"), seed=Seed(1))
    with pytest.raises(GuerdonError, match="save it"):
        dumps(ModelReward(model) + 1)
    model.save(tmp_path / "rm")
    node = 2 * load_reward(tmp_path / "rm")
    samples = Samples(None, PROMPTS, RESPONSES)
    again = loads(dumps(node)).score(samples, {}, Context())[0].only()
    assert torch.equal(again.value, node.score(samples, {}, Context())[0].only().value)


def test_tensor_reward_reads_ids_as_they_are() -> None:
    payload = block([[4, 5], [6, 7]], [1, 1], left=False, pad=0)
    samples = Samples(payload, ["a", "b"])
    total = TensorReward(lambda rows: torch.where(rows.response, rows.ids, 0).sum(1))
    assert total.score(samples, {}, Context())[0]["reward"].value.tolist() == [5.0, 7.0]
    with pytest.raises(GuerdonError, match=r"must give \[2,1\]"):
        TensorReward(lambda rows: torch.zeros(2, 3)).score(samples, {}, Context())
    with pytest.raises(NeedsError, match="TokenRows"):
        total.score(Samples(None, ["a"]), {}, Context())


def test_right_padded_moves_only_padding() -> None:
    rows = block([[4, 5], [6, 7, 8]], [1, 1], left=True, pad=0, width=5)
    moved = right_padded(rows)
    assert moved.ids.tolist() == [[4, 5, 0], [6, 7, 8]]
    assert moved.response.tolist() == [[False, True, False], [False, True, True]]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_embeddings_do_not_depend_on_the_batch_and_are_cached_by_content(
    kind: str, tiny_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [*RESPONSES, "the cat", "a cat"]
    embedder = load_embedder(tiny_model(kind), cache=tmp_path)
    assert embedder.pooling == ("mean" if kind == "bert" else "last")
    vectors = embedder(texts)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(len(texts)), atol=1e-5)
    assert torch.equal(vectors[0], vectors[5])
    for budget in (1, 8):
        other = load_embedder(tiny_model(kind), cache=False, tokens_at_once=budget)(texts)
        assert (other - vectors).abs().max() < 1e-5
    fresh = load_embedder(tiny_model(kind), cache=tmp_path)
    monkeypatch.setattr(type(fresh), "compute", lambda *_: pytest.fail("computed what is stored"))
    assert torch.equal(fresh(texts), vectors)


def test_the_cache_tells_models_and_settings_apart_and_survives_a_broken_shard(
    tiny_model: Make, tmp_path: Path
) -> None:
    keys = {
        load_embedder(tiny_model("bert"), cache=tmp_path).key(),
        load_embedder(tiny_model("bert"), cache=tmp_path, pooling="first").key(),
        load_embedder(tiny_model("bert"), cache=tmp_path, max_length=8).key(),
        load_embedder(tiny_model("gpt2"), cache=tmp_path).key(),
    }
    assert len(keys) == 4
    tuned = load_embedder(tiny_model("bert"), cache=tmp_path)
    before = tuned.key()
    with torch.no_grad():
        next(tuned.backbone.parameters()).mul_(2)  # changed weights must not read the old weights' vectors
    assert before in keys and tuned.key() not in keys
    embedder = load_embedder(tiny_model("bert"), cache=tmp_path)
    vectors = embedder(["a cat"])
    (shard,) = (tmp_path / "embeddings" / embedder.key()).iterdir()
    shard.write_bytes(b"half a fi")
    assert torch.allclose(embedder(["a cat"]), vectors)


def test_mean_pooling_is_over_real_tokens(tiny_model: Make) -> None:
    embedder = load_embedder(tiny_model("bert"), cache=False, normalise=False)
    ids = torch.tensor([embedder.tokenizer.encode("the cat sat")])
    with torch.no_grad():
        hidden = embedder.backbone(input_ids=ids).last_hidden_state[0]
    assert torch.allclose(embedder(["the cat sat", "a " * 20])[0], hidden.mean(0), atol=1e-5)


def test_a_long_text_keeps_the_chosen_end(tiny_model: Make) -> None:
    ends = {keep: load_embedder(tiny_model("bert"), cache=False, max_length=4, keep=keep) for keep in ("start", "end")}
    texts = ["the cat sat on", "the cat", "sat on"]
    start, end = (ends[k](texts) for k in ("start", "end"))
    assert torch.allclose(start[0], start[1], atol=1e-6) and torch.allclose(end[0], end[2], atol=1e-6)


def test_heads_are_members_side_by_side() -> None:
    x = torch.randn(5, 6)
    head = MLPHead(6, hidden=4, members=3, seed=Seed(1))
    slow = torch.stack(
        [torch.nn.functional.gelu(x @ head.inner[k] + head.shift[k]) @ head.outer[k] for k in range(3)], 1
    ).squeeze(-1)
    assert torch.allclose(head(x), slow, atol=1e-6)
    assert not torch.allclose(head(x)[:, 0], head(x)[:, 1])
    linear = LinearHead(6, 2, init=1.0, seed=Seed(1))
    assert torch.allclose(linear(x)[:, 1], x @ linear.weight[1])
    assert torch.equal(
        MLPHead(6, 4, 1, seed=Seed(1)).inner[0], head.inner[0]
    )  # a member does not depend on how many there are
    again = head_from(head.settings())
    again.load_state_dict(head.state_dict())
    assert torch.equal(again(x), head(x))
    with pytest.raises(GuerdonError, match="'cubic'"):
        head_from({"kind": "cubic"})


def test_features_by_hand(tiny_model: Make) -> None:
    embedder = load_embedder(tiny_model("bert"), cache=False)
    chat = [Message.of("user", "who"), Message.of("assistant", "no"), Message.of("user", "what is it")]
    p, r = embedder(["what is it"]), embedder(["a cat"])
    got = features(embedder, [chat], ["a cat"], ["response", "prompt", "product", "difference", "exchange"])
    exchange = embedder(["what is it\na cat"])
    assert torch.allclose(got, torch.cat([r, p, r * p, r - p, exchange], 1), atol=1e-6)
    with pytest.raises(GuerdonError, match="'mood'"):
        features(embedder, ["a"], ["b"], ["mood"])


def test_scaling_by_hand() -> None:
    x = torch.tensor([[0.0, 4.0], [2.0, 4.0]])
    scaling = Scaling.fit(x)
    assert scaling(x).tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    assert Scaling.fit(torch.ones(3, 2))(torch.ones(3, 2)).tolist() == [[0.0, 0.0]] * 3


def test_an_embedding_model_survives_saving(tiny_model: Make, tmp_path: Path) -> None:
    path = tiny_model("bert")
    embedder = load_embedder(path, cache=False)
    names = ["response", "exchange"]
    x = features(embedder, PROMPTS, RESPONSES, names)
    head = LinearHead(x.shape[1], 2, init=1.0, seed=Seed(1))
    model = EmbeddingRewardModel(embedder, head, names, Scaling.fit(x), str(path))
    model.save(tmp_path / "rm")
    found = load_reward(tmp_path / "rm").score(Samples(None, PROMPTS, RESPONSES), {}, Context())[0]
    assert torch.allclose(found["member/1"].value, model.score_texts(PROMPTS, RESPONSES)[:, 1], atol=1e-6)


def test_scores_are_float32_whatever_the_backbone(tiny_model: Make) -> None:
    half = ScalarRewardModel.from_pretrained(tiny_model("llama"), seed=Seed(1), dtype=torch.bfloat16)
    full = ScalarRewardModel.from_pretrained(tiny_model("llama"), seed=Seed(1))
    assert next(half.backbone.parameters()).dtype == torch.bfloat16
    scores = half.score_texts(PROMPTS, RESPONSES)
    assert scores.dtype == torch.float32
    assert torch.allclose(scores, full.score_texts(PROMPTS, RESPONSES), rtol=0.1, atol=0.3)


def test_a_reward_model_reads_what_a_policy_is_given_and_keeps_its_rendering(tiny_model: Make, tmp_path: Path) -> None:
    for template in (False, True):
        model = ScalarRewardModel.from_pretrained(tiny_model("llama", template=template), seed=Seed(1))
        turns = [Message.of("user", "who")]
        assert model.encode("who", "a cat") == model.encode(turns, "a cat") == encode(model.tokenizer, turns, "a cat")
    raw = ScalarRewardModel.from_pretrained(tiny_model("llama"), seed=Seed(1), rendering="raw")
    assert raw.tokenizer.decode(raw.encode([Message.of("user", "who")], "a cat").prompt) == "who"
    raw.save(tmp_path / "rm")
    assert ScalarRewardModel.load(tmp_path / "rm").rendering == "raw"
