"""The state head's input after each chunk of a user turn: parts by name, which a checkpoint's configuration chooses.

`hidden`: the LLM's last hidden state (paper), which ties the head to one LLM. `evidence`: the adapter's acoustic features, which
know no LLM. `language`: what every causal LLM tells of the turn's text so far, see `language_numbers`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import torch
from torch import Tensor

HeadPart = Literal["hidden", "evidence", "language"]

LANGUAGE = 3  # size of `language_numbers`
LEAST_LOGPROB, NATS = -20.0, 10.0  # lower bound of the log-probability of the end; unit of both numbers


def sizes(parts: Sequence[HeadPart], llm_size: int, evidence: int) -> list[int]:
    """The size of each of the parts, for an LLM of hidden size `llm_size` and an adapter with `evidence` features."""
    known = {"hidden": llm_size, "evidence": evidence, "language": LANGUAGE}
    return [known[part] for part in parts]


def end_logprob(logits: Tensor, end_ids: Collection[int]) -> Tensor:
    """The log-probability [...] that an end token comes next, by logits [..., V]."""
    known = [token for token in sorted(end_ids) if token < logits.shape[-1]]
    return logits.float().log_softmax(-1)[..., known].logsumexp(-1)


def language_numbers(logits: Tensor | None, end_ids: Collection[int]) -> Tensor:
    """What an LLM tells of a turn's text by the logits [..., V] of the next token; None: there is no text yet.

    [..., 3]: whether there is text; the log-probability that the turn ends here; the entropy of the next token; both in units of
    10 nats. These are defined for every causal LLM, whatever its size and vocabulary.
    """
    if logits is None:
        return torch.zeros(LANGUAGE)
    log_p = logits.float().log_softmax(-1)
    entropy = -(log_p.exp() * log_p).nan_to_num(0.0).sum(-1)
    ends = end_logprob(logits, end_ids).clamp(min=LEAST_LOGPROB)
    return torch.stack([torch.ones_like(ends), ends / NATS, entropy / NATS], -1)
