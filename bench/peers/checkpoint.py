"""Opens checkpoints of `primer` in Python and computes the same log-probabilities with a small PyTorch model.

    python checkpoint.py                     trains each architecture for some steps with `primer train` and compares
    python checkpoint.py FILE --text TEXT    prints the likeliest next bytes of a checkpoint, from Python alone

`Model` reads the weights under their own names (see `models/src/arch/mod.rs`) and the configuration from the file's
metadata. It knows the dense architectures; the experts of the switch models aren't written here.
"""

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch.nn import functional as F

import common
from run import output

ARCHES = ("vanilla", "gelu", "swish", "reglu", "swiglu", "squared_relu", "transformer_plusplus", "mdha", "sep_conv",
          "primer", "primer_ez", "evolved_transformer", "synthesizer", "synthesizer_squared_relu")
STEPS = 4
TEXT = "pub fn sum(values: &[u64]) -> u64 { values.iter().sum::<u64>() }"
TOLERANCE = 1e-4  # nats

ACTIVATIONS = {
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "swish": F.silu, "swiglu": F.silu, "transformer_plusplus": F.silu, "evolved_transformer": F.silu,
    "squared_relu": lambda x: F.relu(x) ** 2, "primer": lambda x: F.relu(x) ** 2, "primer_ez": lambda x: F.relu(x) ** 2,
    "synthesizer_squared_relu": lambda x: F.relu(x) ** 2,
}


def convolve(x, taps):
    """The causal depthwise convolution: z_t = sum over j of taps_j x_{t-j}."""
    padded = F.pad(x, (0, 0, len(taps) - 1, 0))
    return sum(tap * padded[:, len(taps) - 1 - j:len(padded[0]) - j] for j, tap in enumerate(taps))


class Model:
    """A language model on the weights of a checkpoint."""

    def __init__(self, path):
        with safe_open(path, framework="pt") as file:
            self.config = json.loads(file.metadata()["model"])
            self.weights = {name: file.get_tensor(name) for name in file.keys()
                            if not name.startswith(("adamw.", "adafactor."))}
        self.arch = self.config["arch"]
        self.activation = ACTIVATIONS.get(self.arch, F.relu)

    def norm(self, name, x):
        scale, shift = self.weights[f"{name}.scale"], self.weights.get(f"{name}.shift")
        if shift is None:
            return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * scale
        centred = x - x.mean(-1, keepdim=True)
        # Primer's own norm is this one but for rounding.
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * scale + shift

    def attention(self, name, x, heads):
        w = {key.removeprefix(f"{name}."): value for key, value in self.weights.items() if key.startswith(f"{name}.")}
        names = "qkv" if "taps_q" in w or "wqkv" in w else "kv"
        if self.arch == "sep_conv":
            parts = [convolve(x, w[f"taps_{part}"]) @ w[f"w{part}"] for part in names]
        else:
            joined = x @ w[f"w{names}"]
            if f"taps_{names}" in w:
                joined = convolve(joined, w[f"taps_{names}"])
            parts = joined.chunk(len(names), -1)
        if names == "kv":
            parts = [parts[0] @ w["wq"], *parts]
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in parts)
        scores = q @ k.transpose(2, 3)
        n = scores.shape[-1]
        if "scores" in w:
            scores = scores + w["scores"][:, :n, :n]
        scores = scores.masked_fill(torch.ones(n, n, dtype=torch.bool).triu(1), -math.inf)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2) @ w["wo"]

    def feed_forward(self, name, x):
        w1, b1, w2, b2 = (self.weights[f"{name}.{last}"] for last in ("w1", "b1", "w2", "b2"))
        hidden = x @ w1 + b1
        if len(w2) < hidden.shape[-1]:
            gate, linear = hidden.chunk(2, -1)
            hidden = self.activation(gate) * linear
        else:
            hidden = self.activation(hidden)
        return hidden @ w2 + b2

    def separable(self, name, x):
        return convolve(x, self.weights[f"{name}.taps"]) @ self.weights[f"{name}.w"] + self.weights[f"{name}.b"]

    def block(self, name, x):
        heads = self.config["heads"]
        if self.arch == "evolved_transformer":
            x = x + self.attention(f"{name}.attn1", self.norm(f"{name}.norm1", x), 2 * heads)
            h = self.norm(f"{name}.norm2", x)
            left = F.relu(self.separable(f"{name}.conv.left", h))
            right = self.separable(f"{name}.conv.right", h)
            both = left + F.pad(right, (0, left.shape[-1] - right.shape[-1]))
            x = x + self.separable(f"{name}.conv.join", self.norm(f"{name}.conv.norm", both))
            x = x + self.attention(f"{name}.attn2", self.norm(f"{name}.norm3", x), heads)
            return x + self.feed_forward(f"{name}.ffn", self.norm(f"{name}.norm4", x))
        x = x + self.attention(f"{name}.attn", self.norm(f"{name}.norm1", x), heads)
        if self.arch == "primer":
            return x + self.norm(f"{name}.norm2", self.feed_forward(f"{name}.ffn", x))
        return x + self.feed_forward(f"{name}.ffn", self.norm(f"{name}.norm2", x))

    def logits(self, tokens):
        """Scores `[rows, n, vocab]` of token ids `[rows, n]`."""
        embedding, d = self.weights["embedding"], self.config["d_model"]
        assert self.config["positions"] == "sinusoid" and self.config["projections"] == "fused", self.config
        x = embedding[tokens] * d**0.5 + torch.tensor(common.sinusoid(tokens.shape[1], d))
        for layer in range(self.config["layers"]):
            x = self.block(f"blocks.{layer}", x)
        return self.norm("final_norm", x) @ embedding.T


