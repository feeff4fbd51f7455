//! The writer of shaders.

use std::collections::BTreeSet;

use super::launch::{Binding, Context, Location, Shader};
use super::wgsl::math;
use crate::DType;
use crate::plan::BufferId;

/// Invocations that a workgroup has where nothing asks for more.
pub(super) const WORKGROUP: u32 = 64;

/// Writes one shader.
pub(super) struct Writer<'a> {
    pub context: &'a Context<'a>,
    bindings: Vec<Binding>,
    params: Vec<u32>,
    helpers: BTreeSet<&'static str>,
    globals: String,
    body: String,
    rounds: u64,
    /// How often an invocation is in the body of each open loop.
    loops: Vec<u64>,
    /// Invocations of a workgroup.
    pub workgroup: u32,
    /// Words of auxiliary memory that the shader needs.
    pub auxiliary: usize,
    subgroups: Subgroups,
}

/// What a shader knows of subgroups.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Subgroups {
    None,
    /// Its workgroup is one.
    One,
    /// Its workgroup has several.
    Several,
}

impl<'a> Writer<'a> {
    pub fn new(context: &'a Context<'a>) -> Self {
        Self {
            context,
            bindings: Vec::new(),
            params: Vec::new(),
            helpers: BTreeSet::new(),
            globals: String::new(),
            body: String::new(),
            rounds: 0,
            loops: Vec::new(),
            workgroup: WORKGROUP.min(context.granted.max_invocations),
            auxiliary: 0,
            subgroups: Subgroups::None,
        }
    }

    /// Makes a buffer visible, written or only read, and gives its position. A buffer is bound once, whatever it is
    /// used for.
    pub fn bind(&mut self, at: Location, dtype: DType, written: bool) -> usize {
        if let Some(position) = self.bindings.iter().position(|b| b.at == at) {
            self.bindings[position].written |= written;
            return position;
        }
        self.bindings.push(Binding { at, written, dtype, half: false, vectors: false });
        self.bindings.len() - 1
    }

    pub fn read(&mut self, buffer: BufferId) -> usize {
        self.bind_buffer(buffer, false)
    }

    pub fn write(&mut self, buffer: BufferId) -> usize {
        self.bind_buffer(buffer, true)
    }

    fn bind_buffer(&mut self, buffer: BufferId, written: bool) -> usize {
        let position = self.bind(self.context.location(buffer), self.context.dtype(buffer), written);
        // No two buffers of a kernel share a slot, so what is bound already is this buffer.
        self.bindings[position].half = self.context.is_half(buffer);
        position
    }

    /// Whether a binding's floats are stored in 16 bits.
    pub fn is_half(&self, binding: usize) -> bool {
        self.bindings[binding].half
    }

    /// Lets the shader see a binding as vectors of four.
    pub fn use_vectors(&mut self, binding: usize) {
        self.bindings[binding].vectors = true;
    }

    /// The expression for the four elements from `index` on, a multiple of 4, of a binding seen as vectors: of floats,
    /// as f32.
    pub fn four(&self, binding: usize, index: &str) -> String {
        let stored = self.stored_four(binding, index);
        if self.is_half(binding) { format!("vec4<f32>({stored})") } else { stored }
    }

    /// As [`Writer::four`], in the type in which they are stored.
    pub fn stored_four(&self, binding: usize, index: &str) -> String {
        format!("b{binding}[({index}) >> 2u]")
    }

    /// Adds the statement that stores the vector `value` from `index` on, a multiple of 4, in a binding seen as vectors.
    pub fn store_four(&mut self, binding: usize, index: &str, value: &str) {
        let place = self.stored_four(binding, index);
        let value = if self.is_half(binding) { format!("vec4<f16>({value})") } else { value.to_owned() };
        self.line(&format!("{place} = {value};"));
    }

    /// The expression for element `index` of a binding as `dtype`.
    pub fn element(&self, binding: usize, dtype: DType, index: &str) -> String {
        let Binding { dtype: held, half, vectors, .. } = self.bindings[binding];
        let element = if vectors {
            format!("b{binding}[({index}) >> 2u][({index}) & 3u]")
        } else {
            format!("b{binding}[{index}]")
        };
        match held == dtype {
            true if half => format!("f32({element})"),
            true => element,
            false => format!("bitcast<{dtype}>({element})"),
        }
    }

    /// Adds the statement that stores `value`, of type `dtype`, in a binding that isn't seen as vectors.
    pub fn store(&mut self, binding: usize, dtype: DType, index: &str, value: &str) {
        let Binding { dtype: held, half, .. } = self.bindings[binding];
        let stored = match held == dtype {
            true if half => format!("f16({value})"),
            true => value.to_owned(),
            false => format!("bitcast<{held}>({value})"),
        };
        self.line(&format!("b{binding}[{index}] = {stored};"));
    }

    /// A number that is given at launch, so that kernels of different sizes share a pipeline.
    pub fn param(&mut self, value: u32) -> String {
        self.params.push(value);
        format!("n{}", self.params.len() - 1)
    }

    /// Adds a line to the body of `main`; one that opens a loop goes through [`Writer::begin_loop`].
    pub fn line(&mut self, text: &str) {
        debug_assert!(!text.contains("for ("), "a loop that isn't counted: {text}");
        self.push(text);
    }

    fn push(&mut self, text: &str) {
        self.body.push_str(text);
        self.body.push('\n');
    }

