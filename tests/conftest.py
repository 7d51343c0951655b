"""Fixtures of several files: a home for what is fetched and made, and the conformance suite over a broken component."""

import inspect

import pytest

from fobench.api import registry
from fobench.api.hookspecs import hookimpl
from fobench.conformance import suite


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
