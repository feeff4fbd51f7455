//! What `check.py` compares: logits with given weights, and the weights after some steps from them.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::model::{Fixed, Model, Size, Style, names};
use crate::{tokens, train};

/// Steps from fresh moments, all on one batch.
const STEPS: usize = 4;

type Values = (Vec<usize>, Vec<f32>);

/// Puts values in the parameters' places, in the order of visits.
struct Load<'a> {
    values: std::vec::IntoIter<Values>,
    device: &'a Device,
}

impl ModuleMapper for Load<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (shape, values) = self.values.next().expect("as many values as parameters");
        assert_eq!(shape, param.val().dims(), "the parameters come in another order");
        Param::from_data(TensorData::new(values, shape), self.device)
    }
}

/// Reads the parameters, in the order of visits.
#[derive(Default)]
struct Save(Vec<Values>);

impl ModuleVisitor for Save {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let values = param.val().into_data();
        self.0.push((param.val().dims().to_vec(), values.try_to_vec().expect("f32")));
    }
}

/// Reads weights by our names, and the token ids of a text and of a batch as f32 under `text`, `inputs` and `targets`,
/// from the file `from`; writes `logits` `[n, vocab]` of the text and the trained weights to the file `to`.
pub fn run(model: Model, size: Size, style: Style, fixed: &Fixed, device: &Device, from: &str, to: &str) {
    let bytes = std::fs::read(from).expect("the weights");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let read = |name: &str| -> Values {
        let view = file.tensor(name).expect("a tensor of that name");
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        (view.shape().to_vec(), values.collect())
    };
    let names = names(size, style);
    let values: Vec<Values> = names.iter().map(|name| read(name)).collect();
    let mut model = model.map(&mut Load { values: values.into_iter(), device });

    let ids = |name: &str| -> Vec<i32> { read(name).1.iter().map(|&id| id as i32).collect() };
    let text = ids("text");
    let n = text.len();
    let logits = model.logits(tokens(text, [1, n], device), &fixed.with_seq(n, device));
    let logits: Values = (logits.dims().to_vec(), logits.into_data().try_to_vec().expect("f32"));

    let mut optimizer = train::optimizer();
    for _ in 0..STEPS {
        let inputs = tokens(ids("inputs"), [size.batch, size.seq], device);
        let targets = tokens(ids("targets"), [size.batch * size.seq], device);
        model = train::step(model, &mut optimizer, fixed, size.learning_rate, (inputs, targets)).0;
    }
    let mut trained = Save::default();
    model.visit(&mut trained);
    let named = names.into_iter().zip(trained.0).chain([("logits".to_owned(), logits)]);
    let bytes: HashMap<String, (Vec<usize>, Vec<u8>)> = named
        .map(|(name, (shape, values))| (name, (shape, values.iter().flat_map(|x| x.to_le_bytes()).collect())))
        .collect();
    let views = bytes.iter().map(|(name, (shape, bytes))| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a view of its shape"))
    });
    std::fs::write(to, safetensors::serialize(views, None).expect("serializes")).expect("the file is written");
}
