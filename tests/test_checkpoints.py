"""Import of PyTorch checkpoints; the files are written here byte by byte, without PyTorch."""

import collections
import dataclasses
import io
import os
import pickle
import struct
import sys
import types
import zipfile

import keras
import numpy as np
import pytest
from keras import ops

from keras_models import blocks, build, checkpoints, models, pytorch, registry
from keras_models.command import UserError
from tests.shared import SHARED, needs_shared

STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage", "int64": "LongStorage"}


class Storage:
    def __init__(self, array):
        self.array = np.ascontiguousarray(array).ravel()
        self.key = str(id(self.array))


class View:
    """A tensor as PyTorch pickles it: a storage, and offset, shape and strides in values."""

    def __init__(self, storage, offset, shape, strides):
        self.arguments = storage, offset, shape, strides


class TorchPickler(pickle.Pickler):
    """Pickles numpy arrays as PyTorch pickles tensors. It needs stand-ins for PyTorch's names only while it writes."""

    def __init__(self, file, view_metadata):
        super().__init__(file, protocol=2)
        self.view_metadata, self.storages = view_metadata, {}

    def persistent_id(self, value):
        if not isinstance(value, Storage):
            return None
        self.storages[value.key] = value.array
        kind = getattr(sys.modules["torch"], STORAGES[value.array.dtype.name])
        return ("storage", kind, value.key, "cuda:0", value.array.size, *self.view_metadata)

    def reducer_override(self, value):
        if isinstance(value, np.ndarray):
            strides = tuple(stride // value.itemsize for stride in np.ascontiguousarray(value).strides)
            value = View(Storage(value), 0, value.shape, strides if value.ndim else ())
        if isinstance(value, View):
            rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
            return rebuild, (*value.arguments, False, collections.OrderedDict())
        return NotImplemented


@pytest.fixture(autouse=True)
def torch_names(monkeypatch):
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2():
        raise AssertionError("only its name is written")

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


def old_format(value) -> bytes:
    file = io.BytesIO()
    pickle.dump(pytorch.MAGIC_NUMBER, file, protocol=2)
    pickle.dump(1001, file, protocol=2)
    pickle.dump({"protocol_version": 1001, "little_endian": True, "type_sizes": {}}, file, protocol=2)
    pickler = TorchPickler(file, view_metadata=(None,))
    pickler.dump(value)
    pickle.dump(sorted(pickler.storages), file, protocol=2)
    for key in sorted(pickler.storages):
        file.write(struct.pack("<q", pickler.storages[key].size) + pickler.storages[key].tobytes())
    return file.getvalue()


def zip_format(value) -> bytes:
    pickled, file = io.BytesIO(), io.BytesIO()
    pickler = TorchPickler(pickled, view_metadata=())
    pickler.dump(value)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data.pkl", pickled.getvalue())
        archive.writestr("model/byteorder", "little")
        for key, array in pickler.storages.items():
            archive.writestr(f"model/data/{key}", array.tobytes())
        archive.writestr("model/version", "3\n")
    return file.getvalue()


both_formats = pytest.mark.parametrize("form", [old_format, zip_format])


@pytest.fixture
def write(tmp_path):
    def write(content: bytes):
        path = tmp_path / "weights.pth"
        path.write_bytes(content)
        return path

    return write


@both_formats
def test_tensors_are_read_as_they_were_written(write, form):
    table = collections.OrderedDict(
        weight=np.arange(24, dtype="float32").reshape(2, 3, 4),
        double=np.array([np.pi, -0.0]),
        count=np.array(7),
        nothing=np.zeros((0, 3), "float32"),
    )
    found = pytorch.read(write(form(table)))
    assert list(found) == list(table)
    for name, tensor in table.items():
        assert found[name].dtype == tensor.dtype
        np.testing.assert_array_equal(found[name], tensor)


@both_formats
def test_views_of_one_storage(write, form):
    storage = Storage(np.arange(12, dtype="float32"))
    table = {"transposed": View(storage, 0, (4, 3), (1, 4)), "part": View(storage, 5, (2, 2), (4, 1))}
    found = pytorch.read(write(form(table)))
    np.testing.assert_array_equal(found["transposed"], np.arange(12).reshape(3, 4).T)
    np.testing.assert_array_equal(found["part"], [[5, 6], [9, 10]])


@both_formats
def test_training_checkpoints_and_data_parallel_names(write, form):
    weight = np.ones(3, "float32")
    content = {"epoch": 3, "state_dict": {"module.a": weight, "module.b": weight}, "optimizer": {"lr": [0.1, weight]}}
    assert list(pytorch.read(write(form(content)))) == ["a", "b"]


class Command:
    """Unpickles as a call of os.system."""

    def __init__(self, text):
        self.text = text

    def __reduce__(self):
        return os.system, (self.text,)


@both_formats
def test_a_pickle_that_runs_a_command_is_refused(write, form, tmp_path):
    content = form({"weight": np.ones(3, "float32"), "extra": Command(f"touch {tmp_path}/executed")})
    with pytest.raises(UserError, match=r"refused.*asks for posix\.system"):
        pytorch.read(write(content))
    assert not (tmp_path / "executed").exists()
    pickle.loads(pickle.dumps(Command(f"touch {tmp_path}/executed")))
    assert (tmp_path / "executed").exists(), "the command would have run"


@pytest.mark.parametrize(
    "name", ["builtins eval", "torch load", "numpy.core.multiarray _reconstruct", "torch.nn Module"]
)
def test_only_tensors_may_be_named(write, name):
    module, attribute = name.split()
    prefix = io.BytesIO()
    for value in (pytorch.MAGIC_NUMBER, 1001, {"little_endian": True}):
        pickle.dump(value, prefix, protocol=2)
    content = prefix.getvalue() + b"\x80\x02c" + f"{module}\n{attribute}\n".encode() + b"."
    with pytest.raises(UserError, match=rf"asks for {module}\.{attribute}"):
        pytorch.read(write(content))


@both_formats
def test_a_file_cut_short_anywhere_is_refused(write, form):
    content = form({"a": np.arange(50, dtype="float32"), "b": np.ones((2, 2), "float32")})
    for size in range(0, len(content), 7):
        with pytest.raises(UserError, match=r"weights\.pth"):
            pytorch.read(write(content[:size]))


@pytest.mark.parametrize(
    "content",
    [b"", b"weights", b"\x89PNG\r\n\x1a\n" + bytes(100), pickle.dumps({"a": 1}), b"PK\x05\x06" + bytes(18)],
    ids=["empty", "text", "picture", "pickle", "empty zip"],
)
def test_other_files_are_refused(write, content):
    with pytest.raises(UserError, match="not a PyTorch checkpoint"):
        pytorch.read(write(content))


@both_formats
def test_tables_without_weights_are_refused(write, form):
    with pytest.raises(UserError, match="no table of weights but a list"):
        pytorch.read(write(form([1, 2])))
    with pytest.raises(UserError, match="holds no tensors"):
        pytorch.read(write(form({"epoch": 3})))


@both_formats
@pytest.mark.parametrize("view", [(10, (3,), (1,)), (0, (4, 4), (4, 1)), (-1, (2,), (1,)), (0, (1000, 1000), (0, 0))])
def test_a_tensor_that_reaches_past_its_storage_is_refused(write, form, view):
    content = form({"a": View(Storage(np.ones(12, "float32")), *view)})
    with pytest.raises(UserError, match="past its storage"):
        pytorch.read(write(content))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.pth: No such file"):
        pytorch.read(tmp_path / "none.pth")
    with pytest.raises(UserError, match="Is a directory"):
        pytorch.read(tmp_path)


@pytest.fixture(scope="module")
def authors():
    """Random weights of ExtremeC3Net under the authors' names and in their order."""
    random = np.random.default_rng(0)
    model = build("extremec3")
    tensors = {}
    for module, layer in registry.network("extremec3").published().layers.items():
        layer = model.get_layer(layer)
        names = pytorch.PARAMETERS[type(layer).__name__]
        for name, weight in zip(names, layer.weights, strict=False):
            value = random.uniform(0.3, 1, weight.shape) if "var" in name else random.normal(0, 0.5, weight.shape)
            if "Depthwise" in type(layer).__name__:
                value = value.transpose(2, 3, 0, 1)
            elif value.ndim == 4:
                value = value.transpose(3, 2, 0, 1)
            tensors[f"{module}.{name}"] = value.reshape(-1) if value.ndim == 3 else value
    return {name: tensor.astype("float32") for name, tensor in tensors.items()}


def test_every_weight_of_the_network_is_imported_once(authors):
    published = registry.network("extremec3").published()
    layers = [layer.name for layer in build("extremec3").layers if layer.weights]
    assert sorted(published.layers.values()) == sorted(layers)
    assert len(authors) == 405


def test_pocketnet_l_takes_all_of_its_encoder_from_imagenets_weights():
    classifier, model = build("efficientnet_lite0_imagenet"), build("pocketnet_l", input_size=(64, 64))
    published = registry.network("efficientnet_lite0_imagenet").published()
    assert sorted(published.layers.values()) == sorted(layer.name for layer in classifier.layers if layer.weights)
    line = models.transfer(classifier, model)
    anew = line.partition("anew: ")[2]
    assert "72 of 93 layers" in line and "stem" not in anew and "block" not in anew
    for name in ("stem", "block4_depthwise", "block12_project_bn"):
        for ours, theirs in zip(model.get_layer(name).weights, classifier.get_layer(name).weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def after_normalisation(model):
    return keras.Model(model.get_layer("normalise").output, model.output)


def test_the_authors_image_is_moved_into_the_weights_exactly(write, authors, monkeypatch):
    """The imported network on RGB is the authors' on BGR / 255, whatever the weights."""
    path = write(old_format(authors))
    imported = after_normalisation(pytorch.load("extremec3", path))
    as_published = dataclasses.replace(registry.network("extremec3").published(), image_channels={})
    row = dataclasses.replace(registry.network("extremec3"), published=lambda: as_published)
    monkeypatch.setitem(registry._networks, "extremec3", row)
    theirs = after_normalisation(pytorch.load("extremec3", path))
    image = np.random.default_rng(1).normal(size=(1, 224, 224, 3)).astype("float32")
    expected, unmoved = (ops.convert_to_numpy(theirs(x)) for x in (image[..., ::-1] / 255, image))
    found = ops.convert_to_numpy(imported(image))
    scale = np.abs(expected).max()
    assert np.abs(found - expected).max() < 1e-4 * scale
    # Without the move the outputs differ, so the comparison can tell.
    assert np.abs(unmoved - expected).max() > 1e-2 * scale


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("classifier.2.weight"), r"1 missing \(first: classifier\.2\.weight\)"),
        (lambda t: t.update(extra=np.ones(2, "float32")), r"1 left over \(first: extra\)"),
        (
            lambda t: t.update({"classifier.2.weight": np.ones((2, 24, 1, 1), "float32")}),
            r"classifier\.2\.weight has the shape \(2, 24, 1, 1\), which does not fit the layer head",
        ),
        (lambda t: t.update({"classifier.2.weight": np.ones(24, "float32")}), r"the shape \(24,\)"),
    ],
    ids=["missing", "left over", "two classes", "other rank"],
)
def test_another_networks_tensors_are_refused(write, authors, change, message, tmp_path):
    tensors = dict(authors)
    change(tensors)
    output = tmp_path / "out.keras"
    output.write_text("before")
    with pytest.raises(UserError, match=message):
        checkpoints.main(["extremec3", str(write(zip_format(tensors))), "-o", str(output)])
    assert output.read_text() == "before"


