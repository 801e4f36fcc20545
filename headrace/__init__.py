"""Headrace: raw data to trained, compared and registered Keras 3 models."""
