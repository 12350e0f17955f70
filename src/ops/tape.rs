//! The backward pass over recorded layers. A training pass of a network leaves on the [`Tape`] one entry for each
//! layer, holding only what the layer's gradients need. [`Tape::backward`] walks the entries once in reverse, frees each
//! as it goes, and hands the gradient of every parameter to a [`GradientSink`] as soon as it is complete.
//!
//! candle's own graph covers what surrounds the passes: losses, heads, pooling of regions. The outputs of a pass are
//! variables of that graph, and its input may depend on the outputs of earlier passes.

use super::sum::{add_to, sum};
use crate::{
    device::keep_layouts,
    op::{Op, evaluate},
};
use candle_core::{DType, Result, Tensor, TensorId, Var, backprop::GradStore, bail};
use std::{cell::RefCell, collections::HashMap, fmt, ops::Range, rc::Rc};

/// Receives the gradient of each parameter, once in a backward pass.
pub trait GradientSink {
    /// `param` is the id of the parameter's variable. Gradients of tensors that are no parameters arrive too and are to
    /// be ignored. The parameter may be changed at once: nothing else in this pass reads it.
    ///
    /// # Errors
    /// Those of the device.
    fn accept(&mut self, param: TensorId, gradient: ParamGradient) -> Result<()>;
}

/// Gradients by the id of their variable.
impl GradientSink for HashMap<TensorId, Tensor> {
    fn accept(&mut self, param: TensorId, gradient: ParamGradient) -> Result<()> {
        self.insert(param, gradient.whole()?);
        Ok(())
    }
}

/// The gradient of a parameter: whole, or computed piece by piece along its first axis, so that it need not be held.
pub enum ParamGradient {
    Whole(Tensor),
    Pieces { rows: Vec<Range<usize>>, piece: Box<dyn Fn(Range<usize>) -> Result<Tensor>> },
}

impl ParamGradient {
    /// The whole gradient.
    ///
    /// # Errors
    /// Those of the device.
    pub fn whole(self) -> Result<Tensor> {
        match self {
            Self::Whole(tensor) => Ok(tensor),
            Self::Pieces { rows, piece } => {
                let pieces = rows.into_iter().map(piece).collect::<Result<Vec<_>>>()?;
                Tensor::cat(&pieces, 0)
            }
        }
    }

    /// With all axes but the first replaced by `rest`.
    ///
    /// # Errors
    /// Another number of elements.
    pub fn reshape(self, rest: usize) -> Result<Self> {
        Ok(match self {
            Self::Whole(tensor) => Self::Whole(tensor.reshape(((), rest))?),
            Self::Pieces { rows, piece } => {
                Self::Pieces { rows, piece: Box::new(move |rows| piece(rows)?.reshape(((), rest))) }
            }
        })
    }
}

impl From<Tensor> for ParamGradient {
    fn from(tensor: Tensor) -> Self {
        Self::Whole(tensor)
    }
}

/// The gradient of a value, which several layers may share.
#[derive(Clone, Debug)]
pub struct Gradient {
    tensor: Rc<Tensor>,
    /// Whether something other than gradients reads its memory.
    is_lent: bool,
}

impl From<Tensor> for Gradient {
    /// A gradient whose memory nothing else reads.
    fn from(tensor: Tensor) -> Self {
        Self { tensor: Rc::new(tensor), is_lent: false }
    }
}

impl Gradient {
    /// A gradient in memory that something else reads too.
    pub fn lent(tensor: &Tensor) -> Self {
        Self { tensor: Rc::new(tensor.clone()), is_lent: true }
    }

    /// The values.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// The tensor, if its memory is free to be overwritten.
    ///
    /// # Errors
    /// The gradient itself, if it is not.
    pub fn owned(self) -> std::result::Result<Tensor, Self> {
        let Self { tensor, is_lent } = self;
        match Rc::try_unwrap(tensor) {
            Ok(tensor) if !is_lent => Ok(tensor),
            Ok(tensor) => Err(Self { tensor: Rc::new(tensor), is_lent }),
            Err(tensor) => Err(Self { tensor, is_lent }),
        }
    }

