//! Exported files run as text: the part of Rust that an export uses, on recorded tensors. So thousands of programs are
//! compared without a compiler; whatever isn't known here fails the test that meets it.

use std::collections::HashMap;

use primer_models::nn::{Dims, Init, Scope};
use primer_tensor::{ReduceOp, Tensor, UnaryOp};
use syn::{BinOp, Expr, File, Item, ItemFn, Lit, Member, Pat, Stmt, UnOp};

/// The helpers themselves, compiled from the text that goes into the files.
mod helpers {
    include!("../../src/export/helpers.rs");

    use super::Value;

    pub struct Numbered<'a>(Parameters<'a>);

    impl<'a> Numbered<'a> {
        pub fn new(scope: Scope<'a>) -> Self {
            Self(Parameters { scope, made: 0 })
        }

        pub fn next(&mut self, op: &str, shape: &[usize], start: Init) -> Tensor {
            self.0.next(op, shape, start)
        }
    }

    /// Calls the helper of that name, if it is one.
    pub fn call(name: &str, dims: Dims, arguments: &[Value]) -> Option<Value> {
        let of_tensors: Vec<&Tensor> = arguments.iter().filter_map(Value::as_tensor).collect();
        let result = match (name, &of_tensors[..], arguments) {
            ("fan_in", [], [Value::Size(n)]) => return Some(Value::Start(fan_in(*n))),
            ("heads", [x], [Value::Dims, _]) => heads(dims, x),
            ("rows", [x], [_]) => rows(x),
            ("resize", [x], [_, Value::Size(width)]) => resize(x, *width),
            ("causal", [x], [_, Value::Number(fill)]) => causal(x, *fill),
            ("mix", [weights, b], [_, _]) => mix(weights, b),
            ("at_least", [x], [_, Value::Number(c)]) => at_least(x, *c),
            ("at_most", [x], [_, Value::Number(c)]) => at_most(x, *c),
            ("windows", [x], [Value::Dims, _, Value::Size(taps)]) => windows(dims, x, *taps),
            ("dense_by_branch", [x, w], [_, _]) => dense_by_branch(x, w),
            ("depthwise", [x, taps], [Value::Dims, _, _]) => depthwise(dims, x, taps),
            ("repeat_branches", [x], [_, Value::Size(times)]) => repeat_branches(x, *times),
            ("repeat_channels", [x], [_, Value::Size(times)]) => repeat_channels(x, *times),
            _ => return None,
        };
        Some(Value::Tensor(result))
    }
}

/// What an expression is worth.
#[derive(Debug, Clone)]
pub enum Value {
    Tensor(Tensor),
    Size(usize),
    Number(f64),
    Flag(bool),
    Word(String),
    Sizes(Vec<usize>),
    Start(Init),
    Dims,
    Parameters,
}

impl Value {
    fn as_tensor(&self) -> Option<&Tensor> {
        if let Value::Tensor(tensor) = self { Some(tensor) } else { None }
    }
}

type Scopes = HashMap<String, Value>;

/// A parsed file.
pub struct Exported {
    functions: HashMap<String, ItemFn>,
}

impl Exported {
    /// Reads a file; panics where it isn't Rust.
    pub fn parse(text: &str) -> Exported {
        let file: File = syn::parse_file(text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
        let functions = file.items.into_iter().filter_map(|item| match item {
            Item::Fn(function) => Some((function.sig.ident.to_string(), function)),
            _ => None,
        });
        Exported { functions: functions.collect() }
    }

    /// What its `block` returns.
    pub fn block(&self, scope: Scope<'_>, dims: Dims, x: &Tensor) -> Tensor {
        let mut run = Run { file: self, dims, parameters: helpers::Numbered::new(scope) };
        match run.function("block", vec![Value::Word("scope".into()), Value::Dims, Value::Tensor(x.clone())]) {
            Value::Tensor(output) => output,
            other => panic!("a block of {other:?}"),
        }
    }
}

struct Run<'a> {
    file: &'a Exported,
    dims: Dims,
    parameters: helpers::Numbered<'a>,
}

