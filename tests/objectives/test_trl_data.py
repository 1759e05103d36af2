"""RSO's hinge-norm against TRL's 'hinge', which is the same: its margin is 1 in units of β·h. TRL has no list loss, no
MODPO and no degree loss. TRL deviates in that it averages a micro-batch, so that uneven ones weigh alike."""

import pytest
import torch

from guerdon.objectives import rso
from tests.objectives.test_trl_links import BETA, ours, tables, trls

pytest.importorskip("trl")


@pytest.mark.parametrize(("kind", "link"), [("hinge", "hinge-norm"), ("sigmoid", "sigmoid-norm")])
def test_rso_is_trls(kind: str, link: str) -> None:
    policy, reference, mask = tables()
    theirs, mine = trls(kind, policy, reference, mask), ours(rso(BETA, link), policy, reference, mask)
    assert mine.item() == pytest.approx(theirs.item(), abs=1e-5)
    (expected,), (found,) = (torch.autograd.grad(x, policy) for x in (theirs, mine))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
