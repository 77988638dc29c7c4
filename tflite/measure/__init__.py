"""What can be measured of a `.tflite` on this machine: losses, interpreters, dataflow, delegates, times, pages."""
