"""The frozen LLM in training: gradients flow through it to its input embeddings, never to its parameters.

`Backbone.step` decodes position by position with a cache; training needs batches without a cache, and logits only at predicted
positions. A `FrozenLLM` is not an `nn.Module`, so no learner, optimizer or checkpoint includes its parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fobench import compute_threads
from fobench.api import registry
from fobench.api.components import Backbone
from fobench.errors import FobenchError
from fobench.storage.run_config import DEFAULT_BACKBONE
from reference_model.config import ModelConfig

LOGIT_TOLERANCE = (
    0.02  # allowed difference of two computations of the same logits, relative to their range: bfloat16 rounds
)


class FrozenLLM:
    """A backbone of the transformers library as a function of input embeddings [B, T, D].

    Raises FobenchError for a backbone of another kind, and for one whose logits are not a linear map of its hidden states.
    """

    def __init__(self, backbone: Backbone) -> None:
        model = getattr(backbone, "model", None)
        if not isinstance(model, nn.Module) or not hasattr(model, "get_output_embeddings"):
            raise FobenchError(
                f"Backbone {backbone.name!r} cannot be trained through: it is not a model of the transformers library. "
                "For a GGUF file take the option engine=torch."
            )
        self.backbone, self.size = backbone, backbone.hidden_size
        network: Any = model  # torch types the attributes of a module as Tensor | Module
        self._decoder, self._head = network.base_model, network.get_output_embeddings()
        self._cap: float | None = getattr(network.config.get_text_config(), "final_logit_softcapping", None)
        self.dtype, self.device = self._head.weight.dtype, self._head.weight.device
        model.eval().requires_grad_(False)
        self._check_logits(model)
        self._hash = backbone.parameter_hash()

    @classmethod
    def load(cls, name: str, device: torch.device | str, options: Mapping[str, str] | None = None) -> FrozenLLM:
        """Loads the backbone plugin `name` on a device; `options` as for `--backbone-args`.

        The default dtype is float32 on the CPU and "auto" elsewhere. Torch keeps its number of threads: training has its own.
        """
        compute_threads.settle_torch(torch, torch.get_num_threads())
        dtype = "float32" if torch.device(device).type == "cpu" else "auto"
        return cls(registry.create("backbones", name, {"device": str(device), "dtype": dtype, **(options or {})}))

    @classmethod
    def of_model(
        cls, config: ModelConfig, name: str | None, options: Mapping[str, str], device: torch.device | str
    ) -> FrozenLLM:
        """Loads a model's own backbone, or `name`; by default SmolLM2-135M for a model that fits every LLM.

        FobenchError where the hidden size does not fit the model.
        """
        chosen = name or config.backbone or ("" if config.llm_size else DEFAULT_BACKBONE)
        if not chosen:
            raise FobenchError(f"Configuration {config.name} names no LLM. Give --backbone.")
        llm = cls.load(chosen, device, options)
        if config.llm_size and llm.size != config.llm_size:
            raise FobenchError(
                f"Configuration {config.name} is for an LLM of hidden size {config.llm_size}; {chosen} has {llm.size}. "
                "Choose another --backbone, or --config."
            )
        return llm

    def embed(self, ids: Sequence[int] | Sequence[Sequence[int]] | Tensor) -> Tensor:
        """Returns the embeddings [..., D], float32, of token ids [...]."""
        token_ids = torch.as_tensor(ids, dtype=torch.long, device=self.device)
        rows: Tensor = self.backbone.embed(token_ids.reshape(1, -1))
        return rows.view(*token_ids.shape, self.size)

    def hidden(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Computes the final-norm hidden states [B, T, D], float32, of input embeddings [B, T, D].

        `mask` [B, T] bool: valid positions; the others are ignored, wherever they are. Padding at the end needs no mask, because
        attention is causal, and is faster without one.
        """
        options: dict[str, Tensor] = {}
        if mask is not None:
            mask = mask.to(self.device)
            options = {"attention_mask": mask.long(), "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
        out = self._decoder(inputs_embeds=x.to(self.device, self.dtype), use_cache=False, **options)
        states: Tensor = out.last_hidden_state
        return states.float()

    def logits(self, hidden: Tensor) -> Tensor:
        """Computes logits [..., V], float32, of hidden states [..., D]."""
        logits: Tensor = self._head(hidden.to(self.dtype)).float()
        return logits if self._cap is None else (logits / self._cap).tanh() * self._cap

    def check_unchanged(self) -> None:
        """Raises AssertionError if a parameter has changed since training began, requires a gradient or has one."""
        model: Any = self.backbone.model  # type: ignore[attr-defined]  # checked by FrozenLLM
        assert not any(p.requires_grad or p.grad is not None for p in model.parameters()), "the LLM is being trained"
        assert self.backbone.parameter_hash() == self._hash, "the LLM's parameters have changed"

    @torch.no_grad()
    def _check_logits(self, model: Any) -> None:
        """Checks that `logits(hidden(x))` equals the model's logits: some architectures scale or shift theirs."""
        x = self.embed([[0, 1, 2, 3]])
        model_logits = model(inputs_embeds=x.to(self.dtype), use_cache=False).logits.float()
        if (self.logits(self.hidden(x)) - model_logits).abs().max() > LOGIT_TOLERANCE * model_logits.abs().max():
            raise FobenchError(
                f"Backbone {self.backbone.name!r} transforms its logits in a way that training does not support."
            )


def pad_embeddings(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Pads embeddings of several conversations, each [n, D]: returns (batch [B, T, D], zero-padded; mask [B, T]
    bool)."""
    x = nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    lengths = torch.tensor([len(one) for one in rows], device=x.device)
    return x, torch.arange(x.shape[1], device=x.device) < lengths[:, None]
