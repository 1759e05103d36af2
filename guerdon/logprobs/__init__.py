"""Log-probabilities and what goes with them, from hidden states and an output head, without ever holding all logits.

Belongs here: the one autograd function, its readable twin, and the same outputs from logits that already exist. Models,
tokenizers and shifting labels by one do not.

Everything is of softmax(z), z = cap(logit_scale * (hidden @ weight.T + bias)) / temperature, in float32 (float64 for
float64 inputs), with cap(a) = softcap * tanh(a / softcap) if a softcap is given (Gemma) and a itself otherwise. The
temperature belongs to the logits: score samples at the one they were drawn with.
"""

from guerdon.logprobs.checks import WANTS, Head, Want
from guerdon.logprobs.fused import token_logprobs
from guerdon.logprobs.plain import from_logits, token_logprobs_reference

__all__ = ["WANTS", "Head", "Want", "from_logits", "token_logprobs", "token_logprobs_reference"]