def test_batch_counters_are_not_weights(write, authors):
    counters = {"encoder.b1.bn.num_batches_tracked": np.array(9)}
    pytorch.load("extremec3", write(old_format(authors | counters)))


def test_the_command_writes_a_model_that_loads(write, authors, tmp_path, capsys):
    output = tmp_path / "out.keras"
    checkpoints.main(["extremec3", str(write(zip_format(authors))), "-o", str(output)])
    assert "405 tensors" in capsys.readouterr().out
    head = ops.convert_to_numpy(keras.saving.load_model(output).get_layer("head").kernel)
    np.testing.assert_array_equal(head[0, 0, :, 0], authors["classifier.2.weight"][0, :, 0, 0])
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".keras"] == ["out.keras"]


def test_mistakes_are_named_before_the_work(tmp_path):
    with pytest.raises(UserError, match=r"must end in \.keras"):
        checkpoints.main(["extremec3", "x.pth", "-o", str(tmp_path / "out.h5")])
    with pytest.raises(UserError, match=r"Known: .*extremec3"):
        pytorch.load("resnet", "x.pth")
    with pytest.raises(UserError, match="No published weights are known for 'resnet'"):
        checkpoints.main(["resnet", "x.pth", "-o", "out.keras"])


PORTRAIT = (blocks.PORTRAIT_MEAN, blocks.PORTRAIT_STD)
CITYSCAPES = (blocks.CITYSCAPES_MEAN, blocks.CITYSCAPES_STD)


