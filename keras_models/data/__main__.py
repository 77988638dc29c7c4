"""What is done with photos and masks before a network sees them: `python -m keras_models.data VERB ...`."""

from __future__ import annotations

from keras_models import command

VERBS = {  # each is a module here with a `main(argv)`, imported only when it is asked for
    "check": "look at a dataset before training on it",
    "info": "where a published set comes from, its licence and its layout",
    "pack": "write a dataset into a few files that are read at the disk's speed",
    "generate": "portraits out of photos and masks of whole people",
    "backdrops": "plain and defocused backgrounds, for people to be pasted onto",
    "preview": "what a network would be shown, after augmentation",
    "label": "masks for photos that have none, drawn by a heavier network",
    "review": "look through photos and masks in a browser: keep, discard, mend",
    "annotate": "enter attributes of the people in photos, on the same page",
    "attributes": "what the photos of each split show: light, size, people, crop, annotations",
}


def main(argv: list[str] | None = None) -> int:
    """The command: the verb and what its module's `main` gets. UserError for a verb that does not exist."""
    verbs = {name: (f"keras_models.data.{name}", what) for name, what in VERBS.items()}
    example = "python -m keras_models.data check photos      # VERB --help says more"
    return command.dispatch(verbs, argv, program="python -m keras_models.data", description=__doc__, example=example)


if __name__ == "__main__":
    command.run(main)
