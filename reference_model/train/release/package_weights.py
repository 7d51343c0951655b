"""Puts a trained checkpoint among those that fobench ships: into parts, pinned by hash, where `fobench ls checkpoints` finds it.

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
LIMIT_BYTES = 60_000_000  # of one checkpoint's weights


def ship(checkpoint: Path, folder: Path | None = None) -> Path:
    """Writes the parts of `checkpoint` into `folder` (default: that of its backbone among the shipped) and returns it.

    Raises FobenchError for a file that is no whole model of its own configuration, that is too large to ship or, without a
    `folder`, that names no backbone.
    """
    model = loading.load(checkpoint, device="cpu")
    config, tensors = safetensors_io.load(checkpoint)
    if (size := sharded.bytes_of(tensors)) > LIMIT_BYTES:
        most = LIMIT_BYTES / 1e6
        raise FobenchError(f"{checkpoint} holds {size / 1e6:.1f} MB of weights; at most {most:.0f} MB may ship.")
    if not folder and not model.config.backbone:
        raise FobenchError(f"{checkpoint} names no backbone that it was made for: give --to FOLDER.")
    target = folder or SHIPPED / model.config.backbone
    sharded.save(config, tensors, target)
    return target


@click.command(cls=StageCommand)
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--to", "folder", type=click.Path(path_type=Path), help="default: reference_model/shipped/<its backbone>")
def main(checkpoint: Path, folder: Path | None) -> None:
    """Puts CHECKPOINT, as reference_model.checkpoint.loading.save writes it, among those that fobench ships."""
    target = ship(checkpoint, folder)
    pins = sharded.read(target)["parts"]
    print(f"{target}: {len(pins)} parts, {sum(pin['size'] for pin in pins) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
