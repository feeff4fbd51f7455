"""Times the same training steps in `primer` and its peers, in turns on one machine, and writes the ratios.

Every timing is a process of its own: it starts, warms up, and gives the median of its blocks. The processes of one case
take turns, so that all of them meet the same disturbances; a figure of the table is the median over the turns.
"""

import argparse
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import common

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SIZE_NAMES = {"R": "mini", "S": "nano"}
# By the device that `primer` runs on: the CPU, or the software adapter.
PEERS = {"cpu": ("torch", "torch.compile", "jax", "burn-flex"), "software": ("burn-wgpu",)}
BURN = HERE / "burn"
# (attention, conv) that a peer may be written with; the faster one is compared.
PLAIN_OR_LIBRARY = [(attention, "shift") for attention in ("library", "plain")]
VARIANTS = {
    "vanilla": PLAIN_OR_LIBRARY,
    "primer_ez": PLAIN_OR_LIBRARY + [(attention, "library") for attention in ("library", "plain")],
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--primer", default=ROOT / "target/release/primer", help="path of the program")
    parser.add_argument("--device", choices=PEERS, default="cpu")
    parser.add_argument("--peers", nargs="*", choices=[name for names in PEERS.values() for name in names],
                        help="the peers to time, all that run on the device if not given")
    parser.add_argument("--sizes", nargs="+", default=list(common.SIZES), choices=common.SIZES)
    parser.add_argument("--arches", nargs="+", default=list(common.ARCHES), choices=common.ARCHES)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--blocks", type=int, default=5, help="timed blocks of a peer's process")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a block")
    parser.add_argument("--out", default="peers", help="writes OUT.json and OUT.md")
    args = parser.parse_args()
    if args.peers is None:
        args.peers = PEERS[args.device]
    if elsewhere := set(args.peers) - set(PEERS[args.device]):
        parser.error(f"{', '.join(elsewhere)} can't run on --device {args.device}")
    return args


def build_burn(peers):
    """Compiles the burn program, if a peer needs it."""
    if not any(peer.startswith("burn") for peer in peers):
        return
    features = ["--features", "wgpu"] if "burn-wgpu" in peers else []
    note("compiling the burn program")
    built = subprocess.run(["cargo", "build", "--release", "--locked", *features], cwd=BURN)
    if built.returncode != 0:
        sys.exit("the burn program can't be compiled; name the other peers by --peers to leave it out")


def cases(args):
    """(size, architecture, threads): R with every core, S with one and with every core."""
    cores = len(os.sched_getaffinity(0))
    for size in args.sizes:
        # A software adapter takes every core.
        for threads in sorted({1, cores} if size == "S" and args.device == "cpu" else {cores}):
            for arch in args.arches:
                yield size, arch, threads


def output(command, environment=None):
    """The JSON that a program prints."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=os.environ | (environment or {}))
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout)


def time_primer(args, size, arch, threads):
    """One process of `primer bench`, in the peers' form."""
    found = output([Path(args.primer).resolve(), "bench", "--json", "--size", SIZE_NAMES[size], "--arch", arch,
                    "--device", args.device, "--threads", threads])
    step = found["steps"][0]
    resident = found["peak_resident_bytes"]
    return {"peer": "primer", "device": found["device"], "matmul_roof_gflops": found["matmul_roof_gflops"],
            "peak_resident_mb": resident and resident / 1e6, **step}


def time_peer(args, peer, size, arch, threads, variant, blocks, caches=True):
    """One process of a peer; without `caches`, it compiles as a program does that no one has compiled before."""
    attention, conv = variant
    options = ["--size", size, "--arch", arch, "--threads", threads, "--blocks", blocks, "--seconds", args.seconds,
               "--attention", attention, "--conv", conv]
    program = {"torch": [sys.executable, HERE / "torch_step.py"],
               "torch.compile": [sys.executable, HERE / "torch_step.py", "--compile"],
               "jax": [sys.executable, HERE / "jax_step.py"],
               "burn-flex": [BURN / "target/release/burn-step", "--backend", "flex"],
               "burn-wgpu": [BURN / "target/release/burn-step", "--backend", "wgpu"]}[peer]
    environment = {} if caches else {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    return output([*program, *options], environment)


def try_variants(args, peer, size, arch, threads):
    """One short process of each way to write a peer, the fastest first."""
    tried = [time_peer(args, peer, size, arch, threads, variant, 3, caches=False) for variant in VARIANTS[arch]]
    return sorted(tried, key=lambda run: -run["tokens_per_second"])


def in_turns(programs, turns):
    """Runs every program once a turn; the order moves on by one each time."""
    found = {name: [] for name in programs}
    names = list(programs)
    for turn in range(turns):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            note(f"  turn {turn + 1} of {turns}: {name}")
            found[name].append(programs[name]())
    return found


def summarize(found):
    """The medians of a program's turns, and the ratios of `primer` to it."""
    counts = {name: runs[0]["parameters"] for name, runs in found.items()}
    if len(set(counts.values())) != 1:
        sys.exit(f"these are not the same models: their parameters are {counts}")
    keys = ("tokens_per_second", "ms", "first_step_ms", "planning_ms", "peak_resident_mb")
    rows = {}
    for name, runs in found.items():
        known = [key for key in keys if runs[0].get(key) is not None]
        rows[name] = {key: statistics.median(run[key] for run in runs) for key in known}
        rates = [run["tokens_per_second"] for run in runs]
        rows[name] |= {"slowest": min(rates), "fastest": max(rates)}
    ours = rows["primer"]
    for row in rows.values():
        row["times_as_fast"] = ours["tokens_per_second"] / row["tokens_per_second"]
        if "peak_resident_mb" in ours and "peak_resident_mb" in row:
            row["share_of_memory"] = ours["peak_resident_mb"] / row["peak_resident_mb"]
    return rows


def run_case(args, size, arch, threads):
    """Everything about one size, architecture and number of threads."""
    note(f"{size}, {arch}, {threads} thread(s)")
    programs = {"primer": functools.partial(time_primer, args, size, arch, threads)}
    tried = {}
    for peer in args.peers:
        note(f"  which way of writing it is faster in {peer}")
        tried[peer] = try_variants(args, peer, size, arch, threads)
        variant = (tried[peer][0]["attention"], tried[peer][0]["conv"] or "shift")
        programs[peer] = functools.partial(time_peer, args, peer, size, arch, threads, variant, args.blocks)
    found = in_turns(programs, args.turns)
    summary = summarize(found)
    if compiled := tried.get("torch.compile"):
        # In its turns it finds in its cache what it compiled before.
        summary["torch.compile"]["first_step_ms"] = compiled[0]["first_step_ms"]
    return {"size": size, "arch": arch, "threads": threads, "tried": tried, "runs": found, "summary": summary}


def machine():
    """What the figures hold for."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    field = lambda key: next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")
    wide = [flag for flag in ("avx2", "avx512f") if flag in field("flags").split()]
    return {"processor": field("model name") or platform.processor(), "vector_extensions": wide,
            "cores": len(os.sched_getaffinity(0)), "system": platform.platform(), "load_average": os.getloadavg(),
            "date": time.strftime("%Y-%m-%d")}


def table(case):
    """One case in Markdown."""
    threads = case["threads"]
    lines = [
        f"### {case['size']}, {case['arch']}, {threads} thread{'s' if threads > 1 else ''}", "",
        "| | tokens/s (slowest–fastest) | ms a step | first step, s | peak memory, MB | primer: speed | memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in case["summary"].items():
        run = case["runs"][name][0]
        cells = [name, f"{row['tokens_per_second']:,.0f} ({row['slowest']:,.0f}–{row['fastest']:,.0f})",
                 f"{row['ms']:.1f}", f"{row['first_step_ms'] / 1e3:.2f}",
                 f"{row['peak_resident_mb']:,.0f}" if "peak_resident_mb" in row else "", "", ""]
        if name != "primer":
            conv = f", {run['conv']} convolution" if run["conv"] else ""
            cells[0] += f" ({run['attention']} attention{conv})"
            cells[5] = f"{row['times_as_fast']:.2f} ×"
            cells[6] = f"{row['share_of_memory']:.2f} ×" if "share_of_memory" in row else ""
        lines.append(f"| {' | '.join(cells)} |")
    ours = case["runs"]["primer"]
    plan = f"{ours[0]['parameters']:,} parameters. Planned in {case['summary']['primer']['planning_ms']:.0f} ms"
    if shares := [run["share_of_roof"] for run in ours if run["share_of_roof"]]:
        plan += f"; {100 * statistics.median(shares):.0f}% of the matrix-product roof"
    return [*lines, "", f"{plan}.", ""]


def markdown(results):
    """All of it in Markdown."""
    where = results["machine"]
    versions = {}
    for case in results["cases"]:
        for runs in case["runs"].values():
            versions |= runs[0].get("versions", {})
    named = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    wide = ", ".join(where["vector_extensions"])
    lines = [f"{where['cores']} cores of {where['processor']} ({wide}), {where['date']}.",
             f"{named}. Medians of {results['turns']} turns.", ""]
    for case in results["cases"]:
        lines += table(case)
    return "\n".join(lines)


def note(text):
    print(text, file=sys.stderr, flush=True)


def main():
    args = arguments()
    if not Path(args.primer).is_file():
        sys.exit(f"there is no primer at {args.primer}; README.md says how to build it")
    build_burn(args.peers)
    results = {"machine": machine(), "device": args.device, "turns": args.turns, "cases": []}
    results["cases"] = [run_case(args, *case) for case in cases(args)]
    results["machine"]["load_average_after"] = os.getloadavg()
    Path(f"{args.out}.json").write_text(json.dumps(results, indent=1) + "\n")
    text = markdown(results)
    Path(f"{args.out}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
