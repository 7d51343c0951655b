"""Cost tables: what was written reads back, and what no run measures is refused by name."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.api.types import NS_PER_S
from fobench.errors import FobenchError
from fobench.simulation.costs import LONGEST_NS, Cost, CostTable

NANOSECONDS = st.integers(0, LONGEST_NS)
TABLES = st.dictionaries(st.text(min_size=1, max_size=12), st.builds(Cost, NANOSECONDS, NANOSECONDS), max_size=4)


@given(costs=TABLES)
def test_a_table_reads_back(tmp_path_factory, costs):
    path = tmp_path_factory.getbasetemp() / "costs.json"
    path.write_text(json.dumps(CostTable(costs).to_json()))
    again = CostTable.load(path)
    assert again == CostTable(costs) and again.digest == CostTable(costs).digest


def test_a_step_costs_its_fixed_time_and_a_time_for_its_audio(tmp_path):
    path = tmp_path / "costs.json"
    path.write_text('{"version": 1, "costs": {"audio": {"fixed_ns": 500, "per_media_s_ns": 3000}, "idle": {}}}')
    assert CostTable.load(path).cost_ns("audio", NS_PER_S // 2) == 2000
    assert CostTable.load(path).cost_ns("idle", NS_PER_S) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "lacks version"),
        ('{"costs": {}}', "lacks version"),
        ('{"version": 1}', "lacks costs"),
        ('{"version": 2, "costs": {}}', "it has version 2, not 1"),
        ('{"version": 1, "costs": {"idle": {"fixed_ns": -1}}}', r"costs\.idle has -1 ns"),
        ('{"version": 1, "costs": {"idle": {"per_media_s_ns": 3600000000001}}}', r"costs\.idle has 3600000000001 ns"),
        ('{"version": 1, "costs": {"idle": {"fixed_ns": 1e3}}}', "expected int, got float"),
        ('{"version": 1, "costs": {"idle": {"fixed_ns": NaN}}}', "NaN is not a number"),
        ('{"version": 1, "costs": {"idle": {"fixed_ns": true}}}', "expected int, got bool"),
        ('{"version": 1, "costs": {"idle": {"fixed_ms": 1}}}', "unknown key costs.fixed_ms"),
        ('{"version": 1, "costs": {}, "cost": {}}', "unknown key cost"),
        ('{"version": 1, "costs": {"idle": {}, "idle": {}}}', "'idle' occurs twice"),
        ('{"version": 1, "costs": []}', "costs has the wrong type"),
        ("[" * 5000, "deep"),
        ("", "not JSON"),
    ],
)
def test_what_no_run_measures_is_refused(tmp_path, text, message):
    path = tmp_path / "costs.json"
    path.write_text(text)
    with pytest.raises(
        FobenchError, match=rf"Cost table .*costs\.json cannot be read: .*{message}.* Every measured run"
    ):
        CostTable.load(path)
