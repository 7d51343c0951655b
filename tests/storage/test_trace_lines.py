"""What resuming heals in traces.jsonl, and what it leaves to the user."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.errors import FobenchError
from fobench.storage import trace_lines
from fobench.storage.run_folder import LINE_BYTES


def line(name, value=0, **more):
    return json.dumps({"scenario": {"id": name}, "value": value, **more}, ensure_ascii=False).encode()


A, B, C = line("a"), line("b", "é\u2028ü"), line("c", 1.5)
WHOLE = b"".join(each + b"\n" for each in (A, B, C))


@pytest.fixture
def traces(tmp_path):
    return tmp_path / "traces.jsonl"


def healed(path, content):
    path.write_bytes(content)
    return trace_lines.heal(path, LINE_BYTES), path.read_bytes()


def test_whole_traces_stay_as_they_are(traces):
    traces.write_bytes(WHOLE)
    before = traces.stat()
    assert trace_lines.heal(traces, LINE_BYTES) == []
    assert (traces.stat().st_ino, traces.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    "content",
    [
        WHOLE + A[:-5],
        WHOLE + A[:-5] + b"\n",
        WHOLE + A[:-5] + b"\n\n",
        WHOLE + B[:35],  # inside a character
        WHOLE + b"{",
        WHOLE + A[:20] + b"\0" * 500,
    ],
)
def test_a_half_written_last_line_is_removed_and_told(traces, content):
    sentences, now = healed(traces, content)
    assert now == WHOLE
    assert sentences == ["The incomplete last line of traces.jsonl was removed: its scenario is run again."]


@pytest.mark.parametrize(
    "content",
    [
        WHOLE.replace(b"\n", b"\r\n"),
        WHOLE + b"\0" * 4096,
        WHOLE + b"\0" * 4096 + b"\n",
        WHOLE[:-1],
        WHOLE[:-1] + b"\0\0\0",
        WHOLE[:-1] + b" ",
        b"\xef\xbb\xbf" + WHOLE,
        WHOLE.replace(b"\n", b"\n\n"),
        A + b"\n" + b"\0" * 100 + B + b"\n" + C + b"\n",
        b"  " + WHOLE.replace(b"\n", b"\t\n"),
    ],
)
def test_what_editors_copies_and_power_cuts_add_is_removed(traces, content):
    sentences, now = healed(traces, content)
    assert now == WHOLE
    assert len(sentences) == 1


def test_equal_doubles_are_kept_once_and_counted(traces):
    other_order = json.dumps({"value": 0, "scenario": {"id": "a"}}).encode()
    sentences, now = healed(traces, WHOLE + A + b"\n" + C + b"\n" + other_order + b"\n")
    assert now == WHOLE
    assert sentences == ["3 doubled lines of traces.jsonl, equal to the first, removed."]


def test_unequal_doubles_are_named_and_nothing_is_changed(traces):
    content = WHOLE + line("a", 1) + b"\n" + B + b"\n" + line("c", 2) + b"\n"
    traces.write_bytes(content)
    told = (
        r"different traces of one scenario: 'a' \(lines 1 and 4\), 'c' \(lines 3 and 6\)\. Remove one line of each pair"
    )
    with pytest.raises(FobenchError, match=told):
        trace_lines.heal(traces, LINE_BYTES)
    assert traces.read_bytes() == content


def test_many_unequal_doubles_are_counted(traces):
    ids = "abcdefgh"
    traces.write_bytes(b"".join(line(i, v) + b"\n" for v in range(2) for i in ids))
    with pytest.raises(FobenchError, match=r"'e' \(lines 5 and 13\) and 3 more\. Remove"):
        trace_lines.heal(traces, LINE_BYTES)


def test_a_broken_line_before_the_last_stays_for_the_reader_to_name(traces):
    content = A + b"\n" + B[:-4] + b"\n" + C + b"\n"
    assert healed(traces, content) == ([], content)


def test_a_line_that_is_too_long_is_no_half_line(traces):
    traces.write_bytes(A + b"\n" + b"{" * 2000)
    with pytest.raises(FobenchError, match="line 2 is longer than 1,000 bytes"):
        trace_lines.heal(traces, 1000)


def test_no_traces_and_nothing_but_zeros_are_empty(traces):
    assert healed(traces, b"") == ([], b"")
    assert healed(traces, b"\0" * 4096)[1] == b""


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=12),
    st.sampled_from([b"\n", b"\r\n", b"\n\n", b" \n", b"\0\n"]),
    st.integers(0, 60),
    st.integers(0, 30),
)
def test_healing_keeps_one_of_each_scenario_in_order_and_is_done_once(tmp_path_factory, entries, end, cut, zeros):
    path = tmp_path_factory.mktemp("heal") / "traces.jsonl"
    half = line("half", "x" * 40)[:cut]
    content = b"".join(line(name, ord(name)) + end for name, _ in entries) + half + b"\0" * zeros
    _, now = healed(path, content)
    assert [json.loads(each)["scenario"]["id"] for each in now.splitlines()] == list(
        dict.fromkeys(n for n, _ in entries)
    )
    assert now == b"" or now.endswith(b"\n")
    assert healed(path, now) == ([], now)
