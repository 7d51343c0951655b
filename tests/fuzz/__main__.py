"""`python -m tests.fuzz`: a campaign, or one of its inputs again."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, which reads it once
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["HF_HUB_OFFLINE"] = "1"

from tests.fuzz import surfaces
from tests.fuzz.campaign import LONGEST_SHOWN, Campaign, Finding


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz every parser of outside data.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inputs", type=int, help="at most this many inputs")
    parser.add_argument("--surface", action="append", help="only this surface; repeatable")
    parser.add_argument("--index", type=int, help="only this input of one --surface, in this process")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/fuzz"), help="folder of the files that reproduce a finding"
    )
    options = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    chosen = [each for each in surfaces.ALL if not options.surface or each.name in options.surface]
    if not chosen:
        parser.error(f"no such surface; there are {', '.join(each.name for each in surfaces.ALL)}")
    with tempfile.TemporaryDirectory() as home:
        os.environ["FOBENCH_HOME"] = str(Path(home) / "home")
        surfaces.prepare(Path(home))
        campaign = Campaign(chosen, options.seed)
        if options.index is not None:
            return _again(campaign, options.index)
        began = time.monotonic()
        campaign.run(options.seconds, options.inputs)
        for number, finding in enumerate(campaign.findings):
            _show(campaign, finding, options.out / f"{number:03d}-{finding.surface}-{finding.index}")
    for name, count in sorted(campaign.counts.items()):
        found = sum(finding.surface == name for finding in campaign.findings)
        print(f"{name:<24}{count:>8,}{1000 * campaign.seconds[name] / count:>9.1f} ms{found or '':>8}")
    total, seconds = campaign.counts.total(), time.monotonic() - began
    print(f"{total:,} inputs in {seconds:.0f} s, seed {options.seed}: {len(campaign.findings)} findings")
    return int(bool(campaign.findings))


def _again(campaign: Campaign, index: int) -> int:
    """One input in this process, with its files and its outcome."""
    (surface,) = campaign.surfaces
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{surface.name}-{index}-"))
    case = campaign.case(surface, index, folder)
    print(f"{surface.name} {index}: {case.about} (must be {case.expected}); files in {folder}")
    fault = case.fault()
    print(fault or "as it must be")
    return int(bool(fault))


def _show(campaign: Campaign, finding: Finding, folder: Path) -> None:
    """Prints a finding, and writes the files that reproduce it."""
    folder.mkdir(parents=True, exist_ok=True)
    surface = next(each for each in campaign.surfaces if each.name == finding.surface)
    case = campaign.case(surface, finding.index, folder)
    for name, content in case.files.items():
        (folder / name).write_bytes(content)
    print(f"--- {finding.surface} {finding.index}: {case.about or finding.about}")
    print(finding.fault[-LONGEST_SHOWN:])
    again = f"python -m tests.fuzz --seed {campaign.seed} --surface {finding.surface} --index {finding.index}"
    print(f"files: {folder}; again: {again}\n")


if __name__ == "__main__":
    sys.exit(main())
