"""How many live conversations a system holds at once: latencies, playback underruns and lateness over the number of sessions."""
