"""Networks, photographs and images that ship with the package, so that everything can be tried offline.

Where each file comes from and under which license stands in ``samples/data/PROVENANCE.md``.

>>> import cnnviz_widgets as cv
>>> net = cv.samples.squeezenet()
>>> print(net.predict(cv.samples.photo("coffee"), k=1))
 97.7%  espresso
"""

from __future__ import annotations

from cnnviz_widgets.samples._files import SampleNotFoundError
from cnnviz_widgets.samples.fashion import (
    FASHION_LABELS,
    FASHION_MEAN,
    FASHION_STD,
    FashionCheckpoint,
    FashionCNN,
    fashion_cnn,
    fashion_cnn_checkpoints,
    fashion_cnn_module,
    fashion_input,
)
from cnnviz_widgets.samples.imagenet import squeezenet
from cnnviz_widgets.samples.pictures import fashion_mnist, photo, photo_names

__all__ = [
    "FASHION_LABELS",
    "FASHION_MEAN",
    "FASHION_STD",
    "FashionCNN",
    "FashionCheckpoint",
    "SampleNotFoundError",
    "fashion_cnn",
    "fashion_cnn_checkpoints",
    "fashion_cnn_module",
    "fashion_input",
    "fashion_mnist",
    "photo",
    "photo_names",
    "squeezenet",
]
