"""A Graph to the bytes of a `.tflite`: TensorFlow's converter, Google's ai-edge-quantizer, training for either."""
