//! Inputs and outputs of runs that stay on the device.

use crate::device_tensor::DeviceTensor;
use crate::gpu::exec;
use crate::gpu::runner::{OnDevice, Val, Wanted};
use crate::model::{ValueInfo, check_types, find, missing};
use crate::session::Session;
use crate::tensor::Tensor;
use crate::{Result, RunStats, bail, ensure, err};

/// Elements of floats up to which an input stays on the host, where a plan can look at it.
const SMALL: usize = 1 << 12;

/// What becomes of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Every run gives it.
    Given,
    /// It stays on the device.
    Kept,
    /// It stays there and is this input of the next run.
    State(usize),
}

/// The inputs and outputs of a session's runs, bound once for many runs; made by [`Session::bind`]. What is bound stays
/// bound. State goes from run to run without leaving the device:
///
/// ```no_run
/// # fn f(session: &shadernet::Session, chunks: &[shadernet::Tensor]) -> shadernet::Result<()> {
/// use shadernet::{DType, Tensor};
///
/// let mut io = session.bind();
/// io.alias_state("state", "next_state")?.input("state", Tensor::zeros(DType::F32, [2, 1, 128]))?;
/// for chunk in chunks {
///     let outputs = io.input("samples", chunk.clone())?.run()?; // all but the state
/// }
/// let state = io.read("next_state")?;
/// # Ok(()) }
/// ```
pub struct Binding {
    session: Session,
    inputs: Vec<Option<Val>>,
    fates: Vec<Fate>,
    /// What the last run left of outputs that stay.
    kept: Vec<Option<Val>>,
}

impl Binding {
    pub(crate) fn new(session: Session) -> Binding {
        let (inputs, outputs) = (session.inputs().len(), session.outputs().len());
        Binding { session, inputs: vec![None; inputs], fates: vec![Fate::Given; outputs], kept: vec![None; outputs] }
    }

    /// Gives an input for all runs from here on. Large floats go to the device now, once.
    ///
    /// # Errors
    /// `InvalidInput` when the model has no such input, or one of another element type.
    pub fn input(&mut self, name: &str, tensor: Tensor) -> Result<&mut Self> {
        let gpu = self.session.gpu();
        let val = match gpu.profile().device_type(tensor.dtype()) {
            Ok(device) if tensor.dtype().is_float() && tensor.len() > SMALL => {
                Val::Device(OnDevice::upload(gpu, &tensor, device)?)
            }
            _ => Val::Host(tensor),
        };
        self.bind(name, val)
    }

    /// As [`Binding::input`], of a tensor that is on the device: what is in the buffer when a run begins counts.
    ///
    /// # Errors
    /// As [`Binding::input`]; also when the buffer is too small, or lacks a usage.
    pub fn buffer(&mut self, name: &str, tensor: DeviceTensor) -> Result<&mut Self> {
        let on = tensor.checked(self.session.gpu(), &format!("input {name:?}"))?;
        self.bind(name, Val::Device(on))
    }

    fn bind(&mut self, name: &str, val: Val) -> Result<&mut Self> {
        let at = find(self.session.inputs(), name, "input")?;
        let (declared, got) = (&self.session.inputs()[at].declared, val.tensor_type());
        if let Some(declared) = declared {
            let fits = declared.dtype() == Some(got.dtype);
            ensure!(fits, InvalidInput, "input {name:?}: expected {declared}, got {got}");
        }
        self.inputs[at] = Some(val);
        Ok(self)
    }

    /// Leaves an output on the device, for [`Binding::read`] and [`Binding::kept`]; runs do not give it.
    ///
    /// # Errors
    /// `InvalidInput` when the model has no such output.
    pub fn keep(&mut self, output: &str) -> Result<&mut Self> {
        let at = find(self.session.outputs(), output, "output")?;
        self.fates[at] = Fate::Kept;
        Ok(self)
    }

