"""Measuring on an Android phone through adb and TFLite's own benchmark_model."""
