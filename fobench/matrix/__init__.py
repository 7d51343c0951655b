"""Several backbones and codecs in one command."""
