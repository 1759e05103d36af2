"""Fitting reward models: the optimum by hand, ensembles, seeds, and bad records."""

import math
from pathlib import Path

import pytest
import torch

from guerdon.batch import Comparison, Message, Preference, Seed
from guerdon.errors import DataError, GuerdonError
from guerdon.rewards.models import LinearHead, MLPHead, ScalarRewardModel, load_embedder
from guerdon.training.comparisons import TextPairs, pair_loss
from guerdon.training.resumable import Resumable
from guerdon.training.reward_models import (
    fit_embedding_head,
    fit_head,
    fit_scalar_model,
    member_weights,
    pair_scores,
)

GOOD = [Preference.pair("q", "good" + " a" * (i % 5), "bad" + " b" * (i % 3)) for i in range(24)]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("llama")
    words = ["<pad>", "<unk>", "</s>", "q", "good", "bad", "a", "b"]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", pad_token="<pad>", eos_token="</s>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    LlamaModel(
        LlamaConfig(
            vocab_size=8,
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=32,
            attention_dropout=0.1,
        )
    ).save_pretrained(folder)
    return folder


def test_the_linear_optimum_by_hand() -> None:
    """One feature, difference 1, three wins and one loss, no decay: σ(w) = 3/4, so w = log 3."""
    winner, loser = torch.tensor([[1.0], [1.0], [1.0], [0.0]]), torch.tensor([[0.0], [0.0], [0.0], [1.0]])
    head = LinearHead(1)
    history = fit_head(head, winner, loser, weight_decay=0.0)
    assert head.weight.item() == pytest.approx(math.log(3), abs=1e-4)
    assert history[-1]["loss"] == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)), abs=1e-5)
    soft = LinearHead(1)  # the same as one soft comparison of probability 3/4
    fit_head(soft, winner[:1], loser[:1], preferred=torch.tensor([0.75]), weight_decay=0.0)
    assert soft.weight.item() == pytest.approx(math.log(3), abs=1e-4)
    weighed = LinearHead(1)
    fit_head(weighed, winner[[0, 3]], loser[[0, 3]], weight=torch.tensor([3.0, 1.0]), weight_decay=0.0)
    assert weighed.weight.item() == pytest.approx(math.log(3), abs=1e-4)


def test_weight_decay_at_its_stationary_point() -> None:
    """w must satisfy σ(−w) = λ·w for one comparison of difference 1."""
    head = LinearHead(1)
    fit_head(head, torch.ones(1, 1), torch.zeros(1, 1), weight_decay=0.2)
    w = head.weight.item()
    assert 1 / (1 + math.exp(w)) == pytest.approx(0.2 * w, abs=1e-5)


def test_members_are_independent_fits() -> None:
    g = torch.Generator().manual_seed(1)
    x, y = torch.randn(40, 3, generator=g), torch.randn(40, 3, generator=g)
    weight = member_weights(torch.ones(40), 3, True, Seed(2))
    assert weight.sum(0).tolist() == [40.0] * 3 and not torch.equal(weight[:, 0], weight[:, 1])
    together = LinearHead(3, 3)
    fit_head(together, x, y, weight=weight, weight_decay=0.1)
    for k in range(3):
        alone = LinearHead(3)
        fit_head(alone, x, y, weight=weight[:, k], weight_decay=0.1)
        assert torch.allclose(alone.weight[0], together.weight[k], atol=1e-3)


def test_an_mlp_learns_what_a_line_cannot() -> None:
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(200, 2, generator=g), torch.randn(200, 2, generator=g)
    better = x.norm(dim=1) < y.norm(dim=1)
    winner, loser = torch.where(better[:, None], x, y), torch.where(better[:, None], y, x)
    head = MLPHead(2, 16, 2, seed=Seed(0))
    history = fit_head(head, winner, loser, steps=150, lr=0.03)
    assert float((head(winner) > head(loser)).float().mean()) > 0.95
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]


