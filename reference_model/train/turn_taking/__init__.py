"""Training of the state head and of the prompt embeddings."""