    /// Opens `for (header) {`, a loop of at most `rounds` rounds each time that it is entered.
    pub fn begin_loop(&mut self, header: &str, rounds: usize) {
        let entered = self.loops.last().copied().unwrap_or(1);
        // The look that ends the loop is a round too.
        self.rounds = self.rounds.saturating_add(entered.saturating_mul(rounds as u64 + 1));
        self.loops.push(entered.saturating_mul(rounds as u64));
        self.push(&format!("for ({header}) {{"));
    }

    /// Closes the loop opened last.
    pub fn end_loop(&mut self) {
        self.loops.pop();
        self.push("}");
    }

    /// Adds a declaration outside of `main`.
    pub fn global(&mut self, text: &str) {
        debug_assert!(!text.contains("for ("), "a loop that isn't counted: {text}");
        self.globals.push_str(text);
        self.globals.push('\n');
    }

    /// Adds the function of that signature, with what `build` writes as its body.
    pub fn function(&mut self, signature: &str, build: impl FnOnce(&mut Self)) {
        let (main, first) = (std::mem::take(&mut self.body), self.params.len());
        build(self);
        let body = std::mem::replace(&mut self.body, main);
        let params: String = (first..self.params.len()).map(|i| format!("let n{i} = {};\n", param(i))).collect();
        self.global(&format!("{signature} {{\n{params}{body}}}"));
    }

    /// Makes a function of the math library visible and gives its name.
    pub fn helper(&mut self, name: &'static str) -> &'static str {
        if self.helpers.insert(name) {
            for needed in math::needs(name) {
                self.helper(needed);
            }
        }
        name
    }

    /// Lets the shader use subgroup functions. Its workgroup is one subgroup, and `lane` the number in it.
    pub fn use_one_subgroup(&mut self) {
        self.subgroups = Subgroups::One;
    }

    /// Lets the shader use subgroup functions in a workgroup of `subgroups`: `subgroup` is this invocation's, `place`
    /// its number in it.
    pub fn use_subgroups(&mut self) {
        self.subgroups = Subgroups::Several;
    }

    /// An f32 literal that survives every front end: what isn't a normal number goes through its bits.
    pub fn literal(&mut self, value: f32) -> String {
        if value.is_normal() || value.to_bits() == 0 {
            format!("{value:?}f")
        } else {
            format!("{}({:#010x}u)", self.helper("from_bits"), value.to_bits())
        }
    }

    /// Adds `let id`, this invocation's number, and the return of those past `count`.
    pub fn invocation_id(&mut self, count: &str) {
        let workgroup = self.workgroup;
        self.line(&format!("let id = group * {workgroup}u + lane;"));
        self.line(&format!("if (id >= {count}) {{ return; }}"));
    }

    /// The shader, launched so that at least `invocations` run.
    pub fn finish(self, name: &'static str, invocations: usize) -> Shader {
        let workgroups = (invocations as u64).div_ceil(u64::from(self.workgroup));
        self.finish_workgroups(name, workgroups)
    }

    /// The shader, launched with that many workgroups. `group` in the body is the workgroup's number; it may exceed
    /// them.
    pub fn finish_workgroups(self, name: &'static str, workgroups: u64) -> Shader {
        let mut source = String::new();
        if self.bindings.iter().any(|binding| binding.half) {
            source.push_str("enable f16;\n");
        }
        // naga 30 knows the subgroup functions but not `enable subgroups;`.
        let lanes = match self.subgroups {
            Subgroups::None => "@builtin(local_invocation_index) lane: u32",
            Subgroups::One => "@builtin(subgroup_invocation_id) lane: u32",
            Subgroups::Several => {
                "@builtin(local_invocation_index) lane: u32, @builtin(subgroup_invocation_id) place: u32, \
                 @builtin(subgroup_id) subgroup: u32, @builtin(num_subgroups) subgroups: u32"
            }
        };
        if !self.params.is_empty() {
            let words = self.params.len().div_ceil(4);
            source.push_str(&format!("@group(0) @binding(0) var<uniform> p: array<vec4<u32>, {words}>;\n"));
        }
        for (i, binding) in self.bindings.iter().enumerate() {
            let access = if binding.written { "read_write" } else { "read" };
            let slot = i + 1;
            let stored = binding.stored();
            let element = if binding.vectors { format!("vec4<{stored}>") } else { stored.to_owned() };
            source.push_str(&format!("@group(0) @binding({slot}) var<storage, {access}> b{i}: array<{element}>;\n"));
        }
        for helper in &self.helpers {
            source.push_str(math::source(helper));
        }
        source.push_str(&self.globals);
        source.push_str(&format!("@compute @workgroup_size({})\n", self.workgroup));
        source.push_str(&format!(
            "fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(num_workgroups) ng: vec3<u32>, {lanes}) {{\n"
        ));
        source.push_str("let group = wg.x + ng.x * (wg.y + ng.y * wg.z);\n");
        if !self.params.is_empty() {
            // lavapipe compiles a shader anew for each value of a uniform that bounds a loop, and unrolls the loop; not
            // so where something that it can't know is added. No launch has 2³¹ workgroups along a dimension.
            source.push_str("let zero = wg.z >> 31u;\n");
        }
        for i in 0..self.params.len() {
            source.push_str(&format!("let n{i} = {} + zero;\n", param(i)));
        }
        source.push_str(&self.body);
        source.push_str("}\n");
        let Self { bindings, params, auxiliary, rounds, .. } = self;
        Shader { name, source, bindings, params, workgroups, auxiliary, rounds }
    }
}

/// Launch parameter `i`, in WGSL.
fn param(i: usize) -> String {
    format!("p[{}].{}", i / 4, ["x", "y", "z", "w"][i % 4])
}