    /// A view or a conversion of it.
    ///
    /// # Errors
    /// Those of `change`.
    pub fn map(self, change: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Self> {
        let is_lent = self.is_lent || Rc::strong_count(&self.tensor) > 1;
        Ok(Self { tensor: Rc::new(change(&self.tensor)?), is_lent })
    }

    fn plus(self, other: Self) -> Result<Self> {
        let sum = match (self.owned(), other) {
            (Ok(sum), other) => add_to(sum, other.tensor()),
            (Err(shared), other) => match other.owned() {
                Ok(sum) => add_to(sum, shared.tensor()),
                Err(other) => sum(shared.tensor(), other.tensor()),
            },
        };
        Ok(Self::from(sum?))
    }
}

/// Gradients of a layer's inputs, in their order (None where none was wanted), and of its parameters.
#[derive(Default)]
pub struct LayerGradients {
    pub inputs: Vec<Option<Gradient>>,
    pub params: Vec<(TensorId, ParamGradient)>,
}

impl LayerGradients {
    /// Those of a layer with one input and no parameters.
    pub fn of_input(gradient: impl Into<Gradient>) -> Self {
        Self { inputs: vec![Some(gradient.into())], params: vec![] }
    }
}

/// From the gradient of a layer's output to those of its inputs and parameters. Holds the tensors that it needs, and
/// frees them when it has run.
pub type Backward = Box<dyn FnOnce(Gradient) -> Result<LayerGradients>>;

/// A layer's output, and its backward pass.
pub struct Evaluated {
    pub y: Tensor,
    pub backward: Backward,
}

impl Evaluated {
    /// An output with the gradient of its only input as a function of its own.
    pub fn of_input(y: Tensor, gradient: impl FnOnce(Gradient) -> Result<Gradient> + 'static) -> Self {
        Self { y, backward: Box::new(|dy| Ok(LayerGradients::of_input(gradient(dy)?))) }
    }
}

/// Runs an operation outside of candle's graph; its backward pass keeps its input and its output.
pub(super) fn recorded(op: impl Op<1> + 'static, x: &Tensor) -> Result<Evaluated> {
    let y = evaluate(&op, [x])?;
    let (x, kept) = (x.clone(), y.clone());
    let backward = move |dy: Gradient| {
        let [dx] = op.backward([&x], &kept, dy.tensor())?;
        Ok(LayerGradients { inputs: vec![dx.map(Gradient::from)], params: vec![] })
    };
    Ok(Evaluated { y, backward: Box::new(backward) })
}

/// One recorded layer. Values are numbered within their pass.
struct Entry {
    /// The values that it reads; None where no gradient is wanted.
    from: Vec<Option<usize>>,
    to: usize,
    params: Vec<TensorId>,
    backward: Backward,
}

/// One pass of a network.
pub struct RecordedPass {
    entries: Vec<Entry>,
    /// Whether a value depends on parameters or on a tracked input.
    tracked: Vec<bool>,
    /// The tracked input and its number.
    input: Option<(usize, Tensor)>,
    tape: Option<Tape>,
    /// The variables that stand for values outside of the pass, and the values' dtype within it.
    outputs: Vec<(Tensor, usize, DType)>,
}

impl RecordedPass {
    /// A pass over `values` values, of which number `entry` is the input `x`. Without a tape all of them are constants.
    pub fn new(values: usize, entry: usize, x: &Tensor, tape: Option<&Tape>) -> Self {
        let mut tracked = vec![false; values];
        tracked[entry] = x.track_op() && tape.is_some();
        let input = tracked[entry].then(|| (entry, x.clone()));
        Self { entries: vec![], tracked, input, outputs: vec![], tape: tape.cloned() }
    }

    /// For each of the values `from`, whether its gradient is wanted.
    pub fn wants(&self, from: &[usize]) -> Vec<bool> {
        from.iter().map(|value| self.tracked[*value]).collect()
    }

    /// Records the layer that computed value `to` and read the parameters `params`, which may get gradients. It is dropped
    /// if nothing wants its gradients.
    pub fn layer(&mut self, from: &[usize], to: usize, params: Vec<TensorId>, backward: Backward) {
        let from: Vec<Option<usize>> = from.iter().map(|v| self.tracked[*v].then_some(*v)).collect();
        if params.is_empty() && from.iter().all(Option::is_none) {
            return;
        }
        self.tracked[to] = true;
        self.entries.push(Entry { from, to, params, backward });
    }

    /// The value `value`, which is `y`, for use outside of the pass as `dtype`: a variable of candle's graph if it is
    /// tracked.
    ///
    /// # Errors
    /// Memory for its copy.
    pub fn output(&mut self, value: usize, y: &Tensor, dtype: DType) -> Result<Tensor> {
        let outside = y.to_dtype(dtype)?;
        if !self.tracked[value] {
            return Ok(outside);
        }
        let leaf = Var::from_tensor(&outside)?.into_inner();
        self.outputs.push((leaf.clone(), value, y.dtype()));
        Ok(leaf)
    }

    /// Leaves the pass on its tape.
    pub fn finish(mut self) {
        if let Some(tape) = self.tape.take().filter(|_| !self.entries.is_empty()) {
            tape.0.borrow_mut().push(self);
        }
    }

