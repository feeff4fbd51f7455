"""Times a training step of `vanilla` or `primer_ez` in PyTorch on CPU, eager or compiled."""

import itertools
import platform

import torch
from torch import nn
from torch.nn import functional as F

import common


class Attention(nn.Module):
    """Causal self-attention; with `depthwise`, a 3-tap convolution over time after each projection."""

    def __init__(self, size, depthwise, attention, conv):
        super().__init__()
        self.heads, self.attention, self.conv = size.heads, attention, conv
        d, d_head = size.d, size.d // size.heads
        self.wqkv = nn.Linear(d, 3 * d, bias=False)
        self.wo = nn.Linear(d, d, bias=False)
        nn.init.normal_(self.wqkv.weight, std=d**-0.5)
        nn.init.normal_(self.wo.weight, std=d**-0.5)
        with torch.no_grad():
            self.wqkv.weight[:d] *= d_head**-0.5  # in place of a scale at run time
        self.taps_qkv = nn.Parameter(torch.tensor(common.TAPS)[:, None].repeat(1, 3 * d)) if depthwise else None
        self.register_buffer("future", torch.ones(size.seq, size.seq, dtype=torch.bool).triu(1), persistent=False)

    def convolve(self, x):
        """z_t = w_0 x_t + w_1 x_{t-1} + w_2 x_{t-2} for each channel."""
        w = self.taps_qkv
        if self.conv == "library":
            padded = F.pad(x.transpose(1, 2), (2, 0))
            return F.conv1d(padded, w.flip(0).t().unsqueeze(1), groups=w.shape[1]).transpose(1, 2)
        padded = F.pad(x, (0, 0, 2, 0))
        return w[0] * x + w[1] * padded[:, 1:-1] + w[2] * padded[:, :-2]

    def forward(self, x):
        batch, seq, d = x.shape
        qkv = self.wqkv(x)
        if self.taps_qkv is not None:
            qkv = self.convolve(qkv)
        q, k, v = qkv.view(batch, seq, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        if self.attention == "library":
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)
        else:
            scores = (q @ k.transpose(2, 3)).masked_fill(self.future, -1e30)
            mixed = scores.softmax(-1) @ v
        return self.wo(mixed.transpose(1, 2).reshape(batch, seq, d))


class Block(nn.Module):
    """h = x + Attention(LN(x)); h + FFN(LN(h))"""

    def __init__(self, size, arch, attention, conv):
        super().__init__()
        self.squared = arch == "primer_ez"
        self.norm1 = nn.LayerNorm(size.d, eps=common.NORM_EPSILON)
        self.attn = Attention(size, arch == "primer_ez", attention, conv)
        self.norm2 = nn.LayerNorm(size.d, eps=common.NORM_EPSILON)
        self.w1 = nn.Linear(size.d, size.ff)
        self.w2 = nn.Linear(size.ff, size.d)
        for linear in (self.w1, self.w2):
            std = linear.in_features**-0.5
            nn.init.trunc_normal_(linear.weight, std=std, a=-2 * std, b=2 * std)
            nn.init.zeros_(linear.bias)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        hidden = F.relu(self.w1(self.norm2(x)))
        if self.squared:
            hidden = hidden.square()
        return x + self.w2(hidden)


class Model(nn.Module):
    """A decoder-only language model with one embedding for input and output."""

    def __init__(self, size, arch, attention="library", conv="shift"):
        super().__init__()
        self.scale = size.d**0.5
        self.embedding = nn.Parameter(torch.randn(size.vocab, size.d) * size.d**-0.5)
        self.register_buffer("positions", torch.tensor(common.sinusoid(size.seq, size.d)), persistent=False)
        self.blocks = nn.ModuleList(Block(size, arch, attention, conv) for _ in range(size.layers))
        self.final_norm = nn.LayerNorm(size.d, eps=common.NORM_EPSILON)

    def forward(self, tokens):
        x = F.embedding(tokens, self.embedding) * self.scale + self.positions
        for block in self.blocks:
            x = block(x)
        return self.final_norm(x) @ self.embedding.t()

    def loss(self, tokens, targets):
        logits = self(tokens)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def optimizer(model, size):
    """AdamW, with decay on matrices but not on vectors and taps."""
    decays = {True: [], False: []}
    for name, parameter in model.named_parameters():
        decays[parameter.dim() == 2 and not name.endswith("taps_qkv")].append(parameter)
    groups = [{"params": decays[True], "weight_decay": common.WEIGHT_DECAY},
              {"params": decays[False], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=size.learning_rate, betas=(common.BETA_1, common.BETA_2),
                             eps=common.EPSILON, fused=True)


def train(model, adamw, loss_of, tokens, targets):
    """One step; gives the loss before it."""
    loss = loss_of(tokens, targets)
    adamw.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), common.CLIP_NORM)
    adamw.step()
    return loss.detach()


def main():
    args = common.arguments(__doc__, [("--compile", "with torch.compile")])
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    size = common.SIZES[args.size]
    model = Model(size, args.arch, args.attention, args.conv)
    adamw = optimizer(model, size)
    loss_of = torch.compile(model.loss) if args.compile else model.loss
    data = itertools.cycle([(torch.tensor(x), torch.tensor(y)) for x, y in common.batches(size)])

    measured = common.measure(args, lambda: train(model, adamw, loss_of, *next(data)))
    parameters = sum(p.numel() for p in model.parameters())
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    common.report(args, "torch.compile" if args.compile else "torch", parameters, measured, versions)


if __name__ == "__main__":
    main()
