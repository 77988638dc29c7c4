"""Tiny segmentation networks that run on a phone."""

from keras_models.registry import build, names

__all__ = ["build", "names"]
