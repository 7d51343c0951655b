"""A run of the sample's cases, and its page."""

from pathlib import Path

import pytest

from fobench.api.results import Results
from fobench_plugins.reporters.html.report import render
from tests.plugins.reporters.reported import BUDGET
from tests.support.results_sample import sample


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def results(folder) -> Results:
    return sample(folder)


@pytest.fixture(scope="module")
def page(results) -> str:
    return render(results, BUDGET)
