"""Everything that makes, checks or runs a .tflite. Import the module you need; this file imports nothing."""
