"""The built-in plugin: every component that fobench ships, through the same hooks as anybody's."""

from __future__ import annotations

from fobench.api.hookspecs import Factories, hookimpl
from fobench_plugins.backbones import FACTORIES as BACKBONES
from fobench_plugins.checkpoints import FACTORIES as CHECKPOINTS
from fobench_plugins.codecs import FACTORIES as CODECS
from fobench_plugins.metrics import FACTORIES as METRICS
from fobench_plugins.recognizers import FACTORIES as RECOGNIZERS
from fobench_plugins.reporters import FACTORIES as REPORTERS
from fobench_plugins.suites import FACTORIES as SUITES
from fobench_plugins.systems import FACTORIES as SYSTEMS
from fobench_plugins.trainers import FACTORIES as TRAINERS
from fobench_plugins.voices import FACTORIES as VOICES


@hookimpl
def fobench_systems() -> Factories:
    return SYSTEMS


@hookimpl
def fobench_backbones() -> Factories:
    return BACKBONES


@hookimpl
def fobench_codecs() -> Factories:
    return CODECS


@hookimpl
def fobench_checkpoints() -> Factories:
    return CHECKPOINTS


@hookimpl
def fobench_trainers() -> Factories:
    return TRAINERS


@hookimpl
def fobench_recognizers() -> Factories:
    return RECOGNIZERS


@hookimpl
def fobench_voices() -> Factories:
    return VOICES


@hookimpl
def fobench_suites() -> Factories:
    return SUITES


@hookimpl
def fobench_metrics() -> Factories:
    return METRICS


@hookimpl
def fobench_reporters() -> Factories:
    return REPORTERS
