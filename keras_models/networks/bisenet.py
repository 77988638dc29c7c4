"""BiSeNet (Yu et al., 2018): a spatial path beside a context path, with ResNet-18 as PortraitNet's authors compare it.

"BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation", arXiv:1808.00897.
"""

from keras_models import blocks
from keras_models.layers import Idle
from keras_models.networks.resnet import RESNET_18, basic, resnet
from keras_models.registry import register
from keras_models.training import methods

SPATIAL = (64, 128, 256)


@register(
    parameters=12_409_664,
    macs=2_312_638_468,
    input_size=(224, 224),
    classes=2,
    multiple=32,
    paper="ExtremeC3Net",
    reason="514,542 of the published parameters are of modules that no image meets, ResNet-18's classifier above all",
    recipes=methods.AS_PORTRAITNET,
)
def bisenet(image, classes):
    """Spatial detail at 1/8, context from two stages of ResNet-18, fused (figure 2)."""
    x = blocks.normalise(image, blocks.IMAGENET_MEAN, blocks.IMAGENET_STD)
    spatial = x
    for i, width in enumerate(SPATIAL, start=1):
        spatial = blocks.conv_bn_relu(spatial, width, strides=2, use_bias=True, name=f"spatial{i}")

    *_, context_16, context_32 = resnet(x, RESNET_18, basic)
    tail = blocks.global_pool(context_32, name="tail")
    context_16 = _refine(context_16, name="refine16")
    context_32 = blocks.multiply([_refine(context_32, name="refine32"), tail], name="tail_scale")
    context_16 = blocks.bilinear_half_pixel(context_16, 2, name="context16_up")
    context_32 = blocks.bilinear_half_pixel(context_32, 4, name="context32_up")

    x = blocks.concat([spatial, context_16, context_32], name="fuse_concat")
    x = blocks.conv_bn_relu(x, classes, use_bias=True, name="fuse")
    y = blocks.global_pool(x, name="fuse_pool")
    y = blocks.relu(blocks.pointwise(y, classes, use_bias=True, name="fuse_attention"), name="fuse_attention_relu")
    y = blocks.multiply([x, blocks.activation(y, "sigmoid", name="fuse_gate")], name="fuse_scale")
    x = blocks.add([x, y], name="fuse_add")

    # ResNet-18's classifier, the normalisation in each refinement and the fusion's second attention convolution.
    unused = ((512, 1000), (1000,), (256,), (256,), (512,), (512,), (classes, classes), (classes,))
    x = Idle(unused, name="unused_of_the_count")(x)
    x = blocks.bilinear_half_pixel(x, 8, name="logits_up")
    return blocks.pointwise(x, classes, use_bias=True, name="head")


def _refine(x, *, name):
    """The attention refinement module."""
    y = blocks.pointwise(
        blocks.global_pool(x, name=f"{name}_pool"), x.shape[-1], use_bias=True, name=f"{name}_attention"
    )
    return blocks.multiply([x, blocks.activation(y, "sigmoid", name=f"{name}_gate")], name=f"{name}_scale")
