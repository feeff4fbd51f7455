//! Random numbers by counter: the same bits as on every other device, for WGSL's u32 wraps and its f32 keeps 24 bits.

use super::{position, sum};
use crate::DType;
use crate::gpu::launch::{Context, Shader};
use crate::gpu::writer::Writer;
use crate::philox::{MULTIPLIERS, ROUNDS, WEYL};
use crate::plan::View;

/// One invocation a block of four numbers.
pub(super) fn random(key: &View, out: &View, stream: u32, context: &Context<'_>) -> Shader {
    let mut w = Writer::new(context);
    let count = out.numel();
    let blocks = count.div_ceil(4);
    let (from, to) = (w.read(key.buffer), w.write(out.buffer));
    w.global(&round_source());
    let [count, blocks_param, stream] = [count, blocks, stream as usize].map(|value| w.param(value as u32));
    w.invocation_id(&blocks_param);
    for (i, word) in ["k0", "k1"].iter().enumerate() {
        let value = w.element(from, DType::U32, &format!("{}u", key.offset + i));
        w.line(&format!("var {word} = {value};"));
    }
    w.line(&format!("var c = vec4<u32>(id, 0u, {stream}, 0u);"));
    w.begin_loop(&format!("var i = 0u; i < {ROUNDS}u; i++"), ROUNDS);
    w.line("c = philox_round(c, k0, k1);");
    w.line(&format!("k0 += {}u;", WEYL[0]));
    w.line(&format!("k1 += {}u;", WEYL[1]));
    w.end_loop();
    for (i, component) in ["x", "y", "z", "w"].iter().enumerate() {
        let linear = sum(&["id * 4u", &format!("{i}u")]);
        w.line(&format!("if ({linear} < {count}) {{"));
        let value = format!("(f32(c.{component} >> 9u) + 0.5f) * {}f", 1.0 / 8_388_608.0);
        w.store(to, DType::F32, &position(out, &format!("({linear})")), &value);
        w.line("}");
    }
    w.finish("random", blocks)
}

/// WGSL of one round of Philox4x32; the high word of a product by parts of 16 bits.
fn round_source() -> String {
    let [a, b] = MULTIPLIERS;
    format!(
        "
fn high_word(a: u32, b: u32) -> u32 {{
  let al = a & 0xffffu;
  let ah = a >> 16u;
  let bl = b & 0xffffu;
  let bh = b >> 16u;
  let x = ah * bl + ((al * bl) >> 16u);
  let y = al * bh + (x & 0xffffu);
  return ah * bh + (x >> 16u) + (y >> 16u);
}}
fn philox_round(c: vec4<u32>, k0: u32, k1: u32) -> vec4<u32> {{
  return vec4<u32>(high_word({b}u, c.z) ^ c.y ^ k0, {b}u * c.z, high_word({a}u, c.x) ^ c.w ^ k1, {a}u * c.x);
}}
"
    )
}
