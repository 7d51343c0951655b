"""Live servers on loopback: one with planted delays, and ours with any system."""
