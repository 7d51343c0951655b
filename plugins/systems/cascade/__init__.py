"""The cascade: speech recognizer, frozen LLM and TTS voice in a row."""
