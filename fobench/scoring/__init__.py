"""From traces to scores, without any model."""
