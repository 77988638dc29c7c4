"""Tiny segmentation networks that run on a phone.

```python
import keras_models as km
model = km.build("extremec3", classes=3, input_size=320, weights="extremec3-eg1800")
model.compile("adamw", km.losses.CrossEntropyIoU(), metrics=[km.metrics.ForegroundIoU()])
km.fit(model, train=my_dataset, val=my_other, recipe="pocket", output="runs/mine")
```

`@km.register` enters a network of your own, `km.data.register` a dataset. Nothing is imported, Keras above all, before
it is used. Where Keras is there already, its `load_model` learns the layers of this package; `km.load` knows them.
"""

import importlib
import sys

_HOME = {
    "build": "registry",
    "names": "registry",
    "register": "registry",
    "load": "models",
    "fit": "training.loop",
}
_MODULES = ("blocks", "complexity", "data", "losses", "metrics", "models", "pictures", "registry", "training")

__all__ = [*_HOME, *_MODULES]


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(f"keras_models.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"keras_models.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


if "keras" in sys.modules:
    importlib.import_module("keras_models.layers")
