"""Times a training step of `vanilla` or `primer_ez` in JAX on CPU: one jitted function on a donated state."""

import itertools
import os
import platform

import common


def init(size, arch, np):
    """The parameters by the names of our checkpoints, as NumPy arrays."""
    draw = np.random.default_rng(0)
    d, ff = size.d, size.ff

    def normal(rows, columns, std):
        return draw.normal(0.0, std, (rows, columns))

    def truncated(rows, columns):
        values = draw.normal(size=(rows, columns))
        while (far := abs(values) > 2).any():
            values[far] = draw.normal(size=far.sum())
        return values * rows**-0.5

    def norm(name):
        return {f"{name}.scale": np.ones(d), f"{name}.shift": np.zeros(d)}

    params = {"embedding": normal(size.vocab, d, d**-0.5)}
    for i in range(size.layers):
        # 1/sqrt(d_head) is in the queries' start, in place of a scale at run time.
        query = normal(d, d, d**-0.5 * (d // size.heads) ** -0.5)
        block = norm("norm1") | norm("norm2") | {
            "attn.wqkv": np.concatenate([query, normal(d, 2 * d, d**-0.5)], axis=1),
            "attn.wo": normal(d, d, d**-0.5),
            "ffn.w1": truncated(d, ff), "ffn.b1": np.zeros(ff),
            "ffn.w2": truncated(ff, d), "ffn.b2": np.zeros(d),
        }
        if arch == "primer_ez":
            block["attn.taps_qkv"] = np.repeat(np.array(common.TAPS)[:, None], 3 * d, axis=1)
        params |= {f"blocks.{i}.{name}": value for name, value in block.items()}
    params |= norm("final_norm")
    return {name: value.astype(np.float32) for name, value in params.items()}


def functions(size, arch, attention, conv):
    """`logits(params, tokens)` and `step(state, tokens, targets)`."""
    import jax
    import jax.numpy as jnp

    positions = jnp.array(common.sinusoid(size.seq, size.d), jnp.float32)
    past = jnp.tril(jnp.ones((size.seq, size.seq), bool))

    def layer_norm(params, name, x):
        centred = x - x.mean(-1, keepdims=True)
        deviation = jnp.sqrt(jnp.square(centred).mean(-1, keepdims=True) + common.NORM_EPSILON)
        return centred / deviation * params[f"{name}.scale"] + params[f"{name}.shift"]

    def convolve(x, w):
        """z_t = w_0 x_t + w_1 x_{t-1} + w_2 x_{t-2} for each channel."""
        if conv == "library":
            return jax.lax.conv_general_dilated(
                x, w[::-1, None, :], window_strides=(1,), padding=((2, 0),),
                dimension_numbers=("NWC", "WIO", "NWC"), feature_group_count=w.shape[1])
        padded = jnp.pad(x, ((0, 0), (2, 0), (0, 0)))
        return w[0] * x + w[1] * padded[:, 1:-1] + w[2] * padded[:, :-2]

    def attend(params, block, x):
        batch, seq, d = x.shape
        qkv = x @ params[f"{block}.attn.wqkv"]
        if arch == "primer_ez":
            qkv = convolve(qkv, params[f"{block}.attn.taps_qkv"])
        q, k, v = (part.reshape(batch, seq, size.heads, -1) for part in jnp.split(qkv, 3, axis=-1))
        if attention == "library":
            mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True, scale=1.0)
        else:
            scores = jnp.einsum("bqhc,bkhc->bhqk", q, k)
            weights = jax.nn.softmax(jnp.where(past, scores, -1e30), axis=-1)
            mixed = jnp.einsum("bhqk,bkhc->bqhc", weights, v)
        return mixed.reshape(batch, seq, d) @ params[f"{block}.attn.wo"]

    def logits(params, tokens):
        x = params["embedding"][tokens] * size.d**0.5 + positions
        for i in range(size.layers):
            block = f"blocks.{i}"
            x = x + attend(params, block, layer_norm(params, f"{block}.norm1", x))
            hidden = layer_norm(params, f"{block}.norm2", x) @ params[f"{block}.ffn.w1"] + params[f"{block}.ffn.b1"]
            hidden = jax.nn.relu(hidden)
            if arch == "primer_ez":
                hidden = jnp.square(hidden)
            x = x + hidden @ params[f"{block}.ffn.w2"] + params[f"{block}.ffn.b2"]
        return layer_norm(params, "final_norm", x) @ params["embedding"].T

    def loss_of(params, tokens, targets):
        scores = logits(params, tokens)
        picked = jnp.take_along_axis(scores, targets[..., None], axis=-1)[..., 0]
        return (jax.nn.logsumexp(scores, axis=-1) - picked).mean()

    def decays(name, value):
        return value.ndim == 2 and not name.endswith("taps_qkv")

    def step(state, tokens, targets):
        """Loss, gradient, clipping by the global norm and AdamW."""
        params, m, v, t = state
        loss, gradients = jax.value_and_grad(loss_of)(params, tokens, targets)
        norm = jnp.sqrt(sum(jnp.square(g).sum() for g in gradients.values()))
        clip = common.CLIP_NORM / jnp.maximum(norm, common.CLIP_NORM)
        gradients = {name: g * clip for name, g in gradients.items()}
        t = t + 1
        m = {n: common.BETA_1 * m[n] + (1 - common.BETA_1) * g for n, g in gradients.items()}
        v = {n: common.BETA_2 * v[n] + (1 - common.BETA_2) * g * g for n, g in gradients.items()}
        c1, c2 = 1 / (1 - common.BETA_1**t), 1 / (1 - common.BETA_2**t)
        new = {}
        for name, p in params.items():
            direction = m[name] * c1 / (jnp.sqrt(v[name] * c2) + common.EPSILON)
            if decays(name, p):
                direction = direction + common.WEIGHT_DECAY * p
            new[name] = p - size.learning_rate * direction
        return (new, m, v, t), loss

    return jax.jit(logits), jax.jit(step, donate_argnums=0)


def main():
    args = common.arguments(__doc__)
    # XLA starts as many threads as the process may use cores; there is no other setting that holds for all of it.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax
    import jaxlib
    import numpy as np

    size = common.SIZES[args.size]
    params = jax.device_put(init(size, args.arch, np))
    zeros = lambda: {name: jax.numpy.zeros_like(p) for name, p in params.items()}
    state = (params, zeros(), zeros(), jax.numpy.zeros((), "float32"))
    parameters = sum(p.size for p in params.values())
    jitted = functions(size, args.arch, args.attention, args.conv)[1]
    data = itertools.cycle([(np.array(x, np.int32), np.array(y, np.int32)) for x, y in common.batches(size)])

    def step():
        nonlocal state
        state, loss = jitted(state, *next(data))
        return loss

    measured = common.measure(args, step)
    versions = {"python": platform.python_version(), "jax": jax.__version__, "jaxlib": jaxlib.__version__}
    common.report(args, "jax", parameters, measured, versions)


if __name__ == "__main__":
    main()
