"""A network trained on ImageNet, small enough to ship."""

from __future__ import annotations

import torch

from cnnviz_widgets.engine.inputs import InputSpec
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.samples._files import DATA, read_weights


def squeezenet() -> Network:
    """Return SqueezeNet 1.1, which tells 1,000 kinds of things apart in photographs. Needs no download.

    torchvision's ``squeezenet1_1`` with the weights of the authors' own release (Iandola et al., 2016,
    arXiv:1602.07360; 58 % top-1 on ImageNet), stored as float16 and run as float32. Layers are named
    ``features.0`` to ``features.12``, with eight fire modules among them, and ``classifier.1``.

    Two traits to know: a ReLU follows the last convolution, so class scores are never negative and their
    gradient can be exactly zero; and there is no fully connected layer (`fashion_cnn` has two).

    Returns
    -------
    Network
        With ImageNet's labels; images are resized to 256 on the short side and cropped to 224.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> net = cv.samples.squeezenet()
    >>> print(net.predict(cv.samples.photo("chelsea"), k=3))
     45.4%  Egyptian cat
     30.4%  tiger cat
     23.0%  tabby
    """
    # Takes seconds, and no other sample needs it.
    from torchvision import models  # type: ignore[import-untyped, unused-ignore]

    # On the meta device no first weights are drawn: quicker, and the global random state stays as it is.
    with torch.device("meta"):
        module = models.squeezenet1_1(weights=None)
    module.load_state_dict(read_weights(DATA / "squeezenet1_1_imagenet_fp16.npz"), assign=True)
    spec = InputSpec(size=224, resize=256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    labels = models.SqueezeNet1_1_Weights.IMAGENET1K_V1.meta["categories"]
    return Network(module.eval(), input=spec, labels=labels)
