//! The operators that stand for each primitive.

use primer_tensor::DType;
use primer_tensor::graph::{BinaryOp, CompareOp, Node, Op, ReduceOp, UnaryOp};

use super::Element;
use super::proto::Message;
use crate::error::{Error, Result};

/// The nodes and stored tensors of a model that is being built.
#[derive(Default)]
pub(super) struct Nodes {
    nodes: Vec<Message>,
    initializers: Vec<Message>,
    named: usize,
}

/// An attribute of an operator.
enum Attribute<'a> {
    Int(&'a str, i64),
    Ints(&'a str, &'a [i64]),
    Text(&'a str, &'a str),
}

impl Attribute<'_> {
    /// An `AttributeProto` with the number of its type.
    fn message(&self) -> Message {
        let named = |name| Message::default().text(1, name);
        match *self {
            Attribute::Int(name, value) => named(name).int(3, value).int(20, 2),
            Attribute::Text(name, value) => named(name).text(4, value).int(20, 3),
            Attribute::Ints(name, values) => named(name).ints(8, values.iter().copied()).int(20, 7),
        }
    }
}

impl Nodes {
    pub(super) fn finish(self) -> (Vec<Message>, Vec<Message>) {
        (self.nodes, self.initializers)
    }

    fn fresh(&mut self) -> String {
        self.named += 1;
        format!("v{}", self.named)
    }

