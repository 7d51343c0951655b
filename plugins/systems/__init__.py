"""Built-in systems: {name: factory}. Heavy imports happen inside the factories."""

from __future__ import annotations

from fobench.hookspecs import Factories
from fobench_plugins.systems.cascade import cascade
from fobench_plugins.systems.freeze_omni import freeze_omni
from fobench_plugins.systems.scripted import FACTORIES as SCRIPTED

FACTORIES: Factories = {"cascade": cascade, "freeze-omni": freeze_omni, **SCRIPTED}
