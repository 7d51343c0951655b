"""A CUDA device that is not there: its tensors lie on the CPU and compute there, but mixing devices is the error that it is on a GPU.

    with pretended_gpu():
        torch.zeros(2, device="cuda") + torch.zeros(2)  # RuntimeError

So code that forgets a device fails on a machine without a GPU. Values and results are those of the CPU; nothing is said of speed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
aten = torch.ops.aten
COPIES = {aten._to_copy.default, aten.copy_.default, aten.lift_fresh.default, aten.detach.default}  # may join devices
INDEXED = {
    aten.index.Tensor,
    aten.index_put_.default,
    aten.index_put.default,
    aten._unsafe_index.Tensor,
}  # indices may be on the CPU

BENEATH = {
    torch.Tensor.__invert__: torch.bitwise_not,
    torch.Tensor.nonzero: aten.nonzero.default,
}  # asks for a driver: does not
READS = {getattr(torch.Tensor, name) for name in ("tolist", "item", "__int__", "__float__", "__bool__", "__index__")}


class PretendedTensor(torch.Tensor):
    """A tensor on the pretended device; `held` is its contents on the CPU."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> PretendedTensor:
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=CUDA,
            requires_grad=held.requires_grad,
        )

    def __init__(self, held: torch.Tensor) -> None:
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return dispatch(func, args, kwargs or {})


class PretendedGPU(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return dispatch(func, args, kwargs or {})


class FunctionsOfADriver(TorchFunctionMode):
    """What torch does beneath all operators, with a driver that is not there: new tensors of numbers, reading, indexing."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.device:
            return func(*args, **kwargs or {})
        args, kwargs = (tree_map(numbered, value) for value in (args, kwargs or {}))
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return func(*args, **kwargs).to(device)
        if func in READS and isinstance(args[0], PretendedTensor):
            return func(args[0].cpu(), *args[1:], **kwargs)
        if func is torch.Tensor.new_tensor and isinstance(args[0], PretendedTensor):
            return torch.tensor(args[1], **{"dtype": args[0].dtype, **kwargs}).to(kwargs.get("device", CUDA))
        if func in BENEATH:
            return BENEATH[func](*args, **kwargs)
        if func is torch.Tensor.__getitem__ and isinstance(args[0], PretendedTensor):
            return PretendedTensor(args[0].held[tree_map(contents, args[1])])
        if func is torch.Tensor.__setitem__ and isinstance(args[0], PretendedTensor):
            stray = isinstance(args[2], torch.Tensor) and args[2].dim() and not isinstance(args[2], PretendedTensor)
            check_devices(func, args, [args[0], args[2]] if stray else [], [args[0]])
            args[0].held[tree_map(contents, args[1])] = contents(args[2])
            return None
        return func(*args, **kwargs)


def numbered(value):
    """ "cuda" with its number, which torch would ask a driver for."""
    is_cuda = value == "cuda" if isinstance(value, str) else isinstance(value, torch.device) and value.type == "cuda"
    return CUDA if is_cuda else value


def dispatch(func, args, kwargs):
    """Computes an operator on the CPU; the result is on the device that a GPU's would be on."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    pretended = [tensor for tensor in tensors if isinstance(tensor, PretendedTensor)]
    asked = kwargs.get("device")
    if func not in COPIES:
        check_devices(func, args, tensors, pretended)
    to_gpu = torch.device(asked).type == "cuda" if asked is not None else bool(pretended)
    if func is aten.copy_.default:
        to_gpu = isinstance(args[0], PretendedTensor)
    if asked is not None:
        kwargs = {**kwargs, "device": CPU}
    found = func(*tree_map(contents, args), **tree_map(contents, kwargs))
    originals = {id(tensor.held): tensor for tensor in pretended}  # an operator in place returns its argument

    def placed(value):
        if not isinstance(value, torch.Tensor) or not to_gpu:
            return value
        return originals.get(id(value)) if id(value) in originals else PretendedTensor(value)

    return tree_map(placed, found)


def contents(value):
    return value.held if isinstance(value, PretendedTensor) else value


def check_devices(func, args, tensors, pretended):
    """Raises RuntimeError where CUDA would: for tensors on both devices, but for numbers and indices on the CPU."""
    if not pretended:
        return
    strays = [tensor for tensor in tensors if not isinstance(tensor, PretendedTensor) and tensor.dim()]
    if func in INDEXED and isinstance(args[0], PretendedTensor):
        strays = [tensor for tensor in strays if not any(tensor is index for index in args[1] if index is not None)]
    if strays:
        raise RuntimeError(f"{func}: expected all tensors to be on the same device, found cuda:0 and cpu")


@contextlib.contextmanager
def pretended_gpu() -> Iterator[None]:
    """The device exists inside of this block."""
    torch._C._ensureCUDADeviceGuardSet()
    with (
        mock.patch("torch.cuda._lazy_init", lambda: None),
        mock.patch("torch.cuda.is_available", lambda: True),
        mock.patch("torch.cuda.is_bf16_supported", lambda *_: True),
        mock.patch("torch.cuda.current_device", lambda: 0),
        mock.patch("torch.cuda.synchronize", lambda *_: None),
        FunctionsOfADriver(),
        PretendedGPU(),
    ):
        yield


def to_gpu(module: torch.nn.Module) -> torch.nn.Module:
    """Moves a module, its parameters and buffers."""
    with torch.no_grad():
        for part in module.modules():
            for name, parameter in part._parameters.items():
                if parameter is not None:
                    part._parameters[name] = torch.nn.Parameter(PretendedTensor(parameter.detach()), False)
            for name, buffer in part._buffers.items():
                if buffer is not None:
                    part._buffers[name] = PretendedTensor(buffer)
    return module
