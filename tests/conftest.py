"""Fixtures of several files: a home for what is fetched and made, short conversations, the conformance suite over a broken component."""

import inspect
import os
import signal
import sys
from pathlib import Path

import hypothesis
import pytest

# One thread a process, also in processes that tests start: set before torch is imported, which reads it once.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
# This process and those that tests start compile a module once, also where the environment says otherwise.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Programs that tests start from any folder find this tree's packages and `tests`.
os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])

# `--hypothesis-profile thorough` draws as many examples as hypothesis does by itself.
hypothesis.settings.register_profile("thorough", deadline=None)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=30)
hypothesis.settings.load_profile("quick")

from fobench.api import registry
from fobench.api.hookspecs import hookimpl
from fobench.api.types import NS_PER_MS
from fobench.conformance import suite
from fobench.simulation import replay


@pytest.fixture
def home(tmp_path_factory, monkeypatch):
    """A home that all tests of a session share."""
    folder = tmp_path_factory.getbasetemp() / "home"
    monkeypatch.setenv("FOBENCH_HOME", str(folder))
    return folder


@pytest.fixture
def fresh_home(tmp_path, monkeypatch):
    """A home of the test's own."""
    monkeypatch.setenv("FOBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    """The package of that name, with a cache of the test's own."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    return datasets


@pytest.fixture
def hang_up():
    """SIGHUP has its default effect, here and in processes that are started, also where the tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def short_tail(monkeypatch):
    """Conversations end soon after their last sound: for those in real time."""
    monkeypatch.setattr(replay, "TAIL_NS", 100 * NS_PER_MS)


@pytest.fixture
def registered():
    """`registered(kind=component or function that makes one, ...)` makes it known by the name `toy`."""

    def register(**components):
        registry.manager.cache_clear()
        registry.factories.cache_clear()
        for kind, component in components.items():
            registry.manager().register(_toys(kind, component))

    yield register
    register()


@pytest.fixture
def findings(registered):
    """`findings(kind, component)`: {check: message} of the checks that fail."""

    def run(kind, component):
        registered(**{kind: component})
        return {c.name: c.message for c in suite.check(kind, "toy") if not c.ok}

    return run


def _toys(kind, component):
    """A plugin with one component, named `toy`."""
    factory = component if inspect.isfunction(component) else lambda: component
    return type("Toys", (), {f"fobench_{kind}": hookimpl(lambda self: {"toy": factory})})()
