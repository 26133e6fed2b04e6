"""Which modules can be looked into, and what to do about the others."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from cnnviz_widgets.engine.errors import UnsupportedModuleError


def check_network(net: Any, user: str) -> None:
    """Raise a `TypeError`, with what to do, for what is no `Network`; ``user`` is who needs one."""
    from cnnviz_widgets.engine.network import Network

    if not isinstance(net, Network):
        advice = "wrap it: cv.Network(module)" if isinstance(net, nn.Module) else "it comes first"
        raise TypeError(f"{user} needs a cv.Network, got {type(net).__name__}; {advice}")


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module inside of ``DataParallel`` and its kin."""
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while isinstance(module, wrappers):
        module = cast(nn.Module, module.module)
    return module


def check_supported(module: Any) -> None:
    """Raise `UnsupportedModuleError`, with what to do, for what can't be looked into."""
    if not isinstance(module, nn.Module):
        kind = f"{type(module).__module__}.{type(module).__qualname__}"
        raise UnsupportedModuleError(f"cv.Network takes a torch.nn.Module, got {kind}; {_advice(module)}")
    for name, each in module.named_modules():
        problem = _problem(each)
        if problem:
            where = f"its part {name!r}" if name else "the module"
            raise UnsupportedModuleError(f"{where} ({type(each).__name__}) {problem}")


def _advice(given: Any) -> str:
    if isinstance(given, type) and issubclass(given, nn.Module):
        return f"that is the class: give {given.__name__}(...)"
    if isinstance(given, dict):
        return "if these are weights, build the module and call module.load_state_dict(...)"
    if isinstance(given, torch.export.ExportedProgram):
        return "give the module that was exported, or torch.export.unflatten(program)"
    return "give the module itself"


def _problem(module: nn.Module) -> str | None:
    """Return why one module, its parts aside, can't be looked into."""
    tensors = [each for each in (*module._parameters.values(), *module._buffers.values()) if each is not None]
    if _is_compiled(module):
        return (
            "is compiled, so hooks may not be called; pass the module from before torch.compile "
            "(compiled._orig_mod, or a fresh copy if module.compile() was used)"
        )
    if isinstance(module, torch.jit.ScriptModule):
        return "is scripted or traced by torch.jit; pass the Python module it was made from"
    if _is_exported(module):
        return (
            "is an exported graph, which calls operations and not layers; pass the module that was exported, "
            "or torch.export.unflatten(program)"
        )
    if _is_quantized(module) or any(each.is_quantized or _is_quantized(each) for each in tensors):
        return "is quantized; pass the floating-point module it was made from"
    if any(is_lazy(each) for each in tensors):
        return "has uninitialized weights; run one batch through the module first"
    if any(each.is_meta for each in tensors):
        return "has weights without values (on the device 'meta'); load them first"
    return None


def _is_compiled(module: nn.Module) -> bool:
    return (
        hasattr(module, "_orig_mod")
        or getattr(module, "_compiled_call_impl", None) is not None
        or hasattr(module.forward, "_torchdynamo_orig_callable")
    )


def _is_exported(module: nn.Module) -> bool:
    return isinstance(module, torch.fx.GraphModule) and any(
        isinstance(node.target, torch._ops.OpOverload) for node in module.graph.nodes
    )


def _is_quantized(value: Any) -> bool:
    """Tell by where its class lives: there is no common base."""
    package, *inner = type(value).__module__.split(".")
    # A sum that waits to be quantized, in a module that is not.
    harmless = type(value).__name__ == "FloatFunctional"
    return package == "torchao" or (package == "torch" and "quantized" in inner and not harmless)
