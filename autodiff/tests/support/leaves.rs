//! Programs with data, and the inputs from which they are built.

use std::collections::HashMap;

use primer_autodiff::grad_graph;
use primer_tensor::{DType, Data, Graph, InputKind, NodeId, Program, Result, Shape, Tensor};

/// Data of one input.
#[derive(Clone, Debug)]
pub enum Values {
    F32(Vec<f32>),
    U32(Vec<u32>),
}

/// A program with data.
pub struct Built {
    pub graph: Graph,
    /// Its last values.
    pub outputs: Vec<NodeId>,
    /// Σ of all outputs, each element with a weight of its own.
    pub loss: NodeId,
    /// All its f32 inputs but the weights.
    pub wrt: Vec<NodeId>,
    pub inputs: Vec<(String, Values)>,
}

impl Built {
    /// Outputs, loss and gradients as outputs; every state moves a little along its gradient.
    pub fn program(&self) -> Program {
        let mut graph = self.graph.clone();
        let gradients = grad_graph(&mut graph, self.loss, &self.wrt).expect("the loss is a scalar");
        let mut updates = Vec::new();
        for (&x, &g) in self.wrt.iter().zip(&gradients) {
            let info = graph.inputs().iter().find(|info| info.node == x).expect("an input");
            if info.kind == InputKind::State {
                let step = graph.mul_scalar(g, -0.1).expect("f32");
                updates.push((x, graph.add(x, step).expect("equal shapes")));
            }
        }
        let outputs = self.outputs.iter().copied().chain([self.loss]).chain(gradients).collect();
        Program::new(graph, outputs, updates).expect("f32 outputs")
    }
}

/// A graph in the making, whose inputs bring their data.
pub struct Leaves {
    pub graph: Graph,
    seed: u64,
    inputs: Vec<(String, Values)>,
    wrt: Vec<NodeId>,
}

impl Leaves {
    pub fn new(seed: u64) -> Self {
        Self { graph: Graph::new(), seed, inputs: Vec::new(), wrt: Vec::new() }
    }

    /// A new input of random values in `low..high`.
    pub fn float(&mut self, shape: &Shape, low: f64, high: f64) -> NodeId {
        let numbers = random(self.seed + self.inputs.len() as u64, shape.numel());
        let values: Vec<f32> = numbers.map(|u| (low + u * (high - low)) as f32).collect();
        self.values(shape, &values)
    }

    /// A new input of those values; every fourth one is data, the others are state.
    pub fn values(&mut self, shape: &Shape, values: &[f32]) -> NodeId {
        let index = self.inputs.len();
        let kind = if index.is_multiple_of(4) { InputKind::Data } else { InputKind::State };
        let name = format!("x{index}");
        self.inputs.push((name.clone(), Values::F32(values.to_vec())));
        let x = self.graph.input(&name, kind, shape, DType::F32).expect("a new name");
        self.wrt.push(x);
        x
    }

    /// New indices below `rows`, or just past the end.
    pub fn indices(&mut self, shape: &Shape, rows: usize) -> NodeId {
        let index = self.inputs.len();
        let name = format!("x{index}");
        let values = random(self.seed + index as u64, shape.numel());
        self.inputs.push((name.clone(), Values::U32(values.map(|u| (u * (rows + 1) as f64) as u32).collect())));
        self.graph.input(&name, InputKind::Data, shape, DType::U32).expect("a new name")
    }

    /// A new input of those indices.
    pub fn words(&mut self, words: Vec<u32>) -> NodeId {
        let (name, n) = (format!("x{}", self.inputs.len()), words.len());
        self.inputs.push((name.clone(), Values::U32(words)));
        self.graph.input(&name, InputKind::Data, [n], DType::U32).expect("a new name")
    }

    /// The two words from which random numbers are drawn.
    pub fn key(&mut self, words: [u32; 2]) -> NodeId {
        self.words(words.to_vec())
    }

    /// A function of recorded tensors, as nodes of this graph; f32 whatever it gives.
    pub fn compose(&mut self, x: NodeId, f: impl Fn(&Tensor) -> Tensor) -> Result<NodeId> {
        let recorded = Tensor::raise(&self.graph, &HashMap::new());
        let (graph, roots) = Tensor::lower(&[f(&recorded[x.index()]).to_f32()])?;
        Ok(self.graph.append(&graph)?[roots[0].index()])
    }

    /// The program of those outputs alone, and its data.
    pub fn forward(self, outputs: Vec<NodeId>) -> (Program, Vec<(String, Values)>) {
        (Program::new(self.graph, outputs, Vec::new()).expect("f32 outputs"), self.inputs)
    }

    /// The program of those outputs, and its loss.
    pub fn finish(mut self, outputs: Vec<NodeId>) -> Built {
        let wrt = self.wrt.clone();
        let mut loss = self.graph.constant(0.0);
        for &y in &outputs {
            let shape = self.graph.shape(y).clone();
            let weights = self.float(&shape, -2.0, 2.0);
            let product = self.graph.mul(y, weights).expect("equal shapes");
            let sum = self.graph.sum_all(product).expect("f32");
            loss = self.graph.add(loss, sum).expect("scalars");
        }
        Built { graph: self.graph, outputs, loss, wrt, inputs: self.inputs }
    }
}

/// The same data for the reference.
pub fn wide(inputs: &[(String, Values)]) -> HashMap<String, Vec<f64>> {
    let wide = |values: &Values| match values {
        Values::F32(values) => values.iter().map(|&x| f64::from(x)).collect(),
        Values::U32(values) => values.iter().map(|&x| f64::from(x)).collect(),
    };
    inputs.iter().map(|(name, values)| (name.clone(), wide(values))).collect()
}

impl Values {
    pub fn as_data(&self) -> Data<'_> {
        match self {
            Values::F32(values) => Data::F32(values),
            Values::U32(values) => Data::U32(values),
        }
    }
}

/// Numbers in 0..1 (SplitMix64).
pub fn random(seed: u64, count: usize) -> impl Iterator<Item = f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..count).map(move |_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    })
}
