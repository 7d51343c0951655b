"""Built-in systems: {name: factory}. Heavy imports happen inside the factories."""

from __future__ import annotations

from fobench.api.hookspecs import Factories
from fobench_plugins.systems.cascade.system import cascade
from fobench_plugins.systems.freeze_omni import freeze_omni
from fobench_plugins.systems.realtime.gemini import gemini
from fobench_plugins.systems.realtime.raw_socket import websocket
from fobench_plugins.systems.realtime.system import realtime
from fobench_plugins.systems.scripted.systems import FACTORIES as SCRIPTED

FACTORIES: Factories = {
    "cascade": cascade,
    "freeze-omni": freeze_omni,
    "realtime": realtime,
    "realtime:": realtime,
    "websocket:": websocket,
    "gemini:": gemini,
    **SCRIPTED,
}
