"""Weights of transformers models from local safetensors files, refused by name where they do not fit.

By itself transformers draws missing tensors at random, drops unexpected ones, and only warns.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fobench import outside_files
from fobench.assets import weight_files
from fobench.atomic_files import is_file_name
from fobench.errors import FobenchError, first_line
from reference_model.checkpoint import tensor_checks

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
FLOATS = ("F64", "F32", "F16", "BF16")


def load(auto_class: Any, folder: Path, name: str, **options: Any) -> Any:
    """The model of `folder`, by a class of transformers such as AutoModelForCausalLM.

    `name`: of the component, for errors. Raises FobenchError for files that are missing or broken, and for missing,
    unexpected, misshapen, integer or non-finite tensors; tied weights may be absent.
    """
    config, header = read_config(folder), check_files(folder)
    model = load_checked(auto_class, name, pretrained_model_name_or_path=folder, use_safetensors=True, **options)
    if "quantization_config" not in config:
        parameters = {key for key, _ in model.named_parameters()}
        wrong = [f"{key} ({kind})" for key, (kind, _) in header.items() if key in parameters and kind not in FLOATS]
        if wrong:
            problem = tensor_checks.named("has no floating-point numbers in", sorted(wrong))
            raise FobenchError(f"The file of weights of {name} {problem}. {weight_files.REFETCH}")
    return model


def load_checked(auto_class: Any, name: str, **options: Any) -> Any:
    """`auto_class.from_pretrained`; FobenchError where tensors were not all loaded as they are in the file."""
    try:
        with _quiet():
            model, info = auto_class.from_pretrained(
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **options,
            )
    except Exception as error:  # of any type: configurations and files come from outside
        raise FobenchError(f"{name} cannot be loaded: {first_line(error)}") from error
    check_loaded(model, info, name)
    return model


def check_loaded(model: Any, info: Mapping[str, Any], name: str) -> None:
    """Raises FobenchError naming the tensors that transformers did not find or use, by its loading info."""
    shapes = {key: (found, needed) for key, found, needed in info["mismatched_keys"]}
    missing = set(info["missing_keys"]) - shapes.keys()
    problem = tensor_checks.misfit(missing, info["unexpected_keys"], shapes, info.get("error_msgs") or ())
    problem = problem or tensor_checks.not_finite(model.state_dict().items())
    if problem:
        raise FobenchError(
            f"The file of weights of {name} does not fit {type(model).__name__}: it {problem}. {weight_files.REFETCH}"
        )


def check_files(folder: Path) -> weight_files.Header:
    """The tensors of a model's safetensors files. Raises FobenchError for broken files, and where an index of shards and
    the shards differ.
    """
    if (folder / SINGLE).is_file():
        return weight_files.safetensors_header(folder / SINGLE)
    shards = _shards(folder)
    header: weight_files.Header = {}
    for shard, names in shards.items():
        if not (folder / shard).is_file():
            raise FobenchError(f"{folder} lacks {shard}, which {INDEX} names. {weight_files.REFETCH}")
        found = weight_files.safetensors_header(folder / shard)
        if odd := sorted(found.keys() ^ names):
            what = f"lacks {odd[0]}" if odd[0] in names else f"has {odd[0]}"
            more = f", and {len(odd) - 1} more differ" if odd[1:] else ""
            raise FobenchError(
                f"{folder / shard} {what}, unlike {INDEX} says{more}: they belong to different models. "
                f"{weight_files.REFETCH}"
            )
        header |= found
    return header


def _shards(folder: Path) -> dict[str, set[str]]:
    """{file name: names of its tensors} by the index of a model in several files."""
    path = folder / INDEX
    if not path.is_file():
        raise FobenchError(f"{folder} holds neither {SINGLE} nor {INDEX}, so its weights are incomplete.")
    shards: dict[str, set[str]] = {}
    try:
        for tensor, shard in outside_files.read_json(path)["weight_map"].items():
            if not is_file_name(shard):
                raise ValueError(f"{shard!r} is not the name of a file in this folder")
            shards.setdefault(shard, set()).add(tensor)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FobenchError(f"{path} is not an index of weights: {first_line(error)}.") from error
    return shards


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a model's folder. Raises FobenchError if it is not a JSON object."""
    try:
        config = outside_files.read_json(folder / "config.json")
        if not isinstance(config, dict):
            raise ValueError(f"it is a {type(config).__name__}, not an object")
    except (OSError, ValueError) as error:
        raise FobenchError(f"{folder / 'config.json'} cannot be read: {error}.") from error
    return config


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bar of transformers and its report on weights, which an error repeats."""
    from transformers.utils import logging

    was_enabled, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if was_enabled:
            logging.enable_progress_bar()