    /// Makes an output of each run an input of the next, and leaves it on the device. The first run takes what
    /// [`Binding::input`] gave; giving the input again begins anew.
    ///
    /// # Errors
    /// `InvalidInput` when the model has no such input or output, when their element types differ, or when the input has
    /// another output already.
    pub fn alias_state(&mut self, input: &str, output: &str) -> Result<&mut Self> {
        let (i, o) = (find(self.session.inputs(), input, "input")?, find(self.session.outputs(), output, "output")?);
        let of = |info: &ValueInfo| info.declared.as_ref().and_then(|d| d.dtype());
        let (from, to) = (of(&self.session.outputs()[o]), of(&self.session.inputs()[i]));
        if let (Some(from), Some(to)) = (from, to) {
            ensure!(from == to, InvalidInput, "output {output:?} is of {from}, input {input:?} of {to}");
        }
        let other = self.fates.iter().position(|f| *f == Fate::State(i)).filter(|other| *other != o);
        if let Some(other) = other.and_then(|o| self.session.outputs().get(o)) {
            bail!(InvalidInput, "input {input:?} is given by output {:?} already", other.name);
        }
        self.fates[o] = Fate::State(i);
        Ok(self)
    }

    /// Runs, and gives the outputs that do not stay on the device, in the model's order. Waits for the device.
    ///
    /// # Errors
    /// As [`Session::run`]. After one of the device, state must be given anew.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run(&mut self) -> Result<Vec<(String, Tensor)>> {
        pollster::block_on(self.run_async())
    }

    /// As [`Binding::run`], without waiting.
    ///
    /// # Errors
    /// As [`Binding::run`].
    pub async fn run_async(&mut self) -> Result<Vec<(String, Tensor)>> {
        let expected = self.session.inputs();
        let given = expected.iter().zip(&self.inputs).map(|(info, val)| val.clone().ok_or_else(|| missing(info)));
        let inputs: Vec<Val> = given.collect::<Result<_>>()?;
        check_types(expected, &inputs.iter().map(Val::tensor_type).collect::<Vec<_>>())?;
        let wanted: Vec<Wanted> = (self.fates.iter().zip(&self.kept))
            .map(|(fate, kept)| match (fate, kept) {
                (Fate::Given, _) => Wanted::Host,
                (_, Some(Val::Device(d))) => Wanted::Device(Some(d.buffer.clone())),
                _ => Wanted::Device(None),
            })
            .collect();
        let made = self.session.run_wanted(inputs, &wanted, RunStats::default()).await?;
        let mut given = vec![];
        for (o, val) in made.into_iter().enumerate() {
            match self.fates[o] {
                Fate::Given => given.push((self.session.outputs()[o].name.clone(), val.into_host()?)),
                fate => {
                    if let Fate::State(i) = fate {
                        self.inputs[i] = Some(val.clone());
                    }
                    self.kept[o] = Some(val);
                }
            }
        }
        Ok(given)
    }

    fn left(&self, output: &str) -> Result<&Val> {
        let at = find(self.session.outputs(), output, "output")?;
        let left = self.kept[at].as_ref();
        left.ok_or_else(|| err!(InvalidInput, "output {output:?} was not kept, or nothing has run yet"))
    }

    /// Brings an output that stayed on the device to the host. Waits for the device.
    ///
    /// # Errors
    /// `InvalidInput` when no run has left it there; those of the device.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read(&self, output: &str) -> Result<Tensor> {
        pollster::block_on(self.read_async(output))
    }

    /// As [`Binding::read`], without waiting.
    ///
    /// # Errors
    /// As [`Binding::read`].
    pub async fn read_async(&self, output: &str) -> Result<Tensor> {
        exec::download(self.session.gpu(), self.left(output)?).await
    }

    /// Where the last run left an output. The next run writes into the same buffer, if the output has the same size.
    ///
    /// # Errors
    /// `InvalidInput` when no run has left it there, or it was known without the device.
    pub fn kept(&self, output: &str) -> Result<DeviceTensor> {
        match self.left(output)? {
            Val::Device(d) => Ok(d.clone().into()),
            Val::Host(_) => bail!(InvalidInput, "output {output:?} is known on the host and in no buffer"),
        }
    }
}