    /// One operator; the name of its result.
    fn node(&mut self, operator: &str, inputs: &[&str], attributes: &[Attribute<'_>]) -> String {
        let name = self.fresh();
        self.node_named(operator, inputs, attributes, &name);
        name
    }

    fn node_named(&mut self, operator: &str, inputs: &[&str], attributes: &[Attribute<'_>], name: &str) {
        let message = inputs.iter().fold(Message::default(), |message, input| message.text(1, input));
        let message = message.text(2, name).text(3, name).text(4, operator);
        self.nodes.push(message.messages(5, attributes.iter().map(Attribute::message)));
    }

    fn initializer(&mut self, name: &str, element: Element, shape: &[usize], bytes: &[u8]) {
        let dims = shape.iter().map(|&dim| dim as i64);
        let tensor = Message::default().ints(1, dims).int(2, element as i64).text(8, name).bytes(9, bytes);
        self.initializers.push(tensor);
    }

    /// Stores a tensor under a name of its own.
    pub(super) fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(name, Element::Float, shape, &bytes);
    }

    fn float(&mut self, value: f32) -> String {
        let name = self.fresh();
        self.floats(&name, &[], &[value]);
        name
    }

    fn ints(&mut self, shape: &[usize], values: &[i64]) -> String {
        let name = self.fresh();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(&name, Element::Int64, shape, &bytes);
        name
    }

    fn list(&mut self, values: &[i64]) -> String {
        self.ints(&[values.len()], values)
    }

    fn reshape(&mut self, x: &str, shape: &[i64]) -> String {
        let name = self.fresh();
        self.reshape_to(x, shape, &name);
        name
    }

    /// A reshape whose result has that name.
    pub(super) fn reshape_to(&mut self, x: &str, shape: &[i64], name: &str) {
        let shape = self.list(shape);
        // Without `allowzero` a 0 would mean the operand's own dimension.
        self.node_named("Reshape", &[x, &shape], &[Attribute::Int("allowzero", 1)], name);
    }

    fn slice(&mut self, x: &str, axis: usize, start: i64, end: i64, step: i64) -> String {
        let [start, end, axis, step] = [start, end, axis as i64, step].map(|value| self.list(&[value]));
        self.node("Slice", &[x, &start, &end, &axis, &step], &[])
    }

    fn reverse(&mut self, x: &str, axis: usize) -> String {
        self.slice(x, axis, -1, i64::MIN, -1)
    }

    /// Exchanges the last two axes.
    fn transpose(&mut self, x: &str, rank: usize) -> String {
        let mut perm: Vec<i64> = (0..rank as i64).collect();
        perm.swap(rank - 2, rank - 1);
        self.node("Transpose", &[x], &[Attribute::Ints("perm", &perm)])
    }

    /// Indices as the engine reads them: one past the end means the last.
    fn clamped(&mut self, indices: &str, rows: usize) -> String {
        let last = self.ints(&[], &[rows.max(1) as i64 - 1]);
        self.node("Min", &[indices, &last], &[])
    }

    /// The operators of a primitive that is no input; the name of the result.
    pub(super) fn primitive(&mut self, node: &Node, x: &[&str], operands: &[&Node]) -> Result<String> {
        let dims = |shape: &[usize]| -> Vec<i64> { shape.iter().map(|&dim| dim as i64).collect() };
        let shape = dims(&node.shape);
        let operand = |i: usize| &operands[i].shape;
        Ok(match &node.op {
            Op::Constant(value, DType::F32) => self.float(value.get() as f32),
            Op::Constant(value, _) => self.ints(&[], &[value.get() as i64]),
            Op::Iota { axis, dtype, .. } => {
                let count: Vec<i64> = (0..shape[*axis]).collect();
                let mut along = vec![1; shape.len()];
                along[*axis] = node.shape[*axis];
                let line = self.ints(&along, &count);
                let line = match dtype {
                    DType::F32 => self.node("Cast", &[&line], &[Attribute::Int("to", Element::Float as i64)]),
                    _ => line,
                };
                let to = self.list(&shape);
                self.node("Expand", &[&line, &to], &[])
            }
            Op::Unary(UnaryOp::Recip) => {
                let zero = self.float(0.0);
                let is_zero = self.node("Equal", &[x[0], &zero], &[]);
                let reciprocal = self.node("Reciprocal", &[x[0]], &[]);
                self.node("Where", &[&is_zero, &zero, &reciprocal], &[])
            }
            Op::Unary(op) => self.node(unary(*op), x, &[]),
            Op::IsFinite => {
                let nan = self.node("IsNaN", x, &[]);
                let infinite = self.node("IsInf", x, &[]);
                let either = self.node("Or", &[&nan, &infinite], &[]);
                self.node("Not", &[&either], &[])
            }
            Op::StopGradient | Op::Barrier => self.node("Identity", &x[..1], &[]),
            Op::Cast(to) => {
                let source = match (operands[0].dtype, to) {
                    (DType::F32, DType::U32) => {
                        let (low, high) = (self.float(0.0), self.float(u32::MAX as f32));
                        self.node("Clip", &[x[0], &low, &high], &[])
                    }
                    _ => x[0].to_owned(),
                };
                self.node("Cast", &[&source], &[Attribute::Int("to", Element::of(*to) as i64)])
            }
            Op::Binary(op) => self.node(binary(*op), x, &[]),
            Op::Compare(CompareOp::Less) => self.node("Less", x, &[]),
            Op::Compare(CompareOp::Equal) => self.node("Equal", x, &[]),
            Op::Select => self.node("Where", x, &[]),
            Op::Reduce { op, axis } => {
                let axis = self.list(&[*axis as i64]);
                self.node(reduction(*op), &[x[0], &axis], &[Attribute::Int("keepdims", 1)])
            }
            Op::LinRec { axis, reverse, start } => self.recurrence(x, *axis, *reverse, start.get() as f32, operand(0)),
            Op::Reshape(_) => self.reshape(x[0], &shape),
            Op::Permute(perm) => self.node("Transpose", x, &[Attribute::Ints("perm", &dims(perm))]),
            Op::Broadcast(_) => {
                let to = self.list(&shape);
                self.node("Expand", &[x[0], &to], &[])
            }
            Op::Slice { axis, start, end } => self.slice(x[0], *axis, *start as i64, *end as i64, 1),
            Op::Pad { axis, before, after } => {
                let mut pads = vec![0; 2 * shape.len()];
                pads[*axis] = *before as i64;
                pads[shape.len() + axis] = *after as i64;
                let pads = self.list(&pads);
                self.node("Pad", &[x[0], &pads], &[Attribute::Text("mode", "constant")])
            }
            Op::Concat { axis } => self.node("Concat", x, &[Attribute::Int("axis", *axis as i64)]),
            Op::Reverse { axis } => self.reverse(x[0], *axis),
            Op::MatMul { transpose_a, transpose_b } => {
                let side = |nodes: &mut Self, i: usize, transposed: bool| match transposed {
                    true => nodes.transpose(x[i], operand(i).len()),
                    false => x[i].to_owned(),
                };
                let (a, b) = (side(self, 0, *transpose_a), side(self, 1, *transpose_b));
                self.node("MatMul", &[&a, &b], &[])
            }
            Op::DepthwiseConv => self.depthwise(x, operand(1)),
            Op::Gather => {
                let indices = self.clamped(x[1], operand(0)[0]);
                self.node("Gather", &[x[0], &indices], &[Attribute::Int("axis", 0)])
            }
            Op::ScatterAdd { rows } => {
                let zero = self.float(0.0);
                let to = self.list(&shape);
                let zeros = self.node("Expand", &[&zero, &to], &[]);
                let clamped = self.clamped(x[0], *rows);
                let mut column = dims(operand(0));
                column.push(1);
                let indices = self.reshape(&clamped, &column);
                self.node("ScatterND", &[&zeros, &indices, x[1]], &[Attribute::Text("reduction", "add")])
            }
            Op::Input(_) | Op::Random { .. } | Op::DepthwiseConvInputGrad | Op::DepthwiseConvFilterGrad { .. } => {
                let reason = format!("{} has no operator in ONNX; only training uses it", node.op.name());
                return Err(Error::Onnx { reason });
            }
        })
    }

    /// `y[t] = Σⱼ w[j]·x[t − j]` as a convolution of one group a channel, whose taps run the other way.
    fn depthwise(&mut self, x: &[&str], taps: &[usize]) -> String {
        let (width, channels) = (taps[0] as i64, taps[1] as i64);
        let backwards = self.reverse(x[1], 0);
        let by_channel = self.transpose(&backwards, 2);
        let filter = self.reshape(&by_channel, &[channels, 1, width]);
        let channels_first = self.transpose(x[0], 3);
        let attributes = [
            Attribute::Int("group", channels),
            Attribute::Ints("kernel_shape", &[width]),
            Attribute::Ints("pads", &[width - 1, 0]),
        ];
        let y = self.node("Conv", &[&channels_first, &filter], &attributes);
        self.transpose(&y, 3)
    }

    /// `sᵢ = aᵢ·sᵢ₋₁ + bᵢ`, element by element: ONNX has an operator for running sums alone.
    fn recurrence(&mut self, x: &[&str], axis: usize, reverse: bool, start: f32, shape: &[usize]) -> String {
        let length = shape[axis];
        let mut one = shape.to_vec();
        one[axis] = 1;
        let one: Vec<i64> = one.iter().map(|&dim| dim as i64).collect();
        let (start, to) = (self.float(start), self.list(&one));
        let mut state = self.node("Expand", &[&start, &to], &[]);
        let mut states = Vec::with_capacity(length);
        for step in 0..length {
            let at = if reverse { length - 1 - step } else { step } as i64;
            let [a, b] = [0, 1].map(|i| self.slice(x[i], axis, at, at + 1, 1));
            let product = self.node("Mul", &[&a, &state], &[]);
            state = self.node("Add", &[&product, &b], &[]);
            states.push(state.clone());
        }
        if reverse {
            states.reverse();
        }
        if states.is_empty() {
            return x[1].to_owned();
        }
        let states: Vec<&str> = states.iter().map(String::as_str).collect();
        self.node("Concat", &states, &[Attribute::Int("axis", axis as i64)])
    }
}

fn unary(op: UnaryOp) -> &'static str {
    match op {
        UnaryOp::Neg => "Neg",
        UnaryOp::Abs => "Abs",
        UnaryOp::Sign => "Sign",
        UnaryOp::Sqrt => "Sqrt",
        UnaryOp::Exp => "Exp",
        UnaryOp::Log => "Log",
        UnaryOp::Sin => "Sin",
        UnaryOp::Cos => "Cos",
        UnaryOp::Tanh => "Tanh",
        UnaryOp::Sigmoid => "Sigmoid",
        UnaryOp::Recip => "Reciprocal",
    }
}

fn binary(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Add => "Add",
        BinaryOp::Sub => "Sub",
        BinaryOp::Mul => "Mul",
        BinaryOp::Div => "Div",
        BinaryOp::Max => "Max",
        BinaryOp::Min => "Min",
    }
}

fn reduction(op: ReduceOp) -> &'static str {
    match op {
        ReduceOp::Sum => "ReduceSum",
        ReduceOp::Max => "ReduceMax",
        ReduceOp::Min => "ReduceMin",
        ReduceOp::Prod => "ReduceProd",
    }
}
