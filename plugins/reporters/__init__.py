"""Built-in reporters: {name: factory}. Heavy imports happen inside the factories."""

from __future__ import annotations

from fobench.hookspecs import Factories

FACTORIES: Factories = {}
