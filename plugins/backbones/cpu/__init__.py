"""Fast decoding of LLMs on CPUs."""
