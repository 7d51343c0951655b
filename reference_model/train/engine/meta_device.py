"""Training steps on the meta device, whose tensors have shapes but no values: memory and operations of a model of any
size.

Operators that return a value give 1, or False for a boolean; `nonzero` gives no element, and indexing with a mask
selects every element. The counts are therefore those of a full batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

META = torch.device("meta")
aten = torch.ops.aten
F = torch.nn.functional
HALF_PRECISION = {  # operators that autocast computes in half precision
    *(F.linear, F.conv1d, F.conv2d, F.conv_transpose1d, F.scaled_dot_product_attention, F.bilinear),
    *(torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm, torch.mm, Tensor.mm, torch.einsum),
}
FULL_PRECISION = {  # operators that autocast computes in float32
    *(F.layer_norm, F.cross_entropy, F.nll_loss, F.mse_loss, F.l1_loss, F.kl_div, F.ctc_loss, torch.ctc_loss),
    *(F.softmax, F.log_softmax, torch.softmax, torch.log_softmax, Tensor.softmax, Tensor.log_softmax),
}


class MetaDeviceMode(TorchDispatchMode):
    """Results on the meta device for operators that depend on values."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not any(isinstance(leaf, Tensor) and leaf.is_meta for leaf in tree_leaves((args, kwargs))):
            return func(*args, **kwargs)
        if func is aten._local_scalar_dense.default:
            return False if args[0].dtype == torch.bool else args[0].new_ones((), device="cpu").item()
        if func is aten._to_copy.default and kwargs.get("device") not in (None, META):
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype, device=kwargs["device"])
        if func in (aten._ctc_loss.default, aten._ctc_loss.Tensor):
            steps, batch, _ = args[0].shape
            return args[0].new_empty(batch), args[0].new_empty(batch, steps, 2 * steps)
        if func in (aten._ctc_loss_backward.default, aten._ctc_loss_backward.Tensor):
            return torch.empty_like(args[1])
        if func is aten.bincount.default:
            return args[0].new_empty(kwargs.get("minlength") or args[2], dtype=torch.int64)
        if func is aten.nonzero.default:
            return args[0].new_empty(0, args[0].ndim, dtype=torch.int64)
        if func is aten.equal.default:
            return True
        if func is aten.index.Tensor and any(i is not None and i.dtype == torch.bool for i in args[1]):
            (mask,) = args[1]
            return args[0].new_empty(mask.numel(), *args[0].shape[mask.ndim :])
        return func(*args, **kwargs)


class OperationCounter(TorchDispatchMode):
    """Counts the floating-point operations of matrix products and convolutions; a multiply-add counts as two."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func.overloadpacket):
            self.flops += int(count(*args, **(kwargs or {}), out_val=out))
        return out


class MetaAutocast(TorchFunctionMode):
    """Autocast for the meta device, which torch does not support: products in bfloat16, losses and norms in float32."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        dtype = torch.bfloat16 if func in HALF_PRECISION else torch.float32 if func in FULL_PRECISION else None
        if dtype is not None:
            args, kwargs = tree_map(lambda x: _cast(x, dtype), (args, kwargs or {}))
        return func(*args, **(kwargs or {}))


def _cast(value: Any, dtype: torch.dtype) -> Any:
    floating = isinstance(value, Tensor) and value.is_floating_point() and value.is_meta
    return value.to(dtype) if floating else value
