"""The performance report: figures out of what real measurements leave, the page, resuming, comparing."""

import json
import os
import sys

import pytest

from reports.tools import bench_parts, bench_report
from reports.tools.bench_parts import PYTHON, Figure, Part

BENCHMARK = '''
def test_sum(benchmark):
    """A sum of a hundred numbers."""
    benchmark.extra_info["limit_s"] = 1.0
    benchmark.extra_info["tokens_per_s"] = 20.0
    benchmark.pedantic(lambda: sum(range(100)), rounds=3)
'''


def part(name, *, fails=False, seconds=20):
    """Measures by a real process, which leaves a number in a file; it `fails` after that."""
    program = f"import sys; open(sys.argv[1], 'w').write('4.5'); sys.exit({int(fails)})"

    def figures(out):
        yield Figure("a number", float((out / "number").read_text()), "ms", limit=9.0, limit_name="target")

    return Part(
        name,
        name.title(),
        "About it.",
        lambda out, tiny: [(PYTHON, "-c", program, str(out / "number"))],
        figures,
        seconds,
    )


@pytest.fixture
def parts(monkeypatch):
    def use(*parts):
        monkeypatch.setattr(bench_parts, "PARTS", parts)
        monkeypatch.setattr(bench_report, "PARTS", parts)

    return use


def read(folder):
    return json.loads((folder / "results.json").read_text())


def test_every_part_is_measured_and_shown_beside_its_limit(parts, tmp_path, capsys):
    parts(part("one"), part("two"))
    assert bench_report.main(["--output", str(tmp_path)]) == 0
    page = (tmp_path / "README.md").read_text()
    assert page.count("| a number | 4.5 ms | 9 ms (target) | 50 % |") == 2
    assert "`python -c" in page or "python -c" in page
    result = read(tmp_path)["parts"]["one"]
    assert len(result["load"]["calibration_ms"]) == 2 and result["load"]["calibration_ms"][0][0] > 0
    assert str(tmp_path) not in page and sys.prefix not in page


def test_a_part_that_fails_keeps_its_figures_and_the_others(parts, tmp_path, capsys):
    parts(part("one", fails=True), part("two"))
    assert bench_report.main(["--output", str(tmp_path)]) == 1
    record = read(tmp_path)
    assert "ended with 1" in record["parts"]["one"]["error"]
    assert record["parts"]["one"]["figures"] and record["parts"]["two"]["figures"]
    assert "**Not complete**" in (tmp_path / "README.md").read_text()


def test_resuming_measures_what_failed_alone(parts, tmp_path, capsys):
    parts(part("one", fails=True), part("two"))
    bench_report.main(["--output", str(tmp_path)])
    before = read(tmp_path)["parts"]["two"]
    parts(part("one"), part("two"))
    assert bench_report.main(["--output", str(tmp_path), "--resume"]) == 0
    assert "two ..." not in capsys.readouterr().out.rsplit("one ...", 1)[1]
    assert read(tmp_path)["parts"]["two"] == before


def test_a_part_that_takes_too_long_is_stopped(parts, tmp_path, capsys):
    slow = part("slow", seconds=1)
    commands = [(PYTHON, "-c", "import time; time.sleep(60)")]
    parts(Part("slow", "Slow", "", lambda out, tiny: commands, slow.figures, 1))
    assert bench_report.main(["--output", str(tmp_path)]) == 1
    assert read(tmp_path)["parts"]["slow"]["error"] == "stopped after 1 s"


def test_comparing_shows_ratios_of_what_both_have(parts, tmp_path, capsys):
    parts(part("one"))
    bench_report.main(["--output", str(tmp_path)])
    old = read(tmp_path)
    old["parts"]["one"]["figures"][0]["value"] = 9.0
    (tmp_path / "old.json").write_text(json.dumps(old))
    capsys.readouterr()
    assert bench_report.main(["--output", str(tmp_path), "--compare", str(tmp_path / "old.json")]) == 0
    assert "| one | a number | 9 ms | 4.5 ms | 0.50 | better |" in capsys.readouterr().out


def test_figures_of_a_benchmark_are_told_by_its_docstring(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_parts, "ROOT", tmp_path)
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:  # benchmarks are off beside others
        monkeypatch.delenv(name)
    (tmp_path / "test_it.py").write_text(BENCHMARK)
    out = tmp_path / "benchmark.json"
    error = bench_report.run_all(
        [(PYTHON, "-m", "pytest", str(tmp_path / "test_it.py"), f"--rootdir={tmp_path}", f"--benchmark-json={out}")], 60
    )
    assert error is None
    first, second = bench_parts.benchmark_figures(out)
    assert (first.name, first.about) == ("sum", "A sum of a hundred numbers.")
    assert (first.unit, first.limit) == ("ms", 1000.0) and 0 < first.value < 100
    assert (second.name, second.value, second.better) == ("sum: tokens per s", 20.0, "higher")


def test_replies_of_two_runs_are_told_by_part_and_beside_each_other(tmp_path):
    for system in bench_parts.SYSTEMS:
        (tmp_path / system).symlink_to(bench_parts.ROOT / "reports" / f"spoken-qa-{system}-smollm2-135m")
    figures = {figure.name: figure for figure in bench_parts.reply_figures(tmp_path)}
    medians = [figures[f"{system}: response, p50"] for system in ("freeze-omni", "cascade")]
    assert medians[0].limit == 700 and medians[0].unit == "ms"
    assert figures["response p50, freeze-omni / cascade"].value == medians[0].value / medians[1].value
    for system in bench_parts.SYSTEMS:
        means = {
            name: f.value for name, f in figures.items() if name.startswith(f"{system}: mean") and "before" not in name
        }
        total = means.pop(f"{system}: mean of `response`")
        assert abs(sum(means.values()) - total) < 5  # whole ms
        assert figures[f"{system}: RTF, output"].value > 0


def test_engines_are_told_beside_torch():
    figures = {figure.name: figure for figure in bench_parts.parity_figures(bench_parts.ROOT)}
    equal, right = (figures[f"smollm2-135m, llama.cpp: {what}"] for what in ("replies equal", "right answers"))
    assert 0 < equal.value < equal.limit == right.limit == 240
    assert figures["smollm2-135m: hidden cosine median"].value > 0.99


def test_targets_are_of_figures_that_the_parts_give():
    assert all(limit > 0 and name for limit, name in bench_parts.TARGETS.values())
    assert len({part.name for part in bench_parts.PARTS}) == len(bench_parts.PARTS)
