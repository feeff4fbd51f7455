//! Shaders ready to launch, and the writer that makes them.

use std::collections::BTreeSet;

use super::wgsl::math;
use super::{Granted, Variants};
use crate::plan::{BufferId, Kernel, Place, Plan};
use crate::{DType, Error, Result};

/// A buffer of an executable, or the scratch that launches of one kernel hand over in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Location {
    Data(usize),
    State(usize),
    Slot(usize),
    Auxiliary,
    /// In no memory: a product that goes into its epilogue.
    Nowhere,
}

/// A storage buffer as one shader sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Binding {
    pub at: Location,
    pub written: bool,
    pub dtype: DType,
    /// Whether the shader sees vectors of four.
    pub vectors: bool,
}

/// One launch: its WGSL, what it binds, and how many workgroups it takes.
#[derive(Clone, Debug)]
pub(super) struct Shader {
    pub name: &'static str,
    pub source: String,
    pub bindings: Vec<Binding>,
    pub params: Vec<u32>,
    pub workgroups: u64,
    /// Words of auxiliary memory.
    pub auxiliary: usize,
    /// The most rounds of all loops together that an invocation runs, the last look at each condition included.
    pub rounds: u64,
}

impl Shader {
    pub fn has_params(&self) -> bool {
        !self.params.is_empty()
    }
}

/// What the generator must know of a plan and its device.
pub(super) struct Context<'a> {
    plan: &'a Plan,
    /// Where each buffer is.
    locations: Vec<Location>,
    data: Vec<&'a str>,
    states: Vec<&'a str>,
    pub granted: Granted,
    pub variants: Variants,
}

impl<'a> Context<'a> {
    /// # Errors
    /// [`Error::Device`] where the plan holds buffers for one tile at a time; that of a GPU has chunks instead.
    pub fn new(plan: &'a Plan, granted: Granted, variants: Variants) -> Result<Self> {
        fn position<'a>(names: &mut Vec<&'a str>, name: &'a str) -> usize {
            names.iter().position(|n| *n == name).unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            })
        }
        let (mut data, mut states) = (Vec::new(), Vec::new());
        let mut locations = Vec::with_capacity(plan.buffers.len());
        if plan.kernels.iter().any(|kernel| matches!(kernel, Kernel::Tiled(tiled) if !tiled.locals.is_empty())) {
            return Err(Error::Device { message: "a plan for a GPU holds nothing by tiles".into() });
        }
        for buffer in &plan.buffers {
            locations.push(match &buffer.place {
                Place::Data(name) => Location::Data(position(&mut data, name)),
                Place::State(name) => Location::State(position(&mut states, name)),
                Place::Slot(slot) => Location::Slot(*slot),
                Place::Tile => Location::Nowhere,
            });
        }
        Ok(Self { plan, locations, data, states, granted, variants })
    }

    /// Names of the data inputs; [`Location::Data`] counts in them.
    pub fn data(&self) -> &[&'a str] {
        &self.data
    }

    /// Names of the state entries; [`Location::State`] counts in them.
    pub fn states(&self) -> &[&'a str] {
        &self.states
    }

    pub fn location(&self, buffer: BufferId) -> Location {
        self.locations[buffer.index()]
    }

    /// The most rounds of loops that an invocation may run on this device.
    pub fn rounds(&self) -> u64 {
        u64::from(self.granted.max_loop_rounds)
    }

    pub fn dtype(&self, buffer: BufferId) -> DType {
        self.plan.buffers[buffer.index()].dtype
    }
}

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
        self.bindings.push(Binding { at, written, dtype, vectors: false });
        self.bindings.len() - 1
    }

    pub fn read(&mut self, buffer: BufferId) -> usize {
        self.bind(self.context.location(buffer), self.context.dtype(buffer), false)
    }

    pub fn write(&mut self, buffer: BufferId) -> usize {
        self.bind(self.context.location(buffer), self.context.dtype(buffer), true)
    }

    /// Lets the shader see a binding as vectors of four.
    pub fn use_vectors(&mut self, binding: usize) {
        self.bindings[binding].vectors = true;
    }

    /// The expression for the four elements from `index` on, a multiple of 4, of a binding seen as vectors.
    pub fn vector(&self, binding: usize, index: &str) -> String {
        format!("b{binding}[({index}) >> 2u]")
    }

    /// The expression for element `index` of a binding as `dtype`.
    pub fn element(&self, binding: usize, dtype: DType, index: &str) -> String {
        let Binding { dtype: held, vectors, .. } = self.bindings[binding];
        let element = if vectors {
            format!("b{binding}[({index}) >> 2u][({index}) & 3u]")
        } else {
            format!("b{binding}[{index}]")
        };
        if held == dtype { element } else { format!("bitcast<{dtype}>({element})") }
    }

    /// Adds the statement that stores `value`, of type `dtype`, in a binding that isn't seen as vectors.
    pub fn store(&mut self, binding: usize, dtype: DType, index: &str, value: &str) {
        let held = self.bindings[binding].dtype;
        if held == dtype {
            self.line(&format!("b{binding}[{index}] = {value};"));
        } else {
            self.line(&format!("b{binding}[{index}] = bitcast<{held}>({value});"));
        }
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
            let dtype = binding.dtype;
            let element = if binding.vectors { format!("vec4<{dtype}>") } else { dtype.to_string() };
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

/// `count` workgroups as three dimensions of at most `max` each, near a square so that few are left over.
pub(super) fn fold(name: &str, count: u64, max: u32) -> Result<[u32; 3]> {
    let limit = u64::from(max);
    let dims = if count <= limit {
        [count, 1, 1]
    } else if count <= limit * limit {
        let y = count.div_ceil(limit);
        [count.div_ceil(y), y, 1]
    } else {
        let z = count.div_ceil(limit * limit);
        let plane = count.div_ceil(z);
        let y = plane.div_ceil(limit);
        [plane.div_ceil(y), y, z]
    };
    if dims.iter().any(|&d| d > limit) || count > u64::from(u32::MAX) {
        let granted = limit.saturating_pow(3).min(u64::from(u32::MAX));
        return Err(Error::Limit { what: format!("kernel {name}"), needed: count, granted, unit: "workgroups" });
    }
    Ok(dims.map(|d| d as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_covers_the_count_within_the_limit() {
        for max in [1, 2, 7, 65_535] {
            for count in [1, 2, 6, 7, 8, 48, 49, 50, 342, 343, 65_535, 65_536, 70_000, 4_000_000_000u64] {
                match fold("k", count, max) {
                    Ok(dims) => {
                        assert!(dims.iter().all(|&d| d >= 1 && d <= max), "{count} in {max}: {dims:?}");
                        let covered: u64 = dims.iter().map(|&d| u64::from(d)).product();
                        assert!(covered >= count, "{count} in {max}: {dims:?}");
                    }
                    Err(_) => assert!(count > u64::from(max).pow(3), "{count} in {max}"),
                }
            }
        }
    }
}
