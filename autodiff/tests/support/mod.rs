//! What several tests share.

pub mod compare;
pub mod leaves;
pub mod programs;
pub mod random;
pub mod table;

use std::collections::HashMap;

use primer_autodiff::check::{Options, Report};
use primer_autodiff::{check_gradient, grad_graph};
use primer_tensor::reference::{Precision, evaluate};
use primer_tensor::{DType, Graph, InputKind, NodeId, Program, Result, Shape};

pub type Inputs = HashMap<String, Vec<f64>>;

/// A graph whose f32 inputs `x0, x1, …` have values.
pub struct Case {
    pub graph: Graph,
    pub inputs: Inputs,
    pub x: Vec<NodeId>,
}

impl Case {
    pub fn new() -> Self {
        Self { graph: Graph::new(), inputs: Inputs::new(), x: Vec::new() }
    }

    /// One more input with the given values.
    pub fn input(&mut self, shape: impl Into<Shape>, values: &[f64]) -> NodeId {
        let shape = shape.into();
        assert_eq!(shape.numel(), values.len());
        let name = format!("x{}", self.x.len());
        let x = self.graph.input(&name, InputKind::Data, shape, DType::F32).unwrap();
        self.inputs.insert(name, values.to_vec());
        self.x.push(x);
        x
    }

    /// One more input with values that look random, are spread over `low..high` and never tie.
    pub fn spread(&mut self, shape: impl Into<Shape>, low: f64, high: f64) -> NodeId {
        let shape = shape.into();
        let values = spread(shape.numel(), self.x.len(), low, high);
        self.input(shape, &values)
    }

    /// One more input of indices.
    pub fn indices(&mut self, name: &str, shape: impl Into<Shape>, values: &[u32]) -> NodeId {
        self.inputs.insert(name.into(), values.iter().map(|&i| f64::from(i)).collect());
        self.graph.input(name, InputKind::Data, shape, DType::U32).unwrap()
    }

    /// Σ y·w with weights w that differ for every element, so that no two cotangents are equal.
    pub fn weighted(&mut self, y: NodeId) -> Result<NodeId> {
        let shape = self.graph.shape(y).clone();
        let name = format!("w{}", self.graph.inputs().len());
        self.inputs.insert(name.clone(), spread(shape.numel(), 7, 0.5, 1.5));
        let w = self.graph.input(&name, InputKind::Data, shape, DType::F32)?;
        let product = self.graph.mul(y, w)?;
        self.graph.sum_all(product)
    }

    /// The gradients of Σ y·w with respect to all inputs against central differences.
    pub fn check(&mut self, y: NodeId) -> Report {
        let loss = self.weighted(y).unwrap();
        check_gradient(&self.graph, loss, &self.x, &self.inputs, Options::default()).unwrap()
    }

    /// Σ of the weighted gradients of Σ y·w with respect to all inputs: what a second differentiation starts from.
    pub fn gradient_as_value(&mut self, y: NodeId) -> NodeId {
        let loss = self.weighted(y).unwrap();
        let gradients = grad_graph(&mut self.graph, loss, &self.x.clone()).unwrap();
        let sums: Vec<NodeId> = gradients.iter().map(|&g| self.weighted(g).unwrap()).collect();
        sums.into_iter().reduce(|a, b| self.graph.add(a, b).unwrap()).unwrap()
    }

    /// The gradients of Σ y (all cotangents 1) in f64.
    pub fn gradients(&mut self, y: NodeId) -> Vec<Vec<f64>> {
        let loss = self.graph.sum_all(y).unwrap();
        let gradients = grad_graph(&mut self.graph, loss, &self.x.clone()).unwrap();
        self.evaluate(&gradients)
    }

    pub fn evaluate(&self, nodes: &[NodeId]) -> Vec<Vec<f64>> {
        let program = Program::new(self.graph.clone(), nodes.to_vec(), Vec::new()).unwrap();
        program.graph.verify().unwrap();
        let values = evaluate(&program, &self.inputs, Precision::F64).unwrap();
        nodes.iter().map(|id| values[id].data.clone()).collect()
    }
}

/// `count` different values in `low..high`, in an order without pattern.
pub fn spread(count: usize, salt: usize, low: f64, high: f64) -> Vec<f64> {
    let golden = 0.618_033_988_749_894_9;
    (0..count).map(|i| low + (high - low) * (((i + 1) as f64 * golden + salt as f64 * 0.377).fract())).collect()
}
