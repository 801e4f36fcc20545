"""The local stack: every server that Headrace works with, on this machine, for trying out and for tests."""