def test_text_pairs_put_the_likelier_side_first() -> None:
    record = Preference(
        (Message.of("user", "q"),),
        ((Message.of("assistant", "x"),), (Message.of("assistant", "y"),)),
        (Comparison(0, 1, p=0.2, weight=2.0), Comparison(1, 0, p=0.5)),
        source="f:7",
    )
    pairs = TextPairs.of([record])
    assert (pairs.winners, pairs.losers) == (["y", "y"], ["x", "x"])
    assert pairs.preferred.tolist() == pytest.approx([0.8, 0.5]) and pairs.weight.tolist() == [2.0, 1.0]
    assert pairs.sources == ["f:7", "f:7"]
    with pytest.raises(DataError, match="hold none"):
        TextPairs.of([])


def test_a_scalar_model_learns_and_repeats_itself(llama: Path) -> None:
    def fit(seed: int) -> tuple[ScalarRewardModel, list]:
        model = ScalarRewardModel.from_pretrained(llama, members=2, seed=Seed(seed))
        torch.manual_seed(torch.seed() % 1000)  # nothing may depend on the global generator
        return fit_scalar_model(GOOD, model, epochs=6, lr=3e-3, pairs_at_once=8, warmup=2, seed=Seed(seed))

    model, history = fit(0)
    z_w, z_l = pair_scores(model, GOOD)
    assert bool((z_w > z_l).all()) and history[-1]["loss"] < 0.5 * history[0]["loss"]
    again, repeated = fit(0)
    assert history == repeated and torch.equal(pair_scores(again, GOOD)[0], z_w)
    other, _ = fit(1)
    assert not torch.equal(pair_scores(other, GOOD)[0], z_w)


def test_packs_of_some_pairs_fit_the_same_model(llama: Path) -> None:
    """A batch is a weighted sum over its own denominators, so how it is cut, padded or packed changes only rounding."""

    def fit(plainly: bool, tokens: int | None, dropout: float = 0.0) -> tuple[ScalarRewardModel, list]:
        model = ScalarRewardModel.from_pretrained(llama, members=2, seed=Seed(0))
        for layer in model.backbone.layers:
            layer.self_attn.attention_dropout = dropout
        model.backbone.config.attention_dropout = dropout
        assert model.packs() == (dropout == 0)
        model.packs = lambda: not plainly  # type: ignore[method-assign]
        settings = {"epochs": 2, "lr": 1e-3, "pairs_at_once": 10, "warmup": 0, "bootstrap": True, "centre": 0.1}
        return fit_scalar_model(GOOD, model, tokens_at_once=tokens, seed=Seed(0), smoothing=0.1, **settings)

    plain, told = fit(True, None)
    for tokens in (1, 20, None):
        quick, history = fit(False, tokens)
        for name, p in plain.named_parameters():
            assert (p - dict(quick.named_parameters())[name]).abs().max() < 1e-5, name
        for a, b in zip(told, history, strict=True):
            assert a == pytest.approx(b, abs=1e-5)


def test_a_part_of_a_batch_has_the_batchs_denominator() -> None:
    g = torch.Generator().manual_seed(0)
    z_w, z_l, weight = (torch.rand(5, 2, generator=g) for _ in range(3))
    p, margin = torch.ones(5), torch.zeros(5)
    whole = pair_loss(z_w, z_l, weight, p, margin, 0.0)
    total = weight.sum(0)
    parts = [pair_loss(z_w[i], z_l[i], weight[i], p[i], margin[i], 0.0, total) for i in (slice(0, 2), slice(2, 5))]
    assert float(sum(parts)) == pytest.approx(float(whole), abs=1e-6)


