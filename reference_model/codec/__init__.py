"""Neural audio codecs: networks and exact streaming."""
