"""The report of a GPU, tried with tiny sizes on the CPU: every part that needs no GPU is measured for real."""

import json
import time

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from reports.tools import gpu_figures, gpu_report, random_llm
from reports.tools.bench_parts import Figure
from reports.tools.gpu_report import GpuPart, SkippedPart


@pytest.fixture(scope="module")
def live():
    made, told = gpu_figures.engine("tiny", "cpu")
    assert "random weights" in told
    return made


def test_the_parts_of_a_model_take_time(live):
    figures = [*gpu_figures.listening_figures(live, "cpu", 3, 1e9), *gpu_figures.speaking_figures(live, "cpu", 3)]
    assert [figure.name.split(",")[0] for figure in figures] == [
        *("encoder and adapter", "LLM", "LLM", "LLM", "speech decoder", "speech decoder", "codec"),
    ]
    assert all(figure.value > 0 for figure in figures)
    tokens = figures[3]
    assert (tokens.unit, tokens.better) == ("tokens/s", "higher")
    assert tokens.limit == pytest.approx(
        1e9 / (4 * sum(p.numel() for p in live.backbone.model.parameters()) - 4 * 1500 * 64)
    )


def test_a_conversation_has_a_path_from_the_decision_to_the_first_audio(live):
    figures = {f.name: f for f in gpu_figures.conversation_figures(live, "cpu", gpu_figures.speech("tiny"), 1)}
    path = [f for name, f in figures.items() if name.startswith("from the decision")]
    assert [f.limit for f in path] == [468, 15, 246, 753]
    assert path[3].value == pytest.approx(sum(f.value for f in path[:3]), rel=1e-6)
    assert any("`audio`" in name for name in figures)


def test_sessions_are_counted_up_to_the_first_that_misses_real_time(live, monkeypatch):
    said, end = gpu_figures.speech("tiny"), time.perf_counter() + 60
    times = {1: (50.0, 0.0), 2: (90.0, 0.0), 4: (190.0, 0.0), 8: (400.0, 0.5)}
    monkeypatch.setattr(gpu_figures, "_step_together", lambda live, device, said, count, seconds: times[count])
    figures = list(gpu_figures.real_time_figures(live, "cpu", said, [1, 2, 4, 8], 1.0, end))
    assert (figures[-1].name, figures[-1].value) == ("sessions that keep real time", 2)
    assert not any(figure.name.startswith("8 ") for figure in figures)


@pytest.mark.slow
def test_sessions_step_together(live):
    p95, starved = gpu_figures._step_together(live, "cpu", gpu_figures.speech("tiny"), 2, 3.0)
    assert p95 > 0
    assert 0 <= starved <= 1


def test_what_a_random_llm_writes_is_words_that_are_tokens():
    tokenizer = random_llm.tokenizer(20_000)
    ids = [5000, 9000, 12_000]
    text = tokenizer.decode(ids)
    assert len(tokenizer) == 20_000
    assert text.replace(" ", "").isalpha()
    assert tokenizer.encode(text, add_special_tokens=False) == ids
    assert tokenizer.decode([19_000])[-1] in ",."


def result_of(lines, tmp_path, monkeypatch, figures):
    monkeypatch.setattr(gpu_report, "PARTS", (GpuPart("one", "One", "About.", figures, 10),))
    gpu_report.measure_here("one", "cpu", "tiny", 10.0, tmp_path / lines)
    return [json.loads(line) for line in (tmp_path / lines).read_text().splitlines()]


def test_figures_are_written_as_they_come(tmp_path, monkeypatch):
    def figures(device, size, seconds):
        yield Figure("first", 1.0, "ms")
        raise RuntimeError("the device was lost")

    with pytest.raises(RuntimeError):
        result_of("a", tmp_path, monkeypatch, figures)
    assert json.loads((tmp_path / "a").read_text())["name"] == "first"


def test_a_part_without_its_assets_is_skipped_with_the_reason(tmp_path, monkeypatch, fresh_home):
    def skipped(device, size, seconds):
        raise SkippedPart("no model")
        yield

    assert result_of("a", tmp_path, monkeypatch, skipped) == [{"skipped": "no model"}]
    with pytest.raises(SkippedPart, match=r"smollm2-135m-gguf, silero-vad, whisper-tiny\.en-ct2"):
        list(gpu_report.questions("cpu", "full", 10.0))


def test_what_is_not_installed_is_named_before_anything_is_measured(capsys, monkeypatch):
    assert gpu_report.missing_packages() == []
    monkeypatch.setattr(gpu_report, "missing_packages", lambda: ["no_such_package"])
    assert gpu_report.main(["--device", "cpu"]) == 2
    assert "no_such_package" in capsys.readouterr().err


def test_a_missing_package_is_found():
    assert gpu_report.missing_packages(("json", "no_such_package")) == ["no_such_package"]


def test_without_a_gpu_nothing_is_measured(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit) as ended:
        gpu_report.main([])
    assert ended.value.code == 2
    assert "nothing was measured on a GPU" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.subprocess
def test_the_command_with_tiny_sizes(tmp_path, capsys):
    assert gpu_report.main(["--device", "cpu", "--size", "tiny", "--minutes", "5", "--output", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "results.json").read_text())
    assert list(record["parts"]) == [part.name for part in gpu_report.PARTS]
    for name in ("device", "paper", "sessions", "small"):
        assert record["parts"][name]["figures"], record["parts"][name]
    assert record["parts"]["tests"]["skipped"] == "the tests marked gpu need a CUDA device"
    page = (tmp_path / "README.md").read_text()
    assert page.startswith("# Not measured on a GPU")


def test_no_part_is_begun_without_time(tmp_path, capsys):
    assert gpu_report.main(["--device", "cpu", "--size", "tiny", "--minutes", "0", "--output", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "results.json").read_text())
    assert {result["skipped"] for result in record["parts"].values()} == {"the time of the report was over"}
