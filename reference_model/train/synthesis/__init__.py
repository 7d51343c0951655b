"""Synthetic speech: rendering by TTS voices, codec latents, replies of the LLM."""
