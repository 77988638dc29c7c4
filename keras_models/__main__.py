"""From photos to a phone, in one command: `pocketseg VERB ...`, which is `python -m keras_models VERB ...`."""

from __future__ import annotations

import sys

from keras_models import command

VERBS = {  # name -> (the module whose `main(argv)` it is, imported only when it is asked for; what it does)
    "data": ("keras_models.data.__main__", "check, make and label photos and masks"),
    "train": ("keras_models.train", "train a network into a run folder"),
    "prune": ("keras_models.prune", "make a trained network narrower"),
    "evaluate": ("keras_models.evaluate", "measure a network on labelled photos"),
    "predict": ("keras_models.predict", "segment a photo, a folder, a video or the webcam"),
    "convert": ("tflite.convert", "make a .tflite file, int8 by default"),
    "verify": ("tflite.verify", "compare a .tflite with its float network"),
    "inspect": ("tflite.inspect", "say what a .tflite consists of and what runs it"),
    "benchmark": ("tflite.benchmark", "time a .tflite"),
    "summary": ("keras_models.summary", "parameters and operations beside the papers' figures"),
    "visualise": ("keras_models.visualise", "look inside networks, as the papers draw them"),
    "checkpoints": ("keras_models.checkpoints", "import a network's published PyTorch weights"),
}


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the verb's exit status; UserError for a verb that does not exist."""
    example = "pocketseg train extremec3                  # pocketseg VERB --help says more"
    return command.dispatch(VERBS, argv, program="pocketseg", description=__doc__, example=example)


def script() -> None:
    """What the installed command `pocketseg` calls."""
    command.run(main)


if __name__ == "__main__":
    sys.exit(script())
