"""Tiny segmentation networks that run on a phone.

Importing this package builds nothing, but makes its layers known to Keras, so that `keras.saving.load_model` reads its
`.keras` files.
"""

from keras_models import blocks as _blocks  # noqa: F401  (registers the layers)
from keras_models.registry import build, names

__all__ = ["build", "names"]
