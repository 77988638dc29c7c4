"""Photos and masks: datasets, augmentation, the tf.data pipeline and the built-in drawings."""

from keras_models.data.augment import Augmentation
from keras_models.data.datasets import (
    Dataset,
    calibration_images,
    dataset_names,
    inverted_note,
    kind_of,
    load,
    register,
    require_foreground,
)
from keras_models.data.images import prepare_image, prepare_mask, read_image

__all__ = [
    "Augmentation",
    "Dataset",
    "calibration_images",
    "dataset_names",
    "inverted_note",
    "kind_of",
    "load",
    "prepare_image",
    "prepare_mask",
    "read_image",
    "register",
    "require_foreground",
]
