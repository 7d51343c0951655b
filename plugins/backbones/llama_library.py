"""The C functions `llama_*` of llama.cpp, from the shared library of xllamacpp or from llama-cpp-python.

xllamacpp is a wheel without a compiler, whose shared library exports llama.cpp's functions. Only that file is loaded, not the
package. A C library does not tell the layout of its structs: those below are of one build (llama.h of b11549), so the package's
version is pinned, and the default values are compared when it is loaded.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
import sys
from ctypes import POINTER, Structure, c_bool, c_char_p, c_float, c_int, c_int8, c_int32, c_size_t, c_uint32, c_void_p
from pathlib import Path
from typing import Any

from fobench.errors import PrerequisiteError

PACKAGE, VERSION, FILE = "xllamacpp", "2026.10.11549", "xllamacpp.abi3.so"
OTHER_PACKAGE = "llama-cpp-python"  # has declarations of its own, with the same names
INSTALL = f"pip install '{PACKAGE}=={VERSION}'"
OTHERWISE = "or use the option engine=torch"
SLACK = 512  # bytes behind a struct of default values, in case the library's is larger


class ModelParams(Structure):
    _fields_ = [
        *((name, c_void_p) for name in ("devices", "tensor_buft_overrides")),
        *((name, c_int32) for name in ("n_gpu_layers", "split_mode", "load_mode", "lazy_mode", "main_gpu")),
        *((name, c_void_p) for name in ("tensor_split", "progress_callback", "progress_callback_user_data")),
        ("kv_overrides", c_void_p),
        *((name, c_bool) for name in ("vocab_only", "check_tensors", "use_extra_bufts", "no_host", "no_alloc")),
        ("load_mtp", c_bool),
    ]


class ContextParams(Structure):
    _fields_ = [
        *((name, c_uint32) for name in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_rs_seq")),
        *((name, c_uint32) for name in ("n_outputs_max", "n_outputs_max_per_seq")),
        *((name, c_int32) for name in ("n_threads", "n_threads_batch", "ctx_type", "rope_scaling_type")),
        *((name, c_int32) for name in ("pooling_type", "attention_type", "flash_attn_type")),
        *((name, c_float) for name in ("rope_freq_base", "rope_freq_scale", "yarn_ext_factor", "yarn_attn_factor")),
        *((name, c_float) for name in ("yarn_beta_fast", "yarn_beta_slow")),
        ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float),
        *((name, c_void_p) for name in ("cb_eval", "cb_eval_user_data")),
        *((name, c_int32) for name in ("type_k", "type_v")),
        ("moe_cache_size", c_size_t),
        *((name, c_void_p) for name in ("abort_callback", "abort_callback_data")),
        *((name, c_bool) for name in ("embeddings", "offload_kqv", "no_perf", "op_offload", "swa_full", "kv_unified")),
        ("samplers", c_void_p),
        ("n_samplers", c_size_t),
        ("ctx_other", c_void_p),
    ]


class Batch(Structure):
    _fields_ = [
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", POINTER(c_float)),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    ]


MODEL_DEFAULTS = {"n_gpu_layers": -1, "split_mode": 1, "load_mode": -1, "lazy_mode": 1, "main_gpu": 0} | {
    **dict.fromkeys(("vocab_only", "check_tensors", "no_host", "no_alloc", "load_mtp"), False),
    "use_extra_bufts": True,
}
CONTEXT_DEFAULTS = {"n_ctx": 512, "n_batch": 2048, "n_ubatch": 512, "n_seq_max": 1, "n_outputs_max_per_seq": 1} | {
    **dict.fromkeys(("n_rs_seq", "n_outputs_max", "ctx_type", "rope_freq_base", "rope_freq_scale", "yarn_orig_ctx"), 0),
    **dict.fromkeys(("rope_scaling_type", "pooling_type", "attention_type", "flash_attn_type", "defrag_thold"), -1),
    **dict.fromkeys(("yarn_ext_factor", "yarn_attn_factor", "yarn_beta_fast", "yarn_beta_slow"), -1),
    **dict.fromkeys(("type_k", "type_v"), 1),
    **dict.fromkeys(("embeddings", "kv_unified"), False),
    **dict.fromkeys(("offload_kqv", "no_perf", "op_offload", "swa_full"), True),
    **dict.fromkeys(("moe_cache_size", "n_samplers"), 0),
    **dict.fromkeys(("cb_eval", "abort_callback", "samplers", "ctx_other"), None),
}
LOG_CALLBACK = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)
FUNCTIONS: dict[str, tuple[Any, ...]] = {  # name: type of the result, types of the arguments
    "llama_backend_init": (None,),
    "llama_log_set": (None, LOG_CALLBACK, c_void_p),
    "llama_model_load_from_file": (c_void_p, c_char_p, ModelParams),
    "llama_model_free": (None, c_void_p),
    "llama_model_n_embd": (c_int32, c_void_p),
    "llama_model_n_ctx_train": (c_int32, c_void_p),
    "llama_model_n_params": (ctypes.c_uint64, c_void_p),
    "llama_model_desc": (c_int32, c_void_p, c_char_p, c_size_t),
    "llama_model_get_vocab": (c_void_p, c_void_p),
    "llama_vocab_n_tokens": (c_int32, c_void_p),
    "llama_init_from_model": (c_void_p, c_void_p, ContextParams),
    "llama_free": (None, c_void_p),
    "llama_get_memory": (c_void_p, c_void_p),
    "llama_memory_seq_rm": (c_bool, c_void_p, c_int32, c_int32, c_int32),
    "llama_state_seq_get_size": (c_size_t, c_void_p, c_int32),
    "llama_state_seq_get_data": (c_size_t, c_void_p, c_void_p, c_size_t, c_int32),
    "llama_state_seq_set_data": (c_size_t, c_void_p, c_void_p, c_size_t, c_int32),
    "llama_set_embeddings": (None, c_void_p, c_bool),
    "llama_decode": (c_int32, c_void_p, Batch),
    "llama_get_logits": (POINTER(c_float), c_void_p),
    "llama_get_embeddings": (POINTER(c_float), c_void_p),
}


class XLlamaCpp:
    """The functions of `FUNCTIONS` as attributes, and the structs and callbacks under llama-cpp-python's names."""

    llama_log_callback, llama_batch = LOG_CALLBACK, Batch

    def __init__(self, path: Path, version: str) -> None:
        library = ctypes.CDLL(str(path))
        for name, (result, *arguments) in FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)
        self.llama_model_default_params = _checked(library, "llama_model_default_params", ModelParams, MODEL_DEFAULTS)
        self.llama_context_default_params = _checked(
            library, "llama_context_default_params", ContextParams, CONTEXT_DEFAULTS
        )
        self.package = f"{PACKAGE} {version}"


