"""MediaPipe's selfie segmenter as a process of its own, for `benchmarks.peers`: its package needs an older numpy.

Needs mediapipe 0.10, whose wheel holds both models, and nothing of this project. Reads lines `MODEL FRAME.npy`
from standard input, MODEL 0 (general) or 1 (landscape), FRAME RGB uint8 (height, width, 3); writes the person's
probability beside the frame, float32 (height, width) in FRAME.mask.npy, and prints the milliseconds that it took.
"""

import sys
import time

import mediapipe
import numpy as np

segmenters = {
    number: mediapipe.solutions.selfie_segmentation.SelfieSegmentation(model_selection=number) for number in (0, 1)
}
print(f"ready {mediapipe.__version__}", flush=True)
for line in sys.stdin:
    number, _, path = line.strip().partition(" ")
    frame = np.load(path)
    started = time.perf_counter()
    mask = segmenters[int(number)].process(frame).segmentation_mask
    elapsed = (time.perf_counter() - started) * 1000
    np.save(path.removesuffix(".npy") + ".mask.npy", np.asarray(mask, np.float32))
    print(elapsed, flush=True)
