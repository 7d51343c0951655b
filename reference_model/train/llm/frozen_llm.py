"""A frozen LLM to learn through: gradients flow through it into what it is given, never into its own parameters.

`Backbone.step` is made for talking: position by position, with a cache. Learning wants whole batches, no cache, and logits only
where there is something to predict. A `FrozenLLM` is no `nn.Module`, so no learner, optimiser or checkpoint takes it for a part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fobench.api import registry
from fobench.api.components import Backbone
from fobench.errors import FobenchError
from reference_model.config import ModelConfig

CLOSE = 0.02  # that two ways to the same logits may differ by, as a share of their range: bfloat16 rounds


class FrozenLLM:
    """A backbone of the transformers library, for training. Give it rows [B, T, D] where `Backbone.step` takes them.

    Raises FobenchError for a backbone of another kind, and for one whose logits are more than a linear map of its hidden states.
    """

    def __init__(self, backbone: Backbone) -> None:
        model = getattr(backbone, "model", None)
        if not isinstance(model, nn.Module) or not hasattr(model, "get_output_embeddings"):
            raise FobenchError(
                f"Backbone {backbone.name!r} cannot be learnt through: it is no model of the transformers library."
            )
        self.backbone, self.size = backbone, backbone.hidden_size
        self._decoder, self._head = model.base_model, model.get_output_embeddings()
        self._cap: float | None = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
        self.dtype, self.device = self._head.weight.dtype, self._head.weight.device
        model.eval().requires_grad_(False)
        self._check_logits(model)
        self._hash = backbone.parameter_hash()

    @classmethod
    def load(cls, name: str, device: torch.device | str, options: Mapping[str, str] | None = None) -> FrozenLLM:
        """The backbone plugin `name` on a device; `options` as for `--backbone-args`.

        Without a dtype among them it is float32 on the CPU, and what is fastest without loss elsewhere.
        """
        dtype = "float32" if torch.device(device).type == "cpu" else "auto"
        return cls(registry.create("backbones", name, {"device": str(device), "dtype": dtype, **(options or {})}))

    @classmethod
    def of_model(
        cls, config: ModelConfig, name: str | None, options: Mapping[str, str], device: torch.device | str
    ) -> FrozenLLM:
        """As `load`: the backbone that a model is for, or `name`. FobenchError for one that it does not fit."""
        chosen = name or config.backbone
        if not chosen:
            raise FobenchError(f"Configuration {config.name} names no LLM. Give --backbone.")
        made = cls.load(chosen, device, options)
        if made.size != config.llm_size:
            raise FobenchError(
                f"Configuration {config.name} is for an LLM of hidden size {config.llm_size}; {chosen} has {made.size}. "
                "Choose another --backbone, or --config."
            )
        return made

    def embed(self, ids: Sequence[int] | Tensor) -> Tensor:
        """Token ids [...] -> their embeddings [..., D], float32."""
        found = torch.as_tensor(ids, dtype=torch.long, device=self.device)
        rows: Tensor = self.backbone.embed(found.reshape(1, -1))
        return rows.view(*found.shape, self.size)

    def hidden(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Rows [B, T, D] -> final-norm hidden states [B, T, D], float32.

        `mask` [B, T] bool: which rows there are; the others are as if left out, wherever they stand. Where they only fill up
        the ends no mask is needed, and it is faster without: no row sees what comes after it.
        """
        given: dict[str, Tensor] = {}
        if mask is not None:
            mask = mask.to(self.device)
            given = {"attention_mask": mask.long(), "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
        out = self._decoder(inputs_embeds=x.to(self.device, self.dtype), use_cache=False, **given)
        states: Tensor = out.last_hidden_state
        return states.float()

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [..., D] -> logits [..., V], float32."""
        logits: Tensor = self._head(hidden.to(self.dtype)).float()
        return logits if self._cap is None else (logits / self._cap).tanh() * self._cap

    def check_unchanged(self) -> None:
        """AssertionError if a parameter differs from what it was when training began, or waits to be changed."""
        model: Any = self.backbone.model  # type: ignore[attr-defined]
        assert not any(p.requires_grad or p.grad is not None for p in model.parameters()), "the LLM is being trained"
        assert self.backbone.parameter_hash() == self._hash, "the LLM's parameters have changed"

    @torch.no_grad()
    def _check_logits(self, model: Any) -> None:
        """That `logits(hidden(x))` are the model's own: some architectures scale or shift them in ways of their own."""
        x = self.embed([[0, 1, 2, 3]])
        own = model(inputs_embeds=x.to(self.dtype), use_cache=False).logits.float()
        if (self.logits(self.hidden(x)) - own).abs().max() > CLOSE * own.abs().max():
            raise FobenchError(
                f"Backbone {self.backbone.name!r} changes its logits in a way that training does not know."
            )


def padded(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows of several conversations, each [n, D] -> (as a batch [B, T, D], zeros behind the ends; which are rows [B, T] bool)."""
    x = nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    lengths = torch.tensor([len(one) for one in rows], device=x.device)
    return x, torch.arange(x.shape[1], device=x.device) < lengths[:, None]
