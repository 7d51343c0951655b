"""Live servers behind a WebSocket, measured as they are: the OpenAI Realtime protocol and its dialects, and raw audio."""