def test_dropout_is_never_packed(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("packed")

    monkeypatch.setattr(ScalarRewardModel, "packed_scores", never)
    fit_scalar_model(GOOD, ScalarRewardModel.from_pretrained(llama, seed=Seed(0)), epochs=1)  # attention dropout 0.1
    adapted = ScalarRewardModel.from_pretrained(llama, seed=Seed(0), lora={"r": 2, "lora_dropout": 0.1})
    adapted.packs = lambda: True  # type: ignore[method-assign]
    fit_scalar_model(GOOD, adapted, epochs=1)


def test_the_centre_penalty_has_an_effect(llama: Path) -> None:
    def size(centre: float) -> float:
        model = ScalarRewardModel.from_pretrained(llama, seed=Seed(0))
        with torch.no_grad():
            model.head.weight.mul_(10)  # far from zero, which comparisons alone do not see
        fit_scalar_model(GOOD, model, epochs=6, lr=3e-3, pairs_at_once=8, centre=centre)
        z_w, z_l = pair_scores(model, GOOD)
        return float((z_w + z_l).abs().mean())

    assert size(1.0) < 0.5 * size(0.0)


def test_fitting_in_bfloat16_rounds_and_learns_the_same(llama: Path) -> None:
    """Other weights than in float32, all of them float32 and finite, and losses that agree to bfloat16's rounding."""
    fits = []
    for compute in (None, torch.bfloat16):
        model = ScalarRewardModel.from_pretrained(llama)
        fitted, history = fit_scalar_model(GOOD, model, epochs=1, lr=1e-3, pairs_at_once=4, compute=compute)
        fits.append((fitted, [h["loss"] for h in history]))
    (exact, losses), (rounded, others) = fits
    assert losses != others and losses == pytest.approx(others, abs=0.05)
    weights = list(rounded.parameters())
    assert all(p.dtype == torch.float32 and bool(p.isfinite().all()) for p in weights)
    assert any(not torch.equal(a, b) for a, b in zip(weights, exact.parameters(), strict=True))


def test_an_embedding_head_learns(llama: Path) -> None:
    embedder = load_embedder(llama, pooling="mean", cache=False)
    seen: list[int] = []
    model, _ = fit_embedding_head(
        GOOD, embedder, members=3, weight_decay=0.01, progress=lambda step, total, metrics: seen.append(step)
    )
    z_w, z_l = pair_scores(model, GOOD)
    assert z_w.shape == (24, 3) and bool((z_w > z_l).all()) and seen
    assert not torch.allclose(z_w[:, 0], z_w[:, 1])  # members saw different resamples


def test_a_response_longer_than_the_context_names_its_record(llama: Path) -> None:
    long = Preference.pair("q", "good " * 50, "bad")
    model = ScalarRewardModel.from_pretrained(llama)
    with pytest.raises(DataError, match=r"record 1: the response has 51 tokens, but the context of 32 has room for 31"):
        fit_scalar_model([GOOD[0], long], model)


def test_a_loss_that_explodes_is_named(llama: Path) -> None:
    model = ScalarRewardModel.from_pretrained(llama)
    with torch.no_grad():
        model.head.weight.fill_(float("inf"))
    with pytest.raises(GuerdonError, match="not finite at step 0"):
        fit_scalar_model(GOOD, model)


def test_a_fit_that_was_stopped_goes_on_to_the_same_weights(llama: Path, tmp_path: Path) -> None:
    settings = {"epochs": 3, "lr": 3e-3, "pairs_at_once": 8, "warmup": 2, "seed": Seed(0)}

    def fresh() -> ScalarRewardModel:
        return ScalarRewardModel.from_pretrained(llama, members=2, seed=Seed(0))

    straight, history = fit_scalar_model(GOOD, fresh(), **settings)

    def stop(step: int, steps: int, told: object) -> None:
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # step 4 is lost, step 3 was kept
        fit_scalar_model(GOOD, fresh(), progress=stop, kept=Resumable(tmp_path, 3), **settings)
    seen: list[int] = []
    resumed, again = fit_scalar_model(
        GOOD, fresh(), progress=lambda step, *_: seen.append(step), kept=Resumable(tmp_path, 3), **settings
    )
    assert seen[0] == 4 and seen[-1] == len(history) and again == history
    for name, p in straight.named_parameters():
        assert torch.equal(p, dict(resumed.named_parameters())[name])
    with pytest.raises(GuerdonError, match="of another fit"):
        fit_scalar_model(GOOD, fresh(), kept=Resumable(tmp_path, 3), **{**settings, "lr": 1e-3})
    with pytest.raises(GuerdonError, match="at least 1 step"):
        Resumable(tmp_path, 0)
