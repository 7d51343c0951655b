"""Limits of audio files from outside. What is beyond them is refused by its header, and again while it is read."""

from __future__ import annotations

MAX_DURATION_S = 600  # of one user turn
MAX_CHANNELS = 64
RATES_HZ = (4_000, 768_000)  # lowest and highest sample rate
WIDE_HZ, NARROWED_HZ = 96_000, 48_000  # files above the first rate are read at the second
CUT_S = 0.1  # sound that may be missing at the end of a file before it counts as cut
SILENT_DBFS = -85.0  # level of the loudest 10 ms below which nothing can be heard: about 2 steps of 16 bits
OFFSET = 1e-3  # constant offset, of full scale, from which on it is removed before levels are measured
