"""Tests that run on the CPU, and on a GPU where there is one (`pytest -m gpu`)."""

import pytest

on_each_device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
