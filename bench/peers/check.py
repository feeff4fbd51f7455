"""Checks that the peers compute what `primer` computes.

For each architecture at size S, `primer train` makes two checkpoints, one some steps after the other, on a text of one
repeated letter, so that every batch is known. Then, in each peer:

- the log-probabilities of a text with the later weights are those of `primer logits`;
- the steps between the two, on the earlier weights and moments, lead to the later weights.

The burn program is given no moments: its steps from the later weights, with fresh moments and on random tokens (whose
gradients are large, as a first step of AdamW needs it to be well defined), must lead where PyTorch's do.
"""

import argparse
import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
import torch
from safetensors.numpy import load_file, save_file

import common
import jax_step
import torch_step
from run import BURN, build_burn, output

SIZE = common.SIZES["S"]
FROM, TO = 4, 8
TEXT = "pub fn sum(values: &[u64]) -> u64 { values.iter().sum::<u64>() }"
# Largest difference: of log-probabilities in nats, and of a weight's change as a share of the largest change.
LOGITS_TOLERANCE, CHANGE_TOLERANCE = 1e-4, 1e-3


def primer(program, *arguments):
    """What a command prints as JSON."""
    return output([program, *arguments, "--device", "cpu", "--json"])


def torch_name(name):
    """Our name of a parameter as PyTorch's, and whether PyTorch stores it transposed."""
    scope, _, last = name.rpartition(".")
    block = scope.removesuffix(".ffn")
    match last:
        case "scale": return f"{scope}.weight", False
        case "shift": return f"{scope}.bias", False
        case "wqkv" | "wo": return f"{name}.weight", True
        case "w1" | "w2": return f"{block}.{last}.weight", True
        case "b1" | "b2": return f"{block}.w{last[1]}.bias", False
    return name, False


def in_torch(arch, before, moments, after, tokens, batch, attention, conv):
    """Log-probabilities with the weights `after`, and what `before` is trained to; without moments, from fresh ones."""
    model = torch_step.Model(SIZE, arch, attention, conv)
    parameters = dict(model.named_parameters())

    def tensors(arrays):
        found = {}
        for ours, array in arrays.items():
            name, transposed = torch_name(ours)
            found[name] = torch.tensor(array.T.copy() if transposed else array)
        return found

    model.load_state_dict(tensors(after))
    with torch.no_grad():
        scores = model(torch.tensor(tokens)).log_softmax(-1)[0].numpy()
    model.load_state_dict(tensors(before))
    adamw = torch_step.optimizer(model, SIZE)
    if moments:
        m, v = (tensors(moment) for moment in moments)
        for name, parameter in parameters.items():
            adamw.state[parameter] = {"step": torch.tensor(float(FROM)), "exp_avg": m[name], "exp_avg_sq": v[name]}
    for _ in range(FROM, TO):
        torch_step.train(model, adamw, model.loss, *(torch.tensor(ids) for ids in batch))
    trained = {}
    for ours in before:
        name, transposed = torch_name(ours)
        array = parameters[name].detach().numpy()
        trained[ours] = array.T if transposed else array
    return scores, trained


def in_jax(arch, before, moments, after, tokens, batch, attention, conv):
    """The same in JAX."""
    logits, step = jax_step.functions(SIZE, arch, attention, conv)
    scores = np.array(jax.nn.log_softmax(logits(after, tokens))[0])
    state = jax.device_put((before, *moments, np.float32(FROM)))
    for _ in range(FROM, TO):
        state, _ = step(state, *batch)
    return scores, {name: np.array(value) for name, value in state[0].items()}


def in_burn(arch, weights, tokens, batch, attention, conv, folder):
    """Log-probabilities with these weights, and the weights that they are trained to."""
    given, found = folder / "given.safetensors", folder / "found.safetensors"
    ids = {"text": tokens[0], "inputs": batch[0], "targets": batch[1]}
    save_file({name: np.ascontiguousarray(array, np.float32) for name, array in (weights | ids).items()}, given)
    program = BURN / "target/release/burn-step"
    subprocess.run([program, "--size", "S", "--arch", arch, "--attention", attention, "--conv", conv,
                    "--check-in", given, "--check-out", found], check=True)
    trained = load_file(found)
    logits = trained.pop("logits")
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)), trained


def checkpoints(program, arch, folder):
    """The tensors of the checkpoints after `FROM` and `TO` steps."""
    corpus = folder / "corpus.txt"
    corpus.write_text("a" * 20_000)
    run = folder / arch
    settings = ["schedule.warmup=0", "schedule.decay=constant", f"checkpoint_every={FROM}", "eval_every=0"]
    primer(program, "train", "--arch", arch, "--size", "nano", "--corpus", str(corpus), "--out", str(run),
           "--steps", str(TO), *(word for setting in settings for word in ("--set", setting)))
    scores = primer(program, "logits", "--checkpoint", str(run), "--text", TEXT)["log_probabilities"]
    files = {n: next(run.rglob(f"step-{n:010}.safetensors")) for n in (FROM, TO)}
    return load_file(files[FROM]), load_file(files[TO]), np.array(scores)


def ways(arch):
    """Every peer in every way it is written."""
    convolutions = ("shift", "library") if arch == "primer_ez" else ("shift",)
    return itertools.product(("torch", "jax", "burn"), ("plain", "library"), convolutions)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--primer", default="target/release/primer", help="path of the program")
    program = Path(parser.parse_args().primer).resolve()
    build_burn(["burn-flex"])
    letters = np.full((SIZE.batch, SIZE.seq), ord("a"))
    tokens = np.array([list(TEXT.encode())])
    drawn = tuple(np.array(ids) for ids in common.batches(SIZE)[0])
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for arch in common.ARCHES:
            first, last, expected = checkpoints(program, arch, Path(folder))
            names = [name for name in first if not name.startswith("adamw.")]
            before, after = ({name: file[name] for name in names} for file in (first, last))
            moments = [{name: first[f"adamw.{kind}.{name}"] for name in names} for kind in "mv"]
            _, afresh = in_torch(arch, after, None, after, tokens, drawn, "plain", "shift")
            for peer, attention, conv in ways(arch):
                start, end = (after, afresh) if peer == "burn" else (before, after)
                if peer == "burn":
                    scores, trained = in_burn(arch, after, tokens, drawn, attention, conv, Path(folder))
                else:
                    compute = in_torch if peer == "torch" else in_jax
                    scores, trained = compute(arch, before, moments, after, tokens, (letters, letters), attention,
                                              conv)
                largest = max(np.abs(end[name] - start[name]).max() for name in names)
                of_scores = np.abs(scores - expected).max()
                of_change = max(np.abs(trained[name] - end[name]).max() for name in names) / largest
                good = of_scores <= LOGITS_TOLERANCE and of_change <= CHANGE_TOLERANCE
                failed |= not good
                print(f"{peer}, {arch}, attention {attention}, conv {conv}: log-probabilities within {of_scores:.1e}, "
                      f"trained weights within {of_change:.1e}: {'ok' if good else 'DIFFERENT'}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
