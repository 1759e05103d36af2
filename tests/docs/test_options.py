"""The page of other trainers' options is complete for the installed TRL, and its compositions are TRL's formulas."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "from-other-trainers.md").read_text()
ENGINE = re.compile(
    r"vllm_(?!importance_sampling_correction)|log_|num_completions_to_print|pad_token|eos_token|dataset_|model_init|trust_remote|chat_template|"
    r"activation_offloading|disable_dropout|router_aux|use_transformers|transformers_continuous|cache_implementation|"
    r"ds3_|cast_lm_head|remove_unused|shuffle_dataset|generation_|use_vllm|pad_to_multiple|max_tool_calling|"
    r"num_generations_eval|train_sampling_strategy|learning_rate|f_alpha|(sapo|vespo)_|entropy_coef_|entropy_target"
)
"""Options of engines, data handling and logging, which the page leaves out, and parts of an option that it names."""


def own_options(config: str) -> set[str]:
    """The options that a trainer of TRL adds to those of transformers, engines' left out."""
    trl = pytest.importorskip("trl", reason="TRL is not installed; pip install 'guerdon[hosts]'")
    transformers = pytest.importorskip("transformers")
    base = {f.name for f in fields(transformers.TrainingArguments)}
    return {f.name for f in fields(getattr(trl, config)) if f.name not in base and not ENGINE.match(f.name)}


def told(part: str) -> str:
    """One section of the page."""
    return PAGE.partition(f"## {part}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(
    ("config", "part"),
    [("DPOConfig", "TRL: DPO"), ("GRPOConfig", "TRL: GRPO and RLOO"), ("RLOOConfig", "TRL: GRPO and RLOO")],
)
def test_every_option_of_trl_is_on_the_page(config: str, part: str) -> None:
    missing = sorted(o for o in own_options(config) if not re.search(rf"\b{o}\b", told(part)))
    assert not missing


@pytest.mark.parametrize(("config", "part"), [("DPOConfig", "TRL: DPO"), ("GRPOConfig", "TRL: GRPO and RLOO")])
def test_every_loss_type_of_trl_is_on_the_page(config: str, part: str) -> None:
    trl = pytest.importorskip("trl", reason="TRL is not installed; pip install 'guerdon[hosts]'")
    help = next(f for f in fields(getattr(trl, config)) if f.name == "loss_type").metadata["help"]
    listed = set(re.findall(r"['\"]([a-z_]+)['\"]", help.partition("values are")[2].partition(". ")[0]))
    assert len(listed) >= 8
    assert not sorted(name for name in listed if f'"{name}"' not in told(part))


def test_estimators_of_verl_are_on_the_page() -> None:
    """As of verl 0.8: the names of its AdvantageEstimator and of its registered policy losses."""
    estimators = "gae grpo reinforce_plus_plus reinforce_plus_plus_baseline remax rloo opo grpo_passk gpg gdpo"
    estimators += " rloo_vectorized grpo_vectorized optimal_token_baseline tir_optimal_token_baseline"
    losses = "vanilla dppo_tv dppo_kl gspo sapo gpg clip_cov kl_cov geo_mean dro cispo"
    shown = set(re.findall(r"[a-z_]+", told("verl")))
    assert set(f"{estimators} {losses}".split()) <= shown


def test_conventions_are_those_the_page_names() -> None:
    from guerdon.advantages import CONVENTIONS

    named = set(re.findall(r'convention="([a-z_]+)"', PAGE)) | {"trl_batch", "dr_grpo"}
    assert named <= set(CONVENTIONS)


def test_the_compositions_are_the_formulas() -> None:
    """Two pairs of unequal lengths, each loss type as TRL 1.16 writes it."""
    import torch
    from torch.nn.functional import logsigmoid, relu

    from guerdon.batch import Batch, Pairs, Steps
    from guerdon.divergences import generator

    names: dict[str, object] = {}
    exec(PAGE.partition("```python\n")[2].partition("\n```")[0], names)
    losses, beta = names["losses"], 0.1
    assert isinstance(losses, dict)
    draw = torch.Generator().manual_seed(0)
    mask = torch.arange(6) < torch.tensor([[6], [4], [3], [5]])
    policy, reference = (-10 * torch.rand(4, 6, generator=draw, dtype=torch.float64) for _ in range(2))
    batch = Batch(
        steps=Steps(mask, {"policy": policy, "reference": reference}),
        pairs=Pairs(torch.tensor([0, 2]), torch.tensor([1, 3])),
    )
    ratio = ((policy - reference) * mask).sum(1)
    w, l = ratio[[0, 2]], ratio[[1, 3]]
    js = torch.log(2 * ratio.exp() / (ratio.exp() + 1))
    expected = {
        "hinge": relu(1 - beta * (w - l)),
        "apo_zero": 1 - torch.sigmoid(beta * w) + torch.sigmoid(beta * l),
        "apo_down": torch.sigmoid(beta * w) + 1 - torch.sigmoid(beta * (w - l)),
        "nca_pair": -logsigmoid(beta * w) - 0.5 * logsigmoid(-beta * w) - 0.5 * logsigmoid(-beta * l),
        "bco_pair": -logsigmoid(beta * w) - logsigmoid(-beta * l),
        "sppo_hard": (w - 0.5 / beta) ** 2 + (l + 0.5 / beta) ** 2,
        "f-DPO, js": -logsigmoid(beta * (js[[0, 2]] - js[[1, 3]])),
    }
    assert set(losses) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name].loss(batch).value, value.mean(), msg=name)
    # alpha: TRL's f′ = (t^(c−1) − 1)/(c−1) with its coefficient c is this generator's at 1 − c.
    log_t, c = torch.tensor([-1.0, 0.3, 2.0], dtype=torch.float64), 0.3
    theirs = (log_t.exp() ** (c - 1) - 1) / (c - 1)
    torch.testing.assert_close(generator("alpha", 1 - c).f_prime(log_t), theirs)
