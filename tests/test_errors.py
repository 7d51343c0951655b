"""Errors as a part of a sentence."""

import pytest

from fobench.errors import first_line


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no such file.\n  at line 3"), "no such file"),
        (OSError("\n  disk full \nmore"), "disk full"),
        (KeyError("a 'quoted' key"), "a 'quoted' key"),
        (KeyError(), "KeyError"),
        (RuntimeError(" \n"), "RuntimeError"),
    ],
)
def test_an_error_is_told_by_its_first_line(error, text):
    assert first_line(error) == text
