"""How alike two maps are: by the order of their values, and by their structure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter  # type: ignore[import-untyped, unused-ignore]
from scipy.stats import rankdata  # type: ignore[import-untyped, unused-ignore]

# Wang et al. 2004: a Gaussian window of 11 x 11, and what keeps quotients of nearly nothing from counting.
_DEVIATION = 1.5
_REACH = 3.5
_MEANS = 0.01**2
_CONTRASTS = 0.03**2


def rank_correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return Spearman's rank correlation of two maps, from -1 to 1; NaN where one of them is constant."""
    ranks = [rankdata(each.ravel()) for each in (one, other)]
    centered = [each - each.mean() for each in ranks]
    scale = float(np.sqrt((centered[0] ** 2).sum() * (centered[1] ** 2).sum()))
    return float((centered[0] * centered[1]).sum()) / scale if scale else float("nan")


def structural_similarity(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the structural similarity (SSIM) of two maps, up to 1, each brought to the range from 0 to 1 before.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004; the mean over all
    positions, with maps mirrored at their borders. NaN where one of them is constant.
    """
    x, y = (_unit_range(each) for each in (one, other))
    if np.isnan(x).any() or np.isnan(y).any():
        return float("nan")
    mean_x, mean_y = _local_mean(x), _local_mean(y)
    variances = _local_mean(x * x) - mean_x**2 + _local_mean(y * y) - mean_y**2
    covariance = _local_mean(x * y) - mean_x * mean_y
    found = (2 * mean_x * mean_y + _MEANS) * (2 * covariance + _CONTRASTS)
    found /= (mean_x**2 + mean_y**2 + _MEANS) * (variances + _CONTRASTS)
    return float(found.mean())


def _unit_range(values: NDArray[Any]) -> NDArray[np.float64]:
    array = values.astype(np.float64)
    width = array.max() - array.min()
    return (array - array.min()) / width if width > 0 else np.full_like(array, np.nan)


def _local_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = gaussian_filter(values, _DEVIATION, mode="reflect", truncate=_REACH)
    return found
