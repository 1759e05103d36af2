"""RTO: what a DPO policy says of every token as a dense reward beside the one of the whole response (card 143)."""

from collections.abc import Mapping
from typing import Any

import torch

from guerdon.batch import Pairs, Seed
from guerdon.catalogue.method import Method
from guerdon.lab.protocol import Claim, Experiment
from guerdon.lab.token_mdp import TokenMdp, token_lattice
from guerdon.objectives import dpo, reinforce
from guerdon.rewards.environment import environment_reward
from guerdon.training import Every, Optim, Prompts, Recipe, Recorded, Round, rto, run
from guerdon.worlds import Frozen, Sampling

DEPTH = 20
PAIRS = 512
ROWS = 4
ROUNDS = 40
DPO_BETA = 0.5
KL = 0.01


def guide(tree: TokenMdp, seed: Seed, pairs: int, rounds: int) -> Mapping[str, torch.Tensor]:
    """Weights of a policy trained by DPO on pairs of reference samples, labelled by Bradley-Terry on their reward."""
    world, snapshots = tree.fresh()
    samples = world.sample(snapshots, ["initial"], 2 * pairs, Sampling(limit=tree.depth), seed)
    first, second = torch.arange(0, 2 * pairs, 2), torch.arange(1, 2 * pairs, 2)
    value = samples.payload.returns()
    wins = torch.rand(pairs, generator=seed.torch()) < (value[first] - value[second]).sigmoid()
    labelled = Pairs(torch.where(wins, first, second), torch.where(wins, second, first))
    optim = Optim(lr=0.05, kind="adam", clip=None)
    run(Recipe(world, snapshots, Recorded(samples, pairs, labelled), dpo(DPO_BETA), optim, rounds))
    return dict(snapshots.module.named_parameters())


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed of one arm: exact reward after every round of 4 rollouts, 0 the reference's and 1 the best possible.

    Both arms have the same estimator, reward at the end, KL and budget; the sparse one has β1 = 0.
    """
    key = Seed(seed).child("catalogue")
    tree = token_lattice(key, depth=DEPTH, ending=-3.0)
    world, snapshots = tree.fresh()
    snapshots.add("guide", Frozen())
    if arm == "rto":
        snapshots.put("guide", guide(tree, key.child("pairs"), 32 if smoke else PAIRS, 2 if smoke else 60))
    low, high = tree.gold(tree.reference.exp()), float(tree.best.value[0])

    def scaled(_: Round) -> Mapping[str, float]:
        policy = world.log_probabilities(snapshots).detach().exp()
        return {"gold": (tree.gold(policy) - low) / (high - low)}

    recipe = Recipe(
        world,
        snapshots,
        Prompts(["initial"], 1),
        reinforce(),
        Optim(lr=config["lr"], kind="adam", clip=None),
        rounds=2 if smoke else ROUNDS,
        seed=key.child("rollouts"),
        reward=environment_reward,
        sampling=Sampling(limit=tree.depth),
        per_start=ROWS,
        estimator=rto(config["beta"] if arm == "rto" else 0.0, None, KL),
        evals=(Every(1, scaled),),
    )
    curve = [m["eval/gold"] for m in run(recipe).history]
    return {"mean_gold": sum(curve) / len(curve), "early": curve[len(curve) // 4], "final": curve[-1]}


METHOD = Method(
    slug="rto",
    card=143,
    title="DPO Meets PPO: Reinforced Token Optimization for RLHF",
    paper="Zhong et al. 2024, arXiv 2404.18922",
    family="direct",
    essence=(
        "A policy trained by DPO gives a dense reward for every token, its log-ratio to the reference, beside the "
        "reward of the whole response."
    ),
    composition="rto(beta, clip, kl), or with_implicit_credit(generalised(kl=kl), beta, clip)",
    experiment=Experiment(
        slug="rto",
        claim=Claim(
            kind="effect",
            metric="mean_gold",
            baseline="sparse reward",
            smallest_effect=0.05,
            statement=(
                "Learns faster than from the reward of whole responses: higher mean over 40 rounds of 4 rollouts "
                "(0 the reference's reward, 1 the best possible)"
            ),
        ),
        run=f"{__name__}:run_one",
        method="rto",
        grid={"lr": (0.1, 0.3), "beta": (0.3, 1.0)},
        reporting_seeds=tuple(range(10, 26)),
        sources=(
            "guerdon.training.dense",
            "guerdon.shaping.implicit",
            "guerdon.advantages.group",
            "guerdon.objectives.policy",
            "guerdon.objectives.pairwise",
            "guerdon.objectives.terms",
            "guerdon.lab.token_mdp",
        ),
        budget="160 rollouts of at most 20 tokens, 4 to choose from; 512 pairs for the guide; 2 learning rates, 2 β1",
    ),
    caveat=(
        "Without a critic and without a clip of the token reward. The guide's 512 pairs come on top of equal rollouts. "
        "Long responses were chosen on tuning seeds: with at most 4 or 10 tokens both arms learned about as fast."
    ),
    checks=(
        "tests/training/test_dense.py::test_step_rewards_by_hand",
        "tests/training/test_dense.py::test_beta_zero_and_a_guide_that_is_the_reference_are_ppo",
        "tests/shaping/test_implicit.py::test_the_true_reward_is_what_is_left_without_the_shaping",
    ),
)
