"""Process rewards that more steps cannot farm (card 64)."""

import pytest
import torch
from torch import Tensor

from guerdon.advantages import monte_carlo
from guerdon.shaping import clip_delta, clipped_process, delta_process

NAN = float("nan")


def row(*scores: float) -> tuple[Tensor, Tensor]:
    """Scores at every second position, junk between."""
    value = torch.full((1, 2 * len(scores)), NAN, dtype=torch.float64)
    value[0, 1::2] = torch.tensor(scores, dtype=torch.float64)
    return value, torch.tensor([[i % 2 == 1 for i in range(2 * len(scores))]])


@pytest.mark.parametrize("scores", [(0.7,), (0.9, 0.4), (0.2, 0.8, 0.5, 0.9, 0.1)])
def test_the_sum_to_go_of_a_delta_is_the_step_s_own_score(scores: tuple[float, ...]) -> None:
    score, scored = row(*scores)
    to_go = monte_carlo(delta_process(score, scored), scored)[0, 1::2].tolist()
    assert to_go == pytest.approx([*scores[:-1], 0.0])


def test_a_repeated_good_step_pays_nothing() -> None:
    """Plain process rewards pay 0.9 for it, clipping at most 0, the difference exactly 0 from the steps before."""
    short, long = row(0.6, 0.9, 0.3), row(0.6, 0.9, 0.9, 0.3)
    assert delta_process(*long).sum().item() == pytest.approx(delta_process(*short).sum().item())
    assert clipped_process(*long, 0.8).sum().item() == clipped_process(*short, 0.8).sum().item()


def test_clip_by_hand() -> None:
    score, scored = row(0.9, 0.5)
    assert clipped_process(score, scored, 0.75).tolist() == [[0.0, 0.0, 0.0, -0.25]]
    assert clip_delta(*row(0.5, 0.25, 0.9), 0.75).tolist() == [[0.0, 0.25, 0.0, -0.5, 0.0, 0.0]]
