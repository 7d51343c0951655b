"""reference_model/train/release/model_card.py: values of runs, states and logs in the card, and none that was not measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from fobench.api.results import Results
from fobench.errors import FobenchError
from fobench.scoring.scorer import score_run
from fobench.storage.run_folder import RunFolder
from reference_model.checkpoint import sharded
from reference_model.train.release import model_card, sample_transcripts
from reference_model.train.release.targets import Evidence, rows
from tests.support.results_sample import sample

QUESTIONS, PEOPLE = "spoken-qa", "manifest:clips"
SOURCE = "What: 60 utterances.\nLicence: Example (c) 2014 A. Person, CC BY 4.0 (http://example.org). See LICENSE.TXT.\n"


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Results:
    return sample(tmp_path_factory.mktemp("run"))


def run(results: Results, system: str, suite: str, folder: str = "", **totals: Any) -> Results:
    """A run of a system on a suite; `totals`: other values, by metric."""
    config = {**results.run["config"], "system": system, "suites": [suite]}
    components = {**results.run["components"], "system": {"parameter_hash": "c0ffee" * 10}}
    record = {**results.run, "config": config, "components": components, "scenarios": [t.id for t in results.traces]}
    changed = [replace(t, **totals.get(t.metric, {})) for t in results.totals]
    place = results.folder.parent / (folder or f"{system}-{suite[:6]}")
    return replace(results, folder=place, run=record, totals=changed)


def reached(found: Evidence) -> dict[str, str]:
    return {row.metric.split(",")[0]: row.reached for row in rows(found)}


# ---- which run is which ------------------------------------------------------------------------------------------------


def test_runs_are_told_apart_by_system_and_suite(results):
    given = [run(results, s, q) for s in ("cascade", "freeze-omni") for q in (PEOPLE, QUESTIONS)]
    found = Evidence.of(given, None)
    assert (found.cascade_real, found.cascade, found.freeze_omni_real, found.freeze_omni) == tuple(given)


@pytest.mark.parametrize(
    ("system", "suite", "told"),
    [("scripted:late", QUESTIONS, "is not usable here"), ("freeze-omni", "controls", "suites controls")],
)
def test_a_run_without_a_role_is_refused(results, system, suite, told):
    with pytest.raises(FobenchError, match=told):
        Evidence.of([run(results, system, suite)], None)


def test_two_runs_of_one_role_are_refused(results):
    with pytest.raises(FobenchError, match="have the same role"):
        Evidence.of([run(results, "cascade", QUESTIONS), run(results, "cascade", QUESTIONS, "again")], None)


def test_an_unfinished_run_is_told(results):
    unfinished = run(results, "cascade", QUESTIONS)
    unfinished = replace(unfinished, run={**unfinished.run, "status": "interrupted"})
    with pytest.raises(FobenchError, match="fobench run --resume"):
        Evidence.of([unfinished], None)


# ---- what is reached ---------------------------------------------------------------------------------------------------


def test_nothing_given_is_nothing_measured():
    assert {row.reached for row in rows(Evidence())} == {"not measured"}
    assert all(row.value.value is None and row.value.text for row in rows(Evidence()))


@pytest.mark.parametrize(
    ("value", "cascade", "told"),
    [(0.081, 0.2, "no"), (0.08, 0.07, "target"), (0.07, 0.07, "stretch"), (0.09, 0.2, "no")],
)
def test_understanding_is_held_against_8_percent_and_the_cascade(results, value, cascade, told):
    runs = [
        run(results, "freeze-omni", QUESTIONS, understanding_wer={"value": value}),
        run(results, "cascade", QUESTIONS, understanding_wer={"value": cascade}),
    ]
    assert rows(Evidence.of(runs, None))[0].reached == told


@pytest.mark.parametrize(
    ("value", "verdict", "told"),
    [
        (0.95, "non-inferior", "stretch"),
        (0.95, "inconclusive", "target"),
        (0.92, "non-inferior", "target"),
        (0.85, "non-inferior", "no"),
    ],
)
def test_parity_is_stretched_only_where_it_is_shown_not_to_be_inferior(results, value, verdict, told):
    runs = [
        run(results, "freeze-omni", QUESTIONS, parity_s2t={"value": value, "detail": {"verdict": verdict}}),
        run(results, "cascade", QUESTIONS, parity_s2t={"value": 0.93}),
    ]
    assert reached(Evidence.of(runs, None))["Parity"] == told


def test_response_is_a_share_of_the_cascades(results):
    runs = [
        run(results, "freeze-omni", QUESTIONS, response_ms={"value": 390.0, "ci": (300.0, 480.0)}),
        run(results, "cascade", QUESTIONS, response_ms={"value": 1000.0}),
    ]
    row = next(row for row in rows(Evidence.of(runs, None)) if row.metric.startswith("Response"))
    assert (row.value.text, row.value.n, row.reached) == (
        "0.39: 390 ms (300–480)",
        "9",
        "stretch",
    )  # of ten replies one is early


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"machine": {}}, "machine"),
        ({"config": {"clock": "wall"}}, "clock"),
        ({"config": {"workers": 8}}, "workers"),
        ({"scenarios_sha256": "another"}, "scenarios"),
    ],
)
def test_response_latencies_of_runs_that_differ_are_not_compared(results, changed, told):
    ours, cascade = (run(results, system, QUESTIONS) for system in ("freeze-omni", "cascade"))
    config = {**ours.run["config"], **changed.get("config", {})}
    ours = replace(ours, run={**ours.run, **changed, "config": config})
    row = next(row for row in rows(Evidence.of([ours, cascade], None)) if row.metric.startswith("Response"))
    assert (row.value.value, row.value.text, row.reached) == (
        None,
        f"the runs are not comparable: {told}",
        "not measured",
    )


def test_states_are_those_of_the_head(results):
    states = {"situations": 600, "macro_f1": 0.93, "answer_delay_ms": {"p50": 160.0, "p90": 480.0, "n": 201}}
    found = {row.metric: row for row in rows(Evidence(states=states))}
    f1, delay = found["Turn states 0/1/2, macro F1"], found["Delay of the answer state, p50"]
    assert (f1.value.text, f1.value.n, f1.reached) == ("0.930", "600", "target")
    assert (delay.value.text, delay.value.n, delay.reached) == ("160 ms", "201", "stretch")


def test_the_backbone_is_unchanged_where_every_run_tells_its_hash(results):
    ours = run(results, "freeze-omni", QUESTIONS)
    other = run(results, "freeze-omni", PEOPLE)
    other = replace(other, run={**other.run, "components": {"system": {"parameter_hash": "beef"}}})
    untold = replace(other, run={**other.run, "components": {}})
    given = ([ours], [ours, other], [untold], [run(results, "cascade", QUESTIONS)])
    frozen = [rows(Evidence.of(runs, None))[-1] for runs in given]
    assert (frozen[0].value.text, frozen[0].value.n) == ("0 (SHA-256 c0ffeec0ffee before and after)", "1 run")
    assert [row.reached for row in frozen] == ["stretch", *["not measured"] * 3]


# ---- recordings --------------------------------------------------------------------------------------------------------


def test_recordings_are_the_first_in_order_with_all_that_was_said(results):
    found = sample_transcripts.first_recordings(run(results, "freeze-omni", PEOPLE))
    assert [clip.id for clip in found] == [trace.id for trace in results.traces[:10]]
    assert found[3] == sample_transcripts.SampleTranscript(
        *("history-02", "In which year did the Berlin Wall fall?", "In which year did the Berlin Ball fall?"),
        *("The Berlin Wall fell in 1961.", "The Berlin Wall fell in 1961."),
    )
    assert (found[8].reply, found[8].reply_transcript) == ("", "")


@pytest.mark.parametrize("config", [{"sample_ids": ["space-05"]}, {"suite_args": {"manifest:shuffle": "true"}}])
def test_chosen_recordings_are_refused(results, config):
    chosen = run(results, "freeze-omni", PEOPLE)
    chosen = replace(chosen, run={**chosen.run, "config": {**chosen.run["config"], **config}})
    with pytest.raises(FobenchError, match="selected or shuffled"):
        sample_transcripts.first_recordings(chosen)


def test_too_few_recordings_are_told(results):
    few = run(results, "freeze-omni", PEOPLE)
    with pytest.raises(FobenchError, match="--limit 10 or more"):
        sample_transcripts.first_recordings(replace(few, run={**few.run, "scenarios": few.run["scenarios"][:9]}))


def with_source(results: Results, folder: Path, text: str | None) -> Results:
    if text is not None:
        (folder / "SOURCE.txt").write_text(text)
    return run(results, "freeze-omni", f"manifest:{folder}")


def test_the_set_and_its_licence_are_named(results, tmp_path):
    name, licence = sample_transcripts.source(with_source(results, tmp_path, SOURCE))
    assert (name, licence) == (
        tmp_path.name,
        "Example (c) 2014 A. Person, CC BY 4.0 (http://example.org). See LICENSE.TXT.",
    )


@pytest.mark.parametrize(
    "text",
    [
        None,
        "No word of it.",
        "Licence: CC BY-SA 3.0, (c) 2003 (share-alike!).",
        "Licence: CC BY-NC 4.0",
        "Licence: repository MIT; the corpus CC BY-ND 4.0",
        "Licence: ask the authors",
    ],
)
def test_texts_that_may_not_be_passed_on_stay_out(results, tmp_path, text):
    with pytest.raises(FobenchError, match="license"):
        sample_transcripts.source(with_source(results, tmp_path, text))


# ---- the card ----------------------------------------------------------------------------------------------------------


def test_results_stand_between_the_marks_and_the_rest_stays():
    once = model_card.insert_results("# A model\n\nBy hand.\n", "first")
    twice = model_card.insert_results(once.replace("By hand.", "By hand, later.") + "\n## After\n", "second")
    assert once == f"# A model\n\nBy hand.\n\n{model_card.BEGIN}\n\nfirst\n\n{model_card.END}\n"
    assert twice == f"# A model\n\nBy hand, later.\n\n{model_card.BEGIN}\n\nsecond\n\n{model_card.END}\n\n## After\n"


@pytest.mark.parametrize("text", [model_card.BEGIN, model_card.END, f"{model_card.END} {model_card.BEGIN}"])
def test_a_mark_alone_is_told(text):
    with pytest.raises(FobenchError, match="only one of its two marks"):
        model_card.insert_results(text, "results")


def log(folder: Path) -> Path:
    """A training of 300 steps whose loss falls from 4 to 1."""
    folder.mkdir()
    lines = [f"{i},loss,{4 if i <= 150 else 1}\n{i},seconds,12\n{i},skipped,{int(i == 9)}\n" for i in range(1, 301)]
    (folder / "log.csv").write_text("".join(lines) + "150,valid_wer,0.3\n300,valid_wer,0.1\n")
    (folder / "skipped.txt").write_text("a: no sound\nb: no text\n")
    return folder


def test_a_training_is_told_by_its_log(tmp_path):
    found = model_card.StageSummary.read(log(tmp_path / "input-1"))
    assert found == model_card.StageSummary("input-1", 300, 1.0, (4.0, 1.0), {"wer": 0.1}, (1, 2))


def test_a_log_without_a_loss_is_told(tmp_path):
    (tmp_path / "log.csv").write_text("1,lr,0.1\n")
    with pytest.raises(FobenchError, match="has no loss and no seconds"):
        model_card.StageSummary.read(tmp_path)


def kept(results: Results, folder: Path, **config: Any) -> Path:
    """The run in a folder, scored by the metrics themselves."""
    record = {**results.run, "config": {**results.run["config"], **config}, "scenarios": [t.id for t in results.traces]}
    record["components"] = {"system": {"parameter_hash": "c0ffee"}, "judge": {}}
    RunFolder(folder).create(record)
    lines = [json.dumps(trace.to_json()) for trace in results.traces]
    (folder / "traces.jsonl").write_text("\n".join(lines) + "\n")
    score_run(folder)
    return folder


def test_the_command_writes_all_of_it(results, tmp_path):
    clips, target = tmp_path / "clips", tmp_path / "toy"
    clips.mkdir()
    (clips / "SOURCE.txt").write_text(SOURCE)
    sharded.save({"name": "toy"}, {"encoder.weight": torch.zeros(3, 5)}, target)
    states = {"situations": 30, "macro_f1": 0.5, "confusion": {"listen": {"listen": 9, "answer": 1}}}
    states |= {"takeovers_in_pauses": {"share": 0.25, "n": 8}}
    (tmp_path / "states.json").write_text(json.dumps(states))
    runs = [
        kept(results, tmp_path / "ours", system="freeze-omni"),
        kept(results, tmp_path / "real", system="freeze-omni", suites=[f"manifest:{clips}"], system_args={}),
    ]
    options = [*(part for path in runs for part in ("--run", str(path))), "--states", str(tmp_path / "states.json")]
    told = CliRunner().invoke(model_card.main, [str(target), *options, "--training", str(log(tmp_path / "input-1"))])
    assert told.exit_code == 0, told.output
    text = (target / "MODEL_CARD.md").read_text(encoding="utf-8")
    for line in (
        "| ASR WER, recordings of human speakers | ≤ 27 % | ≤ 15 % | 12.6 % (0.0–34.1) | 11 | no run was given | stretch |",
        "| Turn states 0/1/2, macro F1 | ≥ 0.90 | ≥ 0.97 | 0.500 | 30 | – | no |",
        "| listen | 9 | 1 |",
        "Premature end of turn (reply in a pause within the turn): 25.0 % (n = 8).",
        "## The first 10 recordings of `clips`",
        "| `physics-03` | What is the unit of electrical resistance? | What is the unit of electrical resistance? |"
        " It is measured in ohms. | it is measured in ohms |",
        "| `input-1` | 300 | 1.0 | 4 → 1 | wer 0.1 | 1, 2 |",
        "| encoder | 15 |",
    ):
        assert line in text
    assert "CC BY 4.0" in text and "![Learning curves of input-1](curves-input-1.svg)" in text
    assert (target / "curves-input-1.svg").read_text().startswith("<?xml")
    assert str(tmp_path) not in text and "<script" not in text


def test_a_states_file_of_another_kind_is_told(tmp_path):
    (tmp_path / "states.json").write_text("[]")
    told = CliRunner().invoke(model_card.main, [str(tmp_path), "--states", str(tmp_path / "states.json")])
    assert told.exit_code == 2 and "is not a states.json of input stage 3" in told.output
