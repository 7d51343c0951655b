"""Simulation of one scenario with one system on a clock, without processes or files."""
