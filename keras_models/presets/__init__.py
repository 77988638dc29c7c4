"""Trained weights with their cards: one folder per preset, read by `keras_models.models`."""
