"""Responses searched for, or improved, at inference, by what a policy or a reward says of them; nothing is trained.

Belongs here: search and revision with policies and rewards as they are. Does not belong here: sampling as such
(``worlds``), training, judging what came out (``audit``).
"""

from guerdon.decoding.beam import Beam, StepScores, beam_search, next_logprobs, relative
from guerdon.decoding.revision import REWRITE, asked_again, revisions

__all__ = ["REWRITE", "Beam", "StepScores", "asked_again", "beam_search", "next_logprobs", "relative", "revisions"]
