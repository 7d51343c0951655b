"""Files from outside: what is no regular, bounded, well-formed file is refused in the end of a sentence."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench import outside_files

NUMBERS = st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@dataclass(frozen=True)
class Wheel:
    size: float


@dataclass(frozen=True)
class Cart:
    name: str
    wheels: tuple[Wheel, ...] = ()
    spare: Wheel | None = None
    loads: dict[str, int] | None = None


@given(data=PLAIN)
def test_plain_data_reads_back(data):
    for text in (json.dumps(data), json.dumps(data, indent=2, ensure_ascii=True)):
        assert outside_files.parse_json(text) == data
        assert outside_files.parse_json(b"\xef\xbb\xbf" + text.encode("utf-8")) == data


@given(data=PLAIN, wrong=st.sampled_from(["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 30, "9" * 5000]))
def test_a_number_that_is_not_finite_or_too_long_is_refused_wherever_it_stands(data, wrong):
    with pytest.raises(ValueError, match="number"):
        outside_files.parse_json(f'{{"a": {json.dumps(data)}, "b": [{{"c": {wrong}}}]}}')


def test_the_place_of_a_number_is_named():
    with pytest.raises(ValueError, match=r"^totals\[1\]\.value is a number that is not finite"):
        outside_files.parse_json('{"totals": [{"value": 1}, {"value": 1e400}]}')


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("depth", [70, 1_000, 200_000])
def test_what_is_deep_is_refused_whole_or_cut(opening, closing, depth):
    for text in (opening * depth + "1" + closing * depth, opening * depth):
        with pytest.raises(ValueError, match=r"deep|not JSON"):
            outside_files.parse_json(text)
    assert outside_files.parse_json(opening * 50 + "1" + closing * 50)


@given(content=st.binary(max_size=60))
def test_no_bytes_are_a_traceback(content):
    try:
        outside_files.parse_json(content)
    except ValueError as error:
        assert str(error) and "\n" not in str(error)


def test_a_key_twice_is_refused_at_any_depth():
    with pytest.raises(ValueError, match="the key 'b' occurs twice"):
        outside_files.parse_json('{"a": [{"b": 1, "c": 2, "b": 1}]}')


@pytest.mark.parametrize(
    "text", ['{"a" :1,"b":2,"a":3}', '{"a"\n:1,"b":"x\\":","a":3}', '[{"a":1},{"k":{"b" : 1,"b": 1}}]', '{"":1,"":2}']
)
def test_a_key_twice_is_refused_however_it_is_written(text):
    with pytest.raises(ValueError, match="occurs twice"):
        outside_files.parse_json(text)


def test_invalid_text_is_named_with_its_byte():
    with pytest.raises(ValueError, match="not UTF-8: invalid start byte at byte 1"):
        outside_files.parse_json(b'"\xff"')


def test_text_loses_its_mark_and_its_line_ends(tmp_path):
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n")
    assert outside_files.read_text(tmp_path / "a") == "a\nb\nc\n"


@pytest.mark.parametrize("device", ["/dev/full", "/dev/zero", "/dev/urandom", "/dev/null"])
def test_a_device_is_not_read(device):
    with pytest.raises(ValueError, match="not a regular file"):
        outside_files.read_bytes(Path(device))


def test_a_pipe_without_a_writer_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="not a regular file"):
        outside_files.read_bytes(tmp_path / "pipe")


def test_a_folder_and_a_missing_file_are_errors_of_the_system(tmp_path):
    with pytest.raises(IsADirectoryError):
        outside_files.read_bytes(tmp_path)
    with pytest.raises(FileNotFoundError):
        outside_files.read_bytes(tmp_path / "none")


def test_lines_are_told_by_file_and_number_and_blank_ones_left_out(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": "x\N{LINE SEPARATOR}y"}\r\n \n[1]\n')
    assert outside_files.read_lines(path) == [
        ("rows.jsonl:1", '{"a": "x\N{LINE SEPARATOR}y"}'),
        ("rows.jsonl:3", "[1]"),
    ]
    assert outside_files.read_json_lines(path) == [
        ("rows.jsonl:1", {"a": "x\N{LINE SEPARATOR}y"}),
        ("rows.jsonl:3", [1]),
    ]
    with pytest.raises(ValueError, match="it is larger than 5 bytes"):
        outside_files.read_json_lines(path, limit=5)


@pytest.mark.parametrize(("line", "why"), [("{", "it is not JSON"), ('{"a": 1, "a": 2}', "the key 'a' occurs twice")])
def test_an_invalid_line_is_told_by_file_and_number(tmp_path, line, why):
    path = tmp_path / "rows.jsonl"
    path.write_text(f"1\n\n{line}\n2\n")
    with pytest.raises(ValueError, match=f"^rows.jsonl:3: {why}"):
        outside_files.read_json_lines(path)


@pytest.mark.parametrize("name", ["a\0b", "half \ud800"])
def test_a_name_that_no_file_can_have_is_refused(name):
    with pytest.raises(ValueError, match="not that of a file"):
        outside_files.read_bytes(Path(name))


def test_a_file_is_read_up_to_its_limit(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert outside_files.read_bytes(path, 5) == b"12345"
    with pytest.raises(ValueError, match="larger than 4 bytes"):
        outside_files.read_bytes(path, 4)
    with path.open("r+b") as file:
        file.truncate(5 << 30)
    with pytest.raises(ValueError, match="larger than"):
        outside_files.read_json(path)


def test_tables_are_as_deep_as_lists(tmp_path):
    path = tmp_path / "a.toml"
    for text in (f"a = {'[' * 200}{']' * 200}", f"a = {'[' * 50_000}", f"a = {'{a=' * 300}1{'}' * 300}"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"deep|not TOML"):
            outside_files.read_toml(path)
    path.write_text("a = " + "9" * 5000)
    with pytest.raises(ValueError, match="thousands of digits"):
        outside_files.read_toml(path)


def test_a_record_is_its_dataclasses():
    data = {"name": "a", "wheels": [{"size": 2}, {"size": 0.5}], "spare": {"size": 1}, "loads": {"hay": 3}}
    assert outside_files.record(Cart, data) == Cart("a", (Wheel(2.0), Wheel(0.5)), Wheel(1.0), {"hay": 3})
    assert outside_files.record(Cart, {"name": "a", "colour": 1}, closed=False) == Cart("a")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "it has the wrong type: expected object, got array"),
        ({}, "it lacks name"),
        ({"name": 3}, "name has the wrong type: expected str, got int"),
        (
            {"name": "a", "wheels": [{"size": 1}, {"size": "x"}]},
            r"wheels\[1\].size has the wrong type: expected float, got str",
        ),
        ({"name": "a", "wheels": [{}]}, r"wheels\[0\] lacks size"),
        ({"name": "a", "wheels": {}}, "wheels has the wrong type: expected array, got object"),
        ({"name": "a", "loads": {"hay": True}}, "loads.* has the wrong type: expected int, got bool"),
        ({"name": "a", "colour": "red"}, "it has an unknown key colour"),
        ({"name": "a", "wheels": [{"size": 1, "colour": 1}]}, "it has an unknown key wheels.colour"),
        ({"name": "a", "spare": {"size": 1, "colour": 1}}, "it has an unknown key spare.colour"),
    ],
)
def test_a_record_that_does_not_fit_is_told_by_its_key(data, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        outside_files.record(Cart, data)


@given(data=st.dictionaries(st.sampled_from(["name", "wheels", "spare", "loads", "x"]), PLAIN))
def test_any_data_is_a_record_or_refused_with_a_message(data):
    try:
        made = outside_files.record(Cart, data)
    except ValueError as error:
        assert str(error)
    else:
        assert isinstance(made.name, str) and all(isinstance(wheel.size, float) for wheel in made.wheels)
