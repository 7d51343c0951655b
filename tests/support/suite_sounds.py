"""What the suites' tests share: their scenarios, and sounds to make them of."""

import numpy as np

from fobench.api import registry

RATE = 16_000


def create(name, **options):
    return registry.create("suites", name, options)


def scenarios(name, seed=0, **options):
    return list(create(name, **options).scenarios(seed))


def sound(ms=500, rate=RATE, hz=220):
    return (0.2 * np.cos(2 * np.pi * hz * np.arange(rate * ms // 1000) / rate)).astype(np.float32)
