"""Training of the reference model: texts, rendered speech, shards, stages."""
