"""Which window each torch operation gives its result: one table from operation to rule.

The rules speak of ATen, the few hundred operations that everything in torch comes down to, whether it was
written as a module, a function, a method or an operator. An operation without a rule is not guessed at: it
raises `Untraceable`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from cnnviz_widgets.engine import extent_mixing as mixing
from cnnviz_widgets.engine import extent_moves as moves
from cnnviz_widgets.engine import extent_windows as windows
from cnnviz_widgets.engine.extent_memory import Call, Untraceable
from cnnviz_widgets.engine.extents import Planes

Rule: TypeAlias = Callable[[Call], Planes]

_BY_RULE: dict[Rule, str] = {
    moves.same: "clone _to_copy native_dropout log_sigmoid_forward",
    moves.constant: "zeros_like ones_like empty_like full_like rand_like randn_like randint_like "
    "new_zeros new_ones new_empty new_full new_empty_strided zero",
    # Most pointwise operations bear torch's own mark; these do not, in one version of torch or another.
    moves.pointwise: "relu relu6 hardtanh hardswish hardsigmoid leaky_relu elu celu selu gelu silu mish softplus "
    "softshrink hardshrink threshold prelu _prelu_kernel rrelu_with_noise sigmoid tanh clamp "
    "add sub mul div rsub pow abs exp log sqrt rsqrt neg",
    moves.copied: "copy fill",
    moves.chosen: "where masked_fill",
    moves.moved: "index_select index gather take roll flip repeat tril triu pixel_shuffle pixel_unshuffle "
    "channel_shuffle native_channel_shuffle im2col",
    moves.joined: "cat stack",
    windows.convolution: "convolution convolution_overrideable",
    windows.pooling: "max_pool2d_with_indices max_pool2d avg_pool2d max_pool3d_with_indices avg_pool3d",
    windows.adaptive_pooling: "_adaptive_avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d _adaptive_avg_pool3d",
    windows.interpolation: "upsample_nearest2d _upsample_nearest_exact2d upsample_bilinear2d upsample_bicubic2d "
    "_upsample_bilinear2d_aa _upsample_bicubic2d_aa",
    windows.constant_padding: "constant_pad_nd",
    windows.mirrored: "reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d",
    mixing.reduced: "mean sum nansum prod amax amin max min argmax argmin any all var std var_mean std_mean "
    "linalg_vector_norm norm logsumexp median nanmedian count_nonzero",
    mixing.along: "_softmax _log_softmax _safe_softmax sort topk argsort",
    mixing.cumulative: "cumsum cumprod logcumsumexp cummax cummin",
    mixing.batch_norm: "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training "
    "cudnn_batch_norm miopen_batch_norm",
    mixing.layer_norm: "native_layer_norm _fused_rms_norm",
    mixing.group_norm: "native_group_norm",
    mixing.product: "mm bmm addmm baddbmm mv addmv dot linear",
    mixing.attention: "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
    "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention "
    "_scaled_dot_product_fused_attention_overrideable",
    mixing.halves: "glu",
}

_RULES: dict[str, Rule] = {name: rule for rule, names in _BY_RULE.items() for name in names.split()}


def rule_for(function: Any, name: str) -> Rule:
    """Return the rule of an ATen operation, or raise `Untraceable`.

    Parameters
    ----------
    function
        The operation, a `torch._ops.OpOverload`.
    name
        Its name without namespace and overload, such as ``"relu_"``.
    """
    rule = _RULES.get(name) or _RULES.get(name.removesuffix("_")) if function.namespace == "aten" else None
    if rule is None and torch.Tag.pointwise in function.tags:
        rule = moves.pointwise
    if rule is None:
        raise Untraceable(f"no rule for {function}")
    return rule
