"""The toy of the 3D-properties (Yan et al. 2024, 2406.07327, section 3): four prompts, ten responses, an MLP.

Responses 0-3 are chosen (i for prompt i), 4-7 rejected, 8 and 9 in no pair. Four scenarios stand side by side in one
world: chosen on or off policy (probability 0.12 or 0.02 at the start each), times rejected on or off policy.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from guerdon.batch import Pairs, Samples, Seed
from guerdon.divergences import reverse_kl
from guerdon.objectives import Objective
from guerdon.training.optim import Optim
from guerdon.training.recipe import Every, Recipe, Round
from guerdon.training.sources import Recorded
from guerdon.worlds import Frozen, Snapshots, only
from guerdon.worlds.finite import FiniteRows, FiniteWorld

ON, OFF = 0.12, 0.02
SCENARIOS = {"on/on": (ON, ON), "on/off": (ON, OFF), "off/on": (OFF, ON), "off/off": (OFF, OFF)}
"""chosen/rejected: on or off policy."""
PROMPTS, RESPONSES, SIDE = 4, 10, 4


def start() -> Tensor:
    """Log-probabilities [S·P,Y] of the four scenarios at the start; what is left goes to the two unseen responses."""
    rows = []
    for chosen, rejected in SCENARIOS.values():
        unseen = (1 - SIDE * (chosen + rejected)) / 2
        rows.append(torch.tensor([[chosen] * SIDE + [rejected] * SIDE + [unseen] * 2] * PROMPTS))
    return torch.cat(rows).log()


class ThreeLayers(nn.Module):
    """One MLP of three layers a scenario, from one-hot prompts to logits; ``forward()`` is [S·P,Y] and begins at
    ``start()`` exactly. The scenarios share no weight."""

    base: Tensor

    def __init__(self, seed: Seed, hidden: int = 32) -> None:
        super().__init__()
        g, s = seed.child("scenarios").torch(), len(SCENARIOS)
        shapes = ((PROMPTS, hidden), (hidden, hidden), (hidden, RESPONSES))
        self.weights = nn.ParameterList(
            torch.randn(s, a, b, generator=g) * (2.0 / (1 if a == PROMPTS else a)) ** 0.5 for a, b in shapes
        )
        self.biases = nn.ParameterList(torch.zeros(s, 1, b) for _, b in shapes)
        with torch.no_grad():
            base = start() - self._out()
        self.register_buffer("base", base)

    def _out(self) -> Tensor:
        x = torch.eye(PROMPTS).expand(len(SCENARIOS), -1, -1)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            x = x.relu() if i < 2 else x
        return x.reshape(-1, RESPONSES)

    def forward(self) -> Tensor:
        """Logits [S·P,Y]."""
        return self.base + self._out()


@dataclass
class Track:
    """Log-probabilities [S,P,Y] after every round. rejected: int64 [S,P], the response paired with each prompt's chosen
    one."""

    rejected: Tensor
    laws: list[Tensor] = field(default_factory=list)

    def look(self, here: Round) -> Mapping[str, float]:
        """An evaluation that keeps the policy's law and adds no metric."""
        with torch.no_grad(), only(here.snapshots).using("policy") as module:
            self.laws.append(module().log_softmax(-1).view(len(SCENARIOS), PROMPTS, RESPONSES))
        return {}

    def curves(self) -> dict[str, Tensor]:
        """name -> [rounds + 1, S]: mean and least probability of the chosen response, mean and greatest of the four
        rejected ones, mean of the one that was paired, mean mass on the two unseen, KL to the start; the start stands
        first."""
        begin = start().view(len(SCENARIOS), PROMPTS, RESPONSES)
        law = torch.stack([begin, *self.laws])
        p = law.exp()
        chosen = p[..., :SIDE].diagonal(dim1=-2, dim2=-1)
        rejected = p[..., SIDE : 2 * SIDE]
        return {
            "chosen": chosen.mean(-1),
            "least_chosen": chosen.amin(-1),
            "rejected": rejected.mean((-1, -2)),
            "paired_rejected": p.gather(-1, self.rejected.expand(len(p), -1, -1)[..., None]).squeeze(-1).mean(-1),
            "greatest_rejected": rejected.amax((-1, -2)),
            "unseen": p[..., 2 * SIDE :].sum(-1).mean(-1),
            "kl": reverse_kl(law, begin.expand_as(law)).mean(-1).clamp(min=0.0),
        }


def trained(
    objective: Objective | Callable[[int], Objective], seed: Seed, lr: float = 1e-3, epochs: int = 500
) -> Track:
    """Train all scenarios on one pair a prompt (its chosen response, a rejected one drawn without repetition), every
    epoch one Adam step on all pairs; the laws it went through."""
    from guerdon.training.run import run

    model = ThreeLayers(seed)
    other = torch.cat([torch.randperm(SIDE, generator=seed.child("pairs", s).torch()) for s in range(len(SCENARIOS))])
    prompt = torch.arange(len(SCENARIOS) * PROMPTS)
    rejected = SIDE + other
    rows = FiniteRows(prompt.repeat(2), torch.cat([prompt % PROMPTS, rejected]))
    over = torch.ones(len(rows), dtype=torch.bool)
    samples = Samples(rows, rows.prompt.tolist(), rows.response.tolist(), terminated=over, truncated=~over)
    source = Recorded(samples, len(prompt), Pairs(prompt, len(prompt) + prompt), seed=None)
    track = Track(rejected.view(len(SCENARIOS), PROMPTS))
    snapshots = Snapshots(model, reference=Frozen())
    optim = Optim(lr=lr, kind="adam", clip=None)
    run(Recipe(FiniteWorld(), snapshots, source, objective, optim, epochs, seed, evals=(Every(1, track.look),)))
    return track