    /// Takes the gradients of the outputs from `store` and walks the layers in reverse. Returns the gradient of the
    /// input, if that is tracked and was reached.
    fn backward(
        self,
        store: &mut GradStore,
        params: &mut ParamGradients,
    ) -> Result<Option<(Tensor, Tensor)>> {
        let mut gradients: Vec<Option<Gradient>> = vec![None; self.tracked.len()];
        for (leaf, value, dtype) in self.outputs {
            if let Some(gradient) = store.remove(&leaf) {
                add(&mut gradients[value], gradient.to_dtype(dtype)?.into())?;
            }
        }
        for Entry { from, to, params: ids, backward } in self.entries.into_iter().rev() {
            let Some(gradient) = gradients[to].take() else {
                // A branch that the loss does not depend on.
                ids.into_iter().try_for_each(|id| params.used(id))?;
                continue;
            };
            let found = backward(gradient)?;
            for (value, gradient) in from.into_iter().zip(found.inputs) {
                if let Some((value, gradient)) = value.zip(gradient) {
                    add(&mut gradients[value], gradient)?;
                }
            }
            // A parameter that was read without learning counts as read.
            let learned = |id: &TensorId| found.params.iter().any(|(other, _)| other == id);
            ids.into_iter().filter(|id| !learned(id)).try_for_each(|id| params.used(id))?;
            found.params.into_iter().try_for_each(|(id, gradient)| params.add(id, gradient))?;
        }
        let Some((entry, x)) = self.input else { return Ok(None) };
        let gradient = gradients[entry].take().map(|gradient| gradient.tensor().to_dtype(x.dtype()));
        Ok(gradient.transpose()?.map(|gradient| (x, gradient)))
    }
}

fn add(sum: &mut Option<Gradient>, gradient: Gradient) -> Result<()> {
    *sum = Some(match sum.take() {
        Some(sum) => sum.plus(gradient)?,
        None => gradient,
    });
    Ok(())
}

/// Sums over the uses of each parameter; a gradient leaves for the sink when no further use is left.
struct ParamGradients<'a> {
    /// Uses that are still to come.
    uses: HashMap<TensorId, usize>,
    sums: HashMap<TensorId, Tensor>,
    sink: &'a mut dyn GradientSink,
}

impl ParamGradients<'_> {
    fn add(&mut self, id: TensorId, gradient: ParamGradient) -> Result<()> {
        if self.uses.get(&id).is_none_or(|uses| *uses == 1) && !self.sums.contains_key(&id) {
            self.uses.insert(id, 0);
            return self.sink.accept(id, gradient);
        }
        let gradient = gradient.whole()?;
        let sum = match self.sums.remove(&id) {
            Some(sum) => add_to(sum, &gradient)?,
            None => gradient,
        };
        self.sums.insert(id, sum);
        self.used(id)
    }

    /// Counts a use down, and hands the sum over after the last.
    fn used(&mut self, id: TensorId) -> Result<()> {
        let left = self.uses.entry(id).or_insert(1);
        if *left == 0 {
            bail!("a parameter of a network is also read between its passes, after its gradient was complete")
        }
        *left -= 1;
        if *left > 0 {
            return Ok(());
        }
        match self.sums.remove(&id) {
            Some(sum) => self.sink.accept(id, sum.into()),
            None => Ok(()),
        }
    }
}

/// What the passes of one step have recorded, in order.
#[derive(Clone, Default)]
pub struct Tape(Rc<RefCell<Vec<RecordedPass>>>);

impl Tape {
    /// Hands the gradients of the scalar `loss` with respect to all parameters to `sink` and empties the tape. candle's
    /// graph of the loss is freed before the layers are walked.
    ///
    /// # Errors
    /// Those of the operations and of the sink; a parameter of a recorded layer that candle's graph reads between passes.
    pub fn backward(&self, loss: Tensor, sink: &mut dyn GradientSink) -> Result<()> {
        let _layouts = keep_layouts(loss.device());
        let passes = self.0.take();
        let mut store = loss.backward()?;
        drop(loss);
        let mut params = ParamGradients { uses: uses(&passes, &store), sums: HashMap::new(), sink };
        for pass in passes.into_iter().rev() {
            let Some((x, gradient)) = pass.backward(&mut store, &mut params)? else { continue };
            if x.is_variable() {
                merge_one(&mut store, x.id(), &gradient)?;
            } else {
                // The graph's part of the gradient of x, from a scalar whose gradient in x is the one found.
                merge(&mut store, (x * gradient)?.sum_all()?.backward()?)?;
            }
        }
        let outside: Vec<TensorId> = store.get_ids().copied().collect();
        for id in outside {
            if let Some(gradient) = store.get_id(id).cloned() {
                params.add(id, gradient.into())?;
            }
        }
        Ok(())
    }
}

/// How often the layers of `passes`, and candle's graph, read each parameter.
fn uses(passes: &[RecordedPass], store: &GradStore) -> HashMap<TensorId, usize> {
    let mut uses = HashMap::new();
    for id in passes.iter().flat_map(|pass| &pass.entries).flat_map(|entry| &entry.params) {
        *uses.entry(*id).or_insert(0) += 1;
    }
    for id in store.get_ids() {
        uses.entry(*id).and_modify(|uses| *uses += 1);
    }
    uses
}

/// Adds the gradients of `more` to those of `store`.
fn merge(store: &mut GradStore, more: GradStore) -> Result<()> {
    for id in more.get_ids() {
        if let Some(gradient) = more.get_id(*id) {
            merge_one(store, *id, gradient)?;
        }
    }
    Ok(())
}

fn merge_one(store: &mut GradStore, id: TensorId, gradient: &Tensor) -> Result<()> {
    let sum = match store.get_id(id) {
        Some(sum) => (sum + gradient)?,
        None => gradient.clone(),
    };
    store.insert_id(id, sum);
    Ok(())
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tape({} passes)", self.0.borrow().len())
    }
}
