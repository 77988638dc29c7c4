"""A network as a short list of operations, between Keras and TensorFlow's converter.

`read` makes it of a Keras model, `rewrite.rewrite` changes it into operations that int8 kernels like, and
`to_tensorflow` gives it to the converter. Keras and TensorFlow are imported when they are needed.
"""

from tflite.graph.emitter import emit, peaks, run, to_tensorflow
from tflite.graph.reader import read
from tflite.graph.representation import NO_PADDING, Graph, Node

__all__ = ["NO_PADDING", "Graph", "Node", "emit", "peaks", "read", "run", "to_tensorflow"]
