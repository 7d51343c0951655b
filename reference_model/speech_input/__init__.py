"""From audio to input embeddings of the LLM."""
