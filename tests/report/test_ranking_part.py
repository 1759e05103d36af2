"""The part on rankings: there where pairs were ranked, silent elsewhere, escaped."""

import torch

from guerdon.audit.ranking_report import rankings
from guerdon.audit.rankings import PairLogps
from guerdon.report.rankings import rankings_part


def test_rankings_are_told_in_sentences_and_tables() -> None:
    n = torch.arange(40.0)
    logps = PairLogps(-n, -40 + n, -n - 1, -40 + n, torch.full((40,), 5), torch.full((40,), 5))
    part = rankings_part({"rankings": rankings(logps).to_dict()})
    assert "Which pairs it ranks rightly" in part and "reward accuracy" in part
    assert "20 or more" in part and "below -20" in part
    assert "The preferred side is the likelier one in 52.5 %" in part


def test_nothing_is_said_where_nothing_was_ranked() -> None:
    assert rankings_part({}) == ""
