"""Feature vectors: what a layer makes of each image of a data set, to compare images by."""

from __future__ import annotations

import os
from collections.abc import Generator

from cnnviz_widgets.engine.feature_collector import collect_features
from cnnviz_widgets.engine.feature_table import FeatureTable
from cnnviz_widgets.engine.image_source import ImageSet
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.stream import Step, streamed


@streamed
def extract_features(
    net: Network,
    images: ImageSet,
    layer: LayerKey,
    *,
    pooling: str = "auto",
    thumbnail_size: int = 32,
    predictions: bool = False,
    batch_size: int | None = None,
    on_error: str = "raise",
    checkpoint: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    shards: int | None = None,
    memory_limit: int = 2**30,
    path: str | os.PathLike[str] | None = None,
) -> Generator[Step, None, FeatureTable]:
    """See a data set as a layer does: a vector for each image, with its label and a small picture.

    One pass, which ends at the layer. Images that lie close to each other as vectors are alike to the network:
    `nearest_neighbors` and `embed` show which.

    Parameters
    ----------
    net
        The network.
    images
        A list of images (as in `InputSpec.prepare`) or of (image, label), a torch ``Dataset`` of these such as
        torchvision's ``ImageFolder``, a list of paths, a generator, an array uint8 N x H x W (x 3) or a tensor
        N x C x H x W with values in [0, 1]; or such an array in a pair with its labels. A label is the number
        of a class, or its name.
    layer
        Its name, or ``(name, call)`` for one call of a layer that is called more than once. A late fully
        connected layer is the usual choice.
    pooling
        What becomes of maps [C, H, W]: ``"mean"`` takes the mean of each channel over its positions (D = C),
        ``"flatten"`` all values (D = C H W). ``"auto"`` is the mean for maps; vectors stay as they are.
    thumbnail_size
        The longer side of the thumbnails in pixels; they are the images as the network saw them, shrunk but
        never enlarged. 0 for none.
    predictions
        Also run on to the output, and note the most probable class of each image and its probability.
    batch_size
        Images in one pass; chosen for the memory it takes if left out.
    on_error
        ``"raise"``, or ``"skip"`` for images that can't be read, which are then counted and named.
    checkpoint
        A file to keep what was found so far, first after two seconds, then every 20: the same call goes on from it
        after a stop, an error or a kill, also with the files in ``path``, and ends in the same table, up to the
        rounding of the forward pass. It is refused where the network, the options, the labels or the data set
        changed (what is compared of that: `cnnviz_widgets.engine.scan.ScanOptions`).
    jobs, shards
        How many workers of joblib share the images, in how many parts: see
        `cnnviz_widgets.engine.scan.ScanOptions`. The table is in the order of the data set whatever they are,
        and the same up to the rounding of the forward pass (which differs with the size of a batch).
    memory_limit
        Bytes of vectors and thumbnails that are held in memory. Beyond, they go to a file, and are mapped
        from there (`numpy.memmap`): memory stays bounded, whatever the length of the data set.
    path
        A folder to write ``vectors.npy`` and ``thumbnails.npy`` to from the beginning. If they are there already,
        they are replaced only where ``checkpoint`` tells that they are of this very scan. Left out: a nameless
        temporary file (beyond ``memory_limit``), which goes with the table.

    Returns
    -------
    FeatureTable
        It can be saved and read back as any result.

    Raises
    ------
    LayerNotFoundError
        No such layer (with the nearest names), or one that is never called.
    AmbiguousLayerError
        A bare name of a layer that is called more than once.
    OutputError
        A layer that returns no numbers by image, or other numbers of values for images of other sizes (use
        ``pooling="mean"``); with ``predictions=True`` no class scores, or NaN or infinity among them.
    InputError
        No images, one that can't be used (named by its path or place), labels below -1, beyond the data set's
        ``classes`` (said before the scan where it lists them) or of several kinds; files in ``path`` already.
    CheckpointError
        A checkpoint that can't be read, or that of another network, data set or labels, or of other options.
    InputTypeError
        Something that is not an image, or a label that is neither a number nor text.
    ValueError
        A value that an option can't have.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> images, labels = cv.samples.fashion_mnist("test")
    >>> table = cv.extract_features(cv.samples.fashion_cnn(), (images[:200], labels[:200]), "fc1")
    >>> table
    FeatureTable(200 images x 48 of layer 'fc1', 10 classes)
    """
    return (
        yield from collect_features(
            net,
            images,
            layer,
            pooling=pooling,
            thumbnail_size=thumbnail_size,
            predictions=predictions,
            batch_size=batch_size,
            on_error=on_error,
            checkpoint=checkpoint,
            jobs=jobs,
            shards=shards,
            memory_limit=memory_limit,
            path=path,
        )
    )
