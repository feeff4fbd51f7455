"""What the Python peers share: sizes, settings, arguments, the timing loop and the line they print.

Sizes and settings are those of `primer bench`: `cli/src/cmd/bench/steps.rs`, `models/src/config.rs`,
`models/src/optim/mod.rs`. `run.py` refuses to compare programs whose parameter counts differ.
"""

import argparse
import json
import math
import random
import resource
import statistics
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """A decoder-only language model and the batch it is trained on."""

    d: int
    layers: int
    heads: int
    ff: int
    seq: int
    batch: int
    vocab: int
    learning_rate: float


SIZES = {
    # `primer bench --size mini`
    "R": Size(d=256, layers=4, heads=8, ff=1024, seq=128, batch=16, vocab=1024, learning_rate=3e-3),
    # `primer bench --size nano`
    "S": Size(d=64, layers=2, heads=4, ff=256, seq=64, batch=16, vocab=256, learning_rate=6e-3),
}

ARCHES = ("vanilla", "primer_ez")
BETA_1, BETA_2, EPSILON, WEIGHT_DECAY, CLIP_NORM = 0.9, 0.98, 1e-9, 0.1, 1.0
NORM_EPSILON = 1e-6
TAPS = (0.5, 1 / 6, 1 / 6)  # start of the depthwise convolutions, the present position first

# Batches made before the clock starts and trained on in turns.
BATCHES = 8
# Untimed steps after the first one.
WARM_UP = 3


def arguments(description, modes=()):
    """The arguments that every peer takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--size", choices=SIZES, default="R")
    parser.add_argument("--arch", choices=ARCHES, default="vanilla")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--blocks", type=int, default=5, help="timed blocks; the median counts")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a block")
    parser.add_argument("--steps", type=int, help="length of a block in steps, instead of --seconds")
    parser.add_argument("--attention", choices=("plain", "library"), default="library",
                        help="matrix products and a softmax, or the library's own attention")
    parser.add_argument("--conv", choices=("shift", "library"), default="shift",
                        help="primer_ez: a sum of shifted products, or the library's own convolution")
    for name, help_text in modes:
        parser.add_argument(name, action="store_true", help=help_text)
    return parser.parse_args()


def sinusoid(seq, d):
    """The position signal, `seq` rows of `d`: sines, then cosines, as `models/src/nn/positions.rs`."""
    half = d // 2
    step = math.log(10_000) / max(half - 1, 1)
    angles = [[t * math.exp(-step * i) for i in range(half)] for t in range(seq)]
    return [[math.sin(a) for a in row] + [math.cos(a) for a in row] for row in angles]


def batches(size):
    """`BATCHES` pairs of random inputs and targets, each `batch` rows of `seq` token ids."""
    draw = random.Random(0)
    rows = [[[draw.randrange(size.vocab) for _ in range(size.seq + 1)] for _ in range(size.batch)]
            for _ in range(BATCHES)]
    return [([row[:-1] for row in batch], [row[1:] for row in batch]) for batch in rows]


def measure(args, step):
    """Times `step`, which trains on the next batch and returns its loss, a number that is computed when it is read.

    The loss is read at the end of a block, as `primer bench` does, so that no work is left undone.
    """
    start = time.perf_counter()
    losses = [float(step())]
    first_step = time.perf_counter() - start

    start = time.perf_counter()
    for _ in range(WARM_UP):
        loss = step()
    losses.append(float(loss))
    # A fixed number of steps, since a library may return before a step is done.
    estimate = (time.perf_counter() - start) / WARM_UP
    steps = args.steps or max(1, round(args.seconds / estimate))

    times = []
    for _ in range(args.blocks):
        start = time.perf_counter()
        for _ in range(steps):
            loss = step()
        losses.append(float(loss))
        times.append((time.perf_counter() - start) / steps)
    return {"first_step_ms": 1e3 * first_step, "block_ms": [1e3 * t for t in times],
            "steps_a_block": steps, "losses": losses}


def report(args, peer, parameters, measured, versions):
    """Prints the one line of JSON."""
    size = SIZES[args.size]
    if not all(math.isfinite(loss) for loss in measured["losses"]):
        sys.exit(f"{peer}: the loss is not finite: {measured['losses']}")
    ms = statistics.median(measured["block_ms"])
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    print(json.dumps({
        "peer": peer, "arch": args.arch, "size": args.size, "threads": args.threads,
        "attention": args.attention, "conv": args.conv if args.arch == "primer_ez" else None,
        "parameters": parameters,
        "ms": ms, "tokens_per_second": 1e3 * size.batch * size.seq / ms,
        "peak_resident_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6,
        **measured, "versions": versions,
    }))
