"""Packages a trained checkpoint for release: shards pinned by hash, in the folder where `fobench ls checkpoints` finds
them.

python -m reference_model.train.release.package_weights runs/train/small.safetensors    # into reference_model/shipped/<its backbone>
"""

from __future__ import annotations

from pathlib import Path

import click

import reference_model
from fobench.errors import FobenchError
from reference_model.checkpoint import loading, safetensors_io, sharded
from reference_model.train.engine.command import StageCommand

SHIPPED = Path(reference_model.__file__).parent / "shipped"
LIMIT_BYTES = 60_000_000  # maximal size of a checkpoint's weights


def package_checkpoint(checkpoint: Path, folder: Path | None = None) -> Path:
    """Writes the shards of `checkpoint` into `folder` (default: reference_model/shipped/<its backbone>) and returns the
    folder.

    Raises FobenchError for a file that is not a complete model or exceeds LIMIT_BYTES, and, without `folder`, for one
    that names no backbone.
    """
    loading.load(checkpoint, device="cpu")
    config, tensors = safetensors_io.load(checkpoint)
    if (size := sharded.bytes_of(tensors)) > LIMIT_BYTES:
        raise FobenchError(
            f"{checkpoint} holds {size / 1e6:.1f} MB of weights; the limit is {LIMIT_BYTES / 1e6:.0f} MB."
        )
    backbone = loading.made_for(checkpoint)
    if not folder and not backbone:
        raise FobenchError(f"{checkpoint} names no backbone: give --to FOLDER.")
    target = folder or SHIPPED / backbone
    sharded.save(config, tensors, target)
    return target


@click.command(cls=StageCommand)
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder to write.  [default: reference_model/shipped/<its backbone>]",
)
def main(checkpoint: Path, folder: Path | None) -> None:
    """Packages CHECKPOINT, a file of `fobench train assemble`, for release."""
    target = package_checkpoint(checkpoint, folder)
    pins = sharded.read(target)["parts"]
    print(f"{target}: {len(pins)} parts, {sum(pin['size'] for pin in pins) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
