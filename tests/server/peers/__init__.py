"""Programs that drive the server with official clients, each in an environment of its own (see tests/server/test_peers.py)."""
