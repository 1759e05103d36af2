"""The fast decoder and its draws: a prompt's keys are held once for all its rows, a token is found by blocks."""

import pytest
import torch

from guerdon.worlds.keyed import draw
from guerdon.worlds.text import llama
from guerdon.worlds.text.generate import in_blocks
from tests.worlds.tiny import tiny


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_rows_that_share_prompts_have_the_states_of_rows_alone(architecture: str) -> None:
    """Prompts of different lengths, unequal numbers of rows in any order, rows and prompts that leave half-way."""
    model = tiny(architecture)
    body = model.model
    prompts = [[1, 5, 6, 7], [1, 8], [1, 9, 10]]
    ids = torch.tensor([[0] * (4 - len(p)) + p for p in prompts])
    mask = torch.tensor([[False] * (4 - len(p)) + [True] * len(p) for p in prompts])
    position = (mask.long().cumsum(1) - 1).clamp(min=0)
    texts = [list(prompts[i]) for i in (2, 0, 2, 1, 2)]
    drawn = torch.randint(4, 48, (5, 6), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        hidden, cache = llama.decode(body, ids, mask, position, None, 10)
        assert all(k.shape[0] == 3 for k, _ in cache.prompts)
        alone = [body(input_ids=torch.tensor([p]), use_cache=False)[0][0, -1] for p in prompts]
        torch.testing.assert_close(hidden[:, -1], torch.stack(alone), atol=1e-5, rtol=1e-4)
        cache.batch_select_indices(torch.tensor([2, 0, 2, 1, 2]))
        rows = [0, 1, 2, 3, 4]
        for step in range(6):
            if step in (2, 4):
                kept = [4, 1, 2] if step == 2 else [0, 2]
                cache.batch_select_indices(torch.tensor(kept))
                rows = [rows[i] for i in kept]
            token = drawn[rows, step]
            at = torch.tensor([[len(texts[r])] for r in rows])
            hidden, cache = llama.decode(body, token[:, None], None, at, cache, 10)
            for r, t in zip(rows, token.tolist(), strict=True):
                texts[r].append(t)
            alone = [body(input_ids=torch.tensor([texts[r]]), use_cache=False)[0][0, -1] for r in rows]
            torch.testing.assert_close(hidden[:, 0], torch.stack(alone), atol=1e-5, rtol=1e-4)
        # Prompts without a row are gone: rows 4 and 2 both continue the third prompt.
        assert [k.shape[0] for k, _ in cache.prompts] == [1, 1] and cache.after[0][0].shape[2] == 2


@pytest.mark.parametrize("size", [1, 5, 64, 1000])
def test_a_draw_by_blocks_is_the_draw_of_the_whole_row(size: int) -> None:
    made = torch.Generator().manual_seed(size)
    p = torch.softmax(3 * torch.randn(400, size, generator=made), -1)
    p = torch.where(torch.rand(p.shape, generator=made) < 0.3, 0.0, p)
    p[:, -1:] += (p.sum(-1, keepdim=True) == 0).float()
    u = torch.rand(400, generator=made, dtype=torch.float64)
    token = in_blocks(p, u)
    assert torch.equal(token, draw(p.log(), u))
    assert bool((p.gather(1, token[:, None]) > 0).all())


def test_a_draw_by_blocks_by_hand_and_at_its_edges() -> None:
    p = torch.zeros(5, 130)
    p[:, 3], p[:, 70], p[:, 129] = 0.25, 0.5, 0.25
    u = torch.tensor([0.0, 0.25, 0.74, 0.75, 1 - 2.0**-52], dtype=torch.float64)
    assert in_blocks(p, u).tolist() == [3, 70, 70, 129, 129]
    # The end of the row is never passed, however its sums are rounded.
    odd = torch.rand(2000, 193, generator=torch.Generator().manual_seed(1)).pow(12)
    last = in_blocks(odd, torch.full((2000,), 1 - 2.0**-52, dtype=torch.float64))
    assert int(last.max()) < 193 and bool((odd.gather(1, last[:, None]) > 0).all())
