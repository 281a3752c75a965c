"""Mixed precision by hand, in f32: what products and gradients of a torch model see is rounded where a training step rounds it."""

import torch
import transformers
from torch.nn import functional


class Round(torch.autograd.Function):
    """A value rounded, its gradient as it comes."""

    @staticmethod
    def forward(ctx, x, kind):
        return x.to(kind).float()

    @staticmethod
    def backward(ctx, grad):
        return grad, None


class RoundGradient(torch.autograd.Function):
    """A value as it is, its gradient rounded."""

    @staticmethod
    def forward(ctx, x, kind):
        ctx.kind = kind
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad.to(ctx.kind).float(), None


class Kept(torch.autograd.Function):
    """A function whose gradient goes by rounded arguments; parameters stay as they are."""

    @staticmethod
    def forward(ctx, function, kind, rounded, *arguments):
        ctx.function = function
        ctx.save_for_backward(*(x.to(kind).float() if i < rounded else x for i, x in enumerate(arguments)))
        return function(*arguments)

    @staticmethod
    def backward(ctx, grad):
        arguments = [x.detach().requires_grad_() for x in ctx.saved_tensors]
        with torch.enable_grad():
            return (None, None, None, *torch.autograd.grad(ctx.function(*arguments), arguments, grad))


def patch(monkeypatch, kind):
    """Let modules of torch and transformers round to `kind`, torch.bfloat16 or torch.float16."""

    def product(x, weight, bias):
        y = functional.linear(Round.apply(x, kind), Round.apply(weight, kind), bias)
        return RoundGradient.apply(y, kind)

    def activation(module, x):
        return Kept.apply(lambda value: originals[type(module)](module, value), kind, 1, x)

    def norm(module, x):
        return Kept.apply(
            lambda value, *rest: functional.layer_norm(value, x.shape[-1:], *rest, module.eps), kind, 1, x, module.weight, module.bias
        )

    def rms_norm(module, x):
        def function(value, weight):
            return weight * (value * torch.rsqrt(value.pow(2).mean(-1, keepdim=True) + module.variance_epsilon))

        return Kept.apply(function, kind, 1, x, module.weight)

    def gated(module, x):
        gate, up = module.gate_proj(x), module.up_proj(x)
        through = Kept.apply(functional.silu, kind, 1, gate)
        return module.down_proj(Kept.apply(torch.mul, kind, 2, through, up))

    def attention(original):
        def forward(module, query, key, value, *rest, **options):
            output, weights = original(module, *(Round.apply(x, kind) for x in (query, key, value)), *rest, **options)
            return RoundGradient.apply(output, kind), weights

        return forward

    exact_loss = functional.cross_entropy
    monkeypatch.setattr(functional, "cross_entropy", lambda x, *rest, **options: exact_loss(Round.apply(x, kind), *rest, **options))
    activations, models = transformers.activations, transformers.models
    originals = {cls: cls.forward for cls in (activations.GELUActivation, activations.NewGELUActivation)}
    for cls in originals:
        monkeypatch.setattr(cls, "forward", activation)
    embedding = torch.nn.Embedding.forward
    monkeypatch.setattr(torch.nn.Embedding, "forward", lambda module, ids: Round.apply(embedding(module, ids), kind))
    monkeypatch.setattr(torch.nn.Linear, "forward", lambda module, x: product(x, module.weight, module.bias))
    monkeypatch.setattr(transformers.pytorch_utils.Conv1D, "forward", lambda module, x: product(x, module.weight.T, module.bias))
    monkeypatch.setattr(torch.nn.LayerNorm, "forward", norm)
    monkeypatch.setattr(models.llama.modeling_llama.LlamaRMSNorm, "forward", rms_norm)
    monkeypatch.setattr(models.llama.modeling_llama.LlamaMLP, "forward", gated)
    for family in (models.bert.modeling_bert, models.gpt2.modeling_gpt2, models.llama.modeling_llama):
        monkeypatch.setattr(family, "eager_attention_forward", attention(family.eager_attention_forward))
