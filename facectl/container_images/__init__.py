"""Container images without a Docker engine: read a base, add layers, send them to a registry."""
