"""Scripted systems whose timing is known exactly: the controls of every metric."""
