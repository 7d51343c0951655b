"""`fobench report --self-contained`: the recordings are in the page, else beside it."""

import shutil

from click.testing import CliRunner

from fobench.cli.main import main


def fobench(*arguments, expect=0):
    done = CliRunner().invoke(main, [*map(str, arguments)])
    assert done.exit_code == expect, done.output
    return done.output


def test_recordings_are_beside_the_page_or_in_it(tmp_path):
    run = tmp_path / "run"
    plain = "--system scripted:late --suite controls --judge none --costs declared --limit 2"
    fobench("run", *plain.split(), "--output", run)
    page = run / "report.html"
    assert '"link":"audio/' in page.read_text() and "data:audio/mpeg" not in page.read_text()
    drawn = page.read_text().partition('"user":"')[2][:240]
    assert len(drawn) == 240 and drawn.isalnum()
    (run / "waveforms.jsonl").unlink()  # as of an older run: drawn from the recordings
    fobench("report", run, "--self-contained")
    assert page.read_text().count("data:audio/mpeg") == 2
    assert '"user":"' in page.read_text()
    shutil.copytree(run, tmp_path / "other")
    assert "of a single run" in fobench("report", run, tmp_path / "other", "--self-contained", expect=2)
    assert "of a single run" in fobench("report", run, "-r", "terminal", "--self-contained", expect=2)
