"""Live inference: sessions over a shared model and a frozen LLM."""
