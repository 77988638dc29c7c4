"""Import a network's published PyTorch weights, without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keras_models import command
from keras_models.command import UserError, option


@dataclass(frozen=True)
class Options:
    """The command's flags."""

    network: str = option(help="the network whose weights these are", positional=True)
    file: str = option(help="the authors' checkpoint (.pth)", positional=True)
    output: str = option(help="the model to write (.keras)", writes=())


def main(argv: list[str] | None = None) -> None:
    """The command; raises UserError for a mistake that the user can mend."""
    options = command.parse(
        Options,
        argv,
        program="python -m keras_models.checkpoints",
        description=__doc__,
        example="python -m keras_models.checkpoints extremec3 ExtremeC3.pth -o extremec3.keras",
    )
    if Path(options.output).suffix != ".keras":
        raise UserError(f"The output must end in .keras. Received: {options.output}")
    command.load_keras()
    from keras_models import pytorch, registry

    model = pytorch.load(options.network, options.file)
    with command.whole_file(options.output) as temporary:
        model.save(temporary)
    if registry.network(options.network).task == "classification":
        following = f"train pocketnet_l --weights {options.output} --recipe pretrained --dataset folder --data-dir DIR"
    else:
        following = f"evaluate {options.output} --dataset eg1800 --data-dir DIR"
    print(
        f"{options.network}: {len(model.weights)} tensors, {model.count_params():,} values -> {options.output}\n"
        f"next: python -m keras_models.{following}"
    )


if __name__ == "__main__":
    command.run(main)
