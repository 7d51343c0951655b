"""The frozen LLM as training sees it."""
