"""How many live conversations a system holds at once: latencies, gaps and lateness over the number of sessions."""
