"""Scoring: from traces to scores, without any model."""