impl Run<'_> {
    fn function(&mut self, name: &str, arguments: Vec<Value>) -> Value {
        let function = self.file.functions.get(name).unwrap_or_else(|| panic!("there is no function {name}"));
        let mut names = Scopes::new();
        for (input, value) in function.sig.inputs.iter().zip(arguments) {
            let syn::FnArg::Typed(input) = input else { panic!("{name} has a receiver") };
            names.insert(ident(&input.pat), value);
        }
        for statement in &function.block.stmts {
            match statement {
                Stmt::Local(local) => {
                    let init = local.init.as_ref().expect("every value has one");
                    let value = self.value(&init.expr, &names);
                    self.bind(&local.pat, value, &mut names);
                }
                Stmt::Expr(tail, None) => return self.value(tail, &names),
                // what the width must be a multiple of
                Stmt::Macro(check) => assert!(check.mac.path.is_ident("assert")),
                _ => panic!("{name} has a statement of another kind"),
            }
        }
        panic!("{name} returns nothing")
    }

    fn bind(&self, pattern: &Pat, value: Value, names: &mut Scopes) {
        let Pat::Struct(fields) = pattern else {
            names.insert(ident(pattern), value);
            return;
        };
        for field in &fields.fields {
            names.insert(ident(&field.pat), self.size(&field.member));
        }
    }

    fn size(&self, member: &Member) -> Value {
        let Member::Named(name) = member else { panic!("a field without a name") };
        let Dims { batch, seq, d_model } = self.dims;
        Value::Size(match name.to_string().as_str() {
            "batch" => batch,
            "seq" => seq,
            "d_model" => d_model,
            other => panic!("dims.{other}"),
        })
    }

    fn value(&mut self, expression: &Expr, names: &Scopes) -> Value {
        match expression {
            Expr::Path(path) => match path.path.segments.last().map(|segment| segment.ident.to_string()) {
                Some(word) if path.path.segments.len() == 1 => {
                    names.get(&word).cloned().unwrap_or_else(|| panic!("{word} is not known here"))
                }
                Some(word) if word == "Taps" => Value::Start(Init::Taps),
                word => Value::Word(word.unwrap_or_default()),
            },
            Expr::Lit(literal) => match &literal.lit {
                Lit::Int(int) => Value::Size(int.base10_parse().unwrap()),
                Lit::Float(float) => Value::Number(float.base10_parse().unwrap()),
                Lit::Bool(flag) => Value::Flag(flag.value),
                Lit::Str(text) => Value::Word(text.value()),
                _ => panic!("a literal of another kind"),
            },
            Expr::Unary(unary) => match (&unary.op, self.value(&unary.expr, names)) {
                (UnOp::Neg(_), Value::Number(number)) => Value::Number(-number),
                (_, value) => panic!("an operator before {value:?}"),
            },
            Expr::Reference(reference) => self.value(&reference.expr, names),
            Expr::Struct(new) => {
                assert!(new.path.is_ident("Parameters"));
                Value::Parameters
            }
            Expr::Field(field) => self.size(&field.member),
            Expr::Array(array) => Value::Sizes(array.elems.iter().map(|size| self.length(size, names)).collect()),
            Expr::Binary(binary) => {
                let (left, right) = (self.value(&binary.left, names), self.value(&binary.right, names));
                operator(&binary.op, left, right)
            }
            Expr::Call(call) => self.call(call, names),
            Expr::MethodCall(call) => self.method(call, names),
            _ => panic!("an expression of another kind"),
        }
    }

    fn length(&mut self, expression: &Expr, names: &Scopes) -> usize {
        match self.value(expression, names) {
            Value::Size(size) => size,
            other => panic!("{other:?} is no size"),
        }
    }

    fn call(&mut self, call: &syn::ExprCall, names: &Scopes) -> Value {
        let Expr::Path(function) = &*call.func else { panic!("a call of another kind") };
        let path: Vec<String> = function.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let arguments: Vec<Value> = call.args.iter().map(|argument| self.value(argument, names)).collect();
        match (path.join("::").as_str(), &arguments[..]) {
            ("Init::Constant", [Value::Number(start)]) => Value::Start(Init::Constant(*start)),
            ("Tensor::constant", [Value::Number(value)]) => Value::Tensor(Tensor::constant(*value)),
            (name, _) => {
                helpers::call(name, self.dims, &arguments).unwrap_or_else(|| self.function(name, arguments.clone()))
            }
        }
    }

    fn method(&mut self, call: &syn::ExprMethodCall, names: &Scopes) -> Value {
        let receiver = self.value(&call.receiver, names);
        let arguments: Vec<Value> = call.args.iter().map(|argument| self.value(argument, names)).collect();
        let method = call.method.to_string();
        if let (Value::Parameters, [Value::Word(op), Value::Sizes(shape), Value::Start(start)]) =
            (&receiver, &arguments[..])
        {
            assert_eq!(method, "next");
            return Value::Tensor(self.parameters.next(op, shape, start.clone()));
        }
        let Value::Tensor(x) = receiver else { panic!("{method} of {receiver:?}") };
        Value::Tensor(match (method.as_str(), &arguments[..]) {
            ("abs", []) => x.abs(),
            ("clone", []) => x,
            ("cos", []) => x.cos(),
            ("exp", []) => x.exp(),
            ("log", []) => x.log(),
            ("recip", []) => x.recip(),
            ("relu", []) => x.relu(),
            ("sigmoid", []) => x.sigmoid(),
            ("sin", []) => x.sin(),
            ("sqrt", []) => x.sqrt(),
            ("square", []) => x.square(),
            ("tanh", []) => x.tanh(),
            ("unary", [Value::Word(op)]) if op == "Sign" => x.unary(UnaryOp::Sign),
            ("maximum", [Value::Tensor(other)]) => x.maximum(other),
            ("cumsum", [Value::Size(axis)]) => x.cumsum(*axis),
            ("cumprod", [Value::Size(axis)]) => x.cumprod(*axis),
            ("mean_axis", [Value::Size(axis)]) => x.mean_axis(*axis),
            ("sum_axis", [Value::Size(axis)]) => x.sum_axis(*axis),
            ("max_axis", [Value::Size(axis)]) => x.max_axis(*axis),
            ("reduce", [Value::Word(op), Value::Size(axis)]) if op == "Min" => x.reduce(ReduceOp::Min, *axis),
            ("reduce", [Value::Word(op), Value::Size(axis)]) if op == "Prod" => x.reduce(ReduceOp::Prod, *axis),
            ("matmul", [Value::Tensor(other)]) => x.matmul(other),
            ("matmul_t", [Value::Flag(a), Value::Tensor(other), Value::Flag(b)]) => x.matmul_t(*a, other, *b),
            ("reshape", [Value::Sizes(shape)]) => x.reshape(shape.clone()),
            ("broadcast_to", [Value::Sizes(shape)]) => x.broadcast_to(shape.clone()),
            (name, arguments) => panic!("a tensor's {name} of {arguments:?}"),
        })
    }
}

fn operator(op: &BinOp, left: Value, right: Value) -> Value {
    match (left, right) {
        (Value::Size(a), Value::Size(b)) => Value::Size(match op {
            BinOp::Mul(_) => a * b,
            BinOp::Div(_) => {
                assert!(a.is_multiple_of(b), "{a} / {b}");
                a / b
            }
            _ => panic!("an operator of sizes of another kind"),
        }),
        (Value::Tensor(a), Value::Number(b)) => {
            assert!(matches!(op, BinOp::Mul(_)));
            Value::Tensor(a * b)
        }
        (Value::Tensor(a), Value::Tensor(b)) => Value::Tensor(match op {
            BinOp::Add(_) => a + b,
            BinOp::Sub(_) => a - b,
            BinOp::Mul(_) => a * b,
            BinOp::Div(_) => a / b,
            _ => panic!("an operator of tensors of another kind"),
        }),
        (left, right) => panic!("an operator between {left:?} and {right:?}"),
    }
}

fn ident(pattern: &Pat) -> String {
    match pattern {
        Pat::Ident(name) => name.ident.to_string(),
        _ => panic!("a pattern of another kind"),
    }
}
