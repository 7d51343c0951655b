"""A server of live conversations: any system behind the OpenAI Realtime protocol over WebSocket, and a page to talk to it."""
