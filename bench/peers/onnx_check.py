"""Exports trained models as ONNX and computes the same logits with onnxruntime.

    python onnx_check.py    trains each architecture for some steps with `primer train`, exports it, and compares

Needs onnx and onnxruntime beside what the other scripts need.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from checkpoint import ARCHES, TOLERANCE, trained

SWITCH = ("switch_transformer", "switch_primer")
HERE = Path(__file__).resolve().parent
# The built-in programs, one with all that these don't use, and what the search has found.
PROGRAMS = ("transformer", "transformer_plusplus", "primer_ez", "primer", "discovered", HERE / "primitives.dna",
            *sorted((HERE.parent.parent / "results").rglob("*.dna")))


def logits(path, tokens, batch):
    """Those of the next token at each position of the last of `batch` sequences, as onnxruntime computes them."""
    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    # The other sequences, and what follows the text, hold something that must not matter.
    rows = np.tile(np.arange(given.shape[0] // batch) % 7, (batch, 1))
    rows[-1, :len(tokens)] = tokens
    (found,) = session.run(["logits"], {given.name: rows.reshape(-1).astype(np.int64)})
    return found[-1, :len(tokens)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--primer", default="target/release/primer", help="path of the program")
    program = Path(parser.parse_args().primer).resolve()
    good = True
    with tempfile.TemporaryDirectory() as folder:
        arches = (*ARCHES, *SWITCH, *(f"dna:{name}" for name in PROGRAMS))
        for number, (arch, run, said) in enumerate(trained(program, arches, folder)):
            # Experts drop tokens by the whole batch, so only a batch of one gives what `primer logits` says.
            batch = 1 if arch in SWITCH else 1 + number % 2
            path = run.with_suffix(".onnx")
            subprocess.run([program, "export", "--checkpoint", run, "--format", "onnx", "--batch", str(batch),
                            "--out", path], check=True, stderr=subprocess.DEVNULL)
            apart = np.abs(logits(path, said["tokens"], batch) - np.array(said["logits"])).max()
            good &= bool(apart <= TOLERANCE)
            print(f"{arch.rsplit('/', 1)[-1]:26} logits within {apart:.1e}: {'ok' if apart <= TOLERANCE else 'DIFFERENT'}",
                  flush=True)
    sys.exit(not good)


if __name__ == "__main__":
    main()
