"""Built-in codecs: {name: factory}. Heavy imports happen inside the factories."""

from __future__ import annotations

from fobench.hookspecs import Factories
from fobench_plugins.codecs.reference import reference

FACTORIES: Factories = {"reference": reference}
