"""The frozen encoder's inference form: batch norms, ReLUs and sums are in the convolutions."""

from __future__ import annotations

import copy
import operator
import warnings
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import fx, nn

from invad_fast.encoder import Encoder
from invad_fast.errors import InputWarning, first_line
from invad_fast.inference.convolution import FoldedConv, Target
from invad_fast.inference.folding import with_batch_norm

M = TypeVar("M", bound=nn.Module)


def fold_encoder(encoder: Encoder, target: Target) -> Encoder:
    """A copy that computes the same.

    timm's network is traced; in its graph, every chain of convolution, batch norm, sum and ReLU
    becomes one step. What does not match stays as it is; so does a network that cannot be traced,
    which is said.
    """
    folded = copy.deepcopy(encoder)
    net = folded.net
    try:
        net = fx.symbolic_trace(net)
    except Exception as error:  # whatever code raises that expects numbers
        warnings.warn(
            "the encoder runs as timm wrote it, correct but not sped up: its code cannot be traced "
            f"({first_line(error)})",
            InputWarning,
            stacklevel=2,
        )
    if isinstance(net, fx.GraphModule):
        net = _Folding(net, target).result()
    for module in net.children():
        if not isinstance(module, FoldedConv):
            module.to(target.device, target.dtype)
            for parameter in module.parameters():
                parameter.data = target.weight(parameter.data)
    folded.net = net
    return folded


class _Folding:
    """Rewrites a traced network's graph, pattern by pattern."""

    def __init__(self, traced: fx.GraphModule, target: Target) -> None:
        self.traced, self.target = traced, target
        for module in traced.modules():
            # A convolution moves behind a sum: nothing may overwrite its input in between.
            if getattr(module, "inplace", False):
                module.inplace = False  # type: ignore[assignment]

    def result(self) -> fx.GraphModule:
        for node, _ in self._calls(nn.Identity):
            self._remove(node, node.args[0])
        for node, conv in self._calls(nn.Conv2d):
            self._fold_convolution(node, conv)
        for node, _ in self._calls(nn.ReLU):
            self._fold_relu(node)
        self.traced.graph.lint()
        self.traced.delete_all_unused_submodules()
        self.traced.recompile()
        return self.traced

    def _module(self, node: Any) -> nn.Module | None:
        called = isinstance(node, fx.Node) and node.op == "call_module"
        return self.traced.get_submodule(str(node.target)) if called else None

    def _calls(self, kind: type[M]) -> Iterator[tuple[fx.Node, M]]:
        """Nodes that call a module of exactly this kind."""
        for node in list(self.traced.graph.nodes):
            module = self._module(node)
            if type(module) is kind:
                yield node, module

    def _remove(self, node: fx.Node, instead: Any) -> None:
        node.replace_all_uses_with(instead)
        self.traced.graph.erase_node(node)

    def _fold_convolution(self, node: fx.Node, conv: nn.Conv2d) -> None:
        if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
            return
        weight, bias = conv.weight.double(), conv.bias
        users = list(node.users)
        norm = self._module(users[0]) if len(users) == 1 else None
        if type(norm) is nn.BatchNorm2d and norm.running_var is not None:
            weight, bias = with_batch_norm(weight, bias, norm)
            self._remove(users[0], node)
        form = {name: getattr(conv, name) for name in ("stride", "padding", "dilation", "groups")}
        # A name of its own: a module that is called twice keeps its other call.
        name = f"folded_{node.name}"
        self.traced.add_module(name, FoldedConv(weight, bias, self.target, **form))
        node.target = name

    def _fold_relu(self, relu: fx.Node) -> None:
        """relu(conv(x)) and relu(conv(x) + y) become one call of the convolution."""
        total = relu.args[0]
        if self._absorb(total, None, relu):
            return
        if not isinstance(total, fx.Node) or len(total.users) > 1 or total.kwargs:
            return
        if total.target in (operator.add, torch.add) and len(total.args) == 2:
            one, other = total.args
            _ = self._absorb(one, other, relu) or self._absorb(other, one, relu)

    def _absorb(self, node: Any, plus: Any, relu: fx.Node) -> bool:
        """Puts ``node`` in the place of ``relu``, if it is a convolution for that sum alone."""
        conv = self._module(node)
        if not isinstance(conv, FoldedConv) or len(node.users) > 1:
            return False
        conv.slope = 0.0
        total = relu.all_input_nodes[0]  # the sum, or the convolution itself
        with self.traced.graph.inserting_before(relu):
            arguments = node.args if plus is None else (*node.args, plus)
            merged = self.traced.graph.call_module(node.target, arguments)
        self._remove(relu, merged)
        for done in dict.fromkeys((total, node)):
            self.traced.graph.erase_node(done)
        return True