@needs_shared
@pytest.mark.parametrize(
    ("network", "name", "statistics"),
    [
        ("extremec3", "extremec3_eg1800", PORTRAIT),
        ("sinet", "sinet_eg1800", PORTRAIT),
        ("ccc2", "c3net_ccc2_cityscapes", CITYSCAPES),
        ("c3netv2", "c3netv2_cityscapes", CITYSCAPES),
    ],
)
def test_the_published_weights_give_the_published_logits(network, name, statistics):
    vectors = np.load(SHARED / f"reference/vectors/{name}.npz")
    size = vectors["input"].shape[:2]
    model = pytorch.load(network, SHARED / f"reference/weights/{name}.pth", input_size=size)
    # The vectors' input is normalised BGR / 255.
    mean, std = statistics
    image = vectors["input"][..., ::-1].astype("float64") * 255 * std + mean
    logits = ops.convert_to_numpy(model(image[None].astype("float32")))[0]
    assert np.abs(vectors["logits"]).max() > 1
    assert np.abs(logits - vectors["logits"]).max() < 1e-4


@needs_shared
def test_sinet_for_cityscapes_takes_every_tensor_of_its_checkpoint():
    model = pytorch.load("sinet_cityscapes", SHARED / "reference/weights/sinet_cityscapes.pth", input_size=(128, 256))
    logits = ops.convert_to_numpy(model(np.random.default_rng(0).uniform(0, 255, (1, 128, 256, 3)).astype("float32")))
    # There are no vectors for it; trained weights in the right places are sure of what they see, noise included.
    assert np.isfinite(logits).all()
    assert len(np.unique(logits.argmax(-1))) > 1


@needs_shared
@pytest.mark.parametrize("name", ["sinet_eg1800", "c3netv2_cityscapes", "c3net_ccc2_cityscapes", "sinet_cityscapes"])
def test_all_published_checkpoints_are_read(name):
    tensors = pytorch.read(SHARED / f"reference/weights/{name}.pth")
    assert len(tensors) > 300
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())
    with pytest.raises(UserError, match="is not the authors' extremec3"):
        pytorch.load("extremec3", SHARED / f"reference/weights/{name}.pth")