def trained(program, arches, folder):
    """Trains each architecture for some steps: its name, its run's folder, and what `primer logits` says of TEXT."""
    corpus = Path(folder) / "corpus.txt"
    corpus.write_text("".join(f"{i} sheep jump over the fence\n" for i in range(2000)))
    for arch in arches:
        run = Path(folder) / arch.replace(":", "-").replace("/", "-")
        settings = ["schedule.warmup=0", "eval_every=0"]
        output([program, "train", "--arch", arch, "--size", "nano", "--corpus", str(corpus), "--out", str(run),
                "--steps", str(STEPS), *(word for setting in settings for word in ("--set", setting)),
                "--device", "cpu", "--json"])
        yield arch, run, output([program, "logits", "--checkpoint", str(run), "--text", TEXT, "--device", "cpu", "--json"])


def compare(program):
    """Whether both say the same of every architecture."""
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for arch, run, said in trained(program, ARCHES, folder):
            model = Model(next(run.rglob("step-*.safetensors")))
            with torch.no_grad():
                found = model.logits(torch.tensor([list(TEXT.encode())])).log_softmax(-1)[0].numpy()
            apart = np.abs(found - np.array(said["log_probabilities"])).max()
            good &= bool(apart <= TOLERANCE)
            print(f"{arch:26} log-probabilities within {apart:.1e}: {'ok' if apart <= TOLERANCE else 'DIFFERENT'}")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", help="a checkpoint")
    parser.add_argument("--text", default=TEXT)
    parser.add_argument("--primer", default="target/release/primer", help="path of the program")
    args = parser.parse_args()
    if args.file is None:
        sys.exit(not compare(Path(args.primer).resolve()))
    with torch.no_grad():
        logits = Model(args.file).logits(torch.tensor([list(args.text.encode())]))
    chances = logits[0, -1].softmax(-1).topk(5)
    for chance, byte in zip(chances.values, chances.indices):
        print(f"{chance:.4f} {bytes([int(byte)])!r}")


if __name__ == "__main__":
    main()
