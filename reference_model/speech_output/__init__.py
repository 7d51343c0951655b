"""From the LLM's text and hidden states to codec tokens and audio packets."""
