"""What is done with photos and masks before a network sees them: `python -m keras_models.data VERB ...`."""

from __future__ import annotations

import importlib
import sys

from keras_models import command
from keras_models.command import UserError

VERBS = {  # each is a module here with a `main(argv)`, imported only when it is asked for
    "check": "look at a dataset before training on it",
    "generate": "portraits out of photos and masks of whole people",
    "label": "masks for photos that have none, drawn by a heavier network",
}


def main(argv: list[str] | None = None) -> int:
    """The command: the verb and what its module's `main` gets. UserError for a verb that does not exist."""
    verb, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if verb in ("-h", "--help"):
        print(f"usage: python -m keras_models.data VERB ...\n\n{__doc__}\n\nverbs:")
        print("\n".join(f"  {name:10s}{what}" for name, what in VERBS.items()))
        print("\nexample:\n  python -m keras_models.data check photos      # VERB --help says more")
        return 0
    if verb not in VERBS:
        raise UserError(f"Unknown verb. Valid names: {', '.join(VERBS)}. Received: {verb!r}")
    return importlib.import_module(f"keras_models.data.{verb}").main(rest) or 0


if __name__ == "__main__":
    command.run(main)
