"""A cluster of containers on one machine, with a Docker daemon of its own, whose network and nodes can be disturbed."""