def _checked(library: Any, name: str, struct: Any, expected: dict[str, Any]) -> Any:
    """A function that returns default values as a `struct`. Raises ValueError naming those that are not as `expected`."""

    class Wide(Structure):
        _fields_ = [("params", struct), ("slack", ctypes.c_byte * SLACK)]

    function = getattr(library, name)
    function.restype, function.argtypes = Wide, []

    def default_params() -> Any:
        return struct.from_buffer_copy(function().params)

    found = default_params()
    odd = [f"{field} {value}" for field, good in expected.items() if (value := getattr(found, field)) != good]
    if odd:
        raise ValueError(f"by {name} {', '.join(odd[:3])}")
    return default_params


def installed() -> bool:
    """Whether either package is there; it is not loaded."""
    return any(importlib.util.find_spec(module) is not None for module in (PACKAGE, "llama_cpp"))


@functools.cache
def load() -> Any:
    """The library: `XLlamaCpp`, else the module llama_cpp of llama-cpp-python. Both have `package`, a name with a version.

    Raises PrerequisiteError if there is neither, or one with other structs than are declared here.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is not None and spec.submodule_search_locations:
        path, version = Path(next(iter(spec.submodule_search_locations))) / FILE, _version(PACKAGE)
        if version != VERSION:
            raise PrerequisiteError(
                f"{PACKAGE} {version} is installed, and fobench calls the functions of {VERSION}, whose structs it knows. "
                f"Get that one: {INSTALL}; {OTHERWISE}."
            )
        try:
            return XLlamaCpp(path, version)
        except (OSError, AttributeError, ValueError) as error:
            raise PrerequisiteError(
                f"{PACKAGE} {version} on {sys.platform} is not the library that fobench knows: {error}. "
                f"Install it again: {INSTALL}; {OTHERWISE}."
            ) from error
    try:
        import llama_cpp
    except (ImportError, OSError, RuntimeError) as error:  # the last two: its shared library does not load
        raise PrerequisiteError(f"llama.cpp is not installed. Get it: {INSTALL}; {OTHERWISE}.") from error
    lacking = [name for name in (*FUNCTIONS, "llama_batch", "llama_log_callback") if not hasattr(llama_cpp, name)]
    fields = {name for name, *_ in getattr(llama_cpp.llama_context_params, "_fields_", ())}
    lacking += sorted({"flash_attn_type", "kv_unified", "n_seq_max", "type_k"} - fields)
    if lacking:
        raise PrerequisiteError(
            f"{OTHER_PACKAGE} {llama_cpp.__version__} lacks {lacking[0]}. Get 0.3.36 or later, or instead: {INSTALL}."
        )
    llama_cpp.package = f"{OTHER_PACKAGE} {llama_cpp.__version__}"
    return llama_cpp


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "of an unknown version"
