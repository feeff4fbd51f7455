//! A plan with its buffers, pipelines and bind groups.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::launch::{Binding, Context, Location, Shader, fold};
use super::pools::{Pipeline, scoped};
use super::{GpuBuffer, GpuDevice, Granted, wgsl};
use crate::plan::{BufferId, KernelCost, Place, Plan, PlanReport};
use crate::state::Buffer;
use crate::{Data, Error, Program, Result, Shape, State};

/// A program planned for an adapter.
pub struct GpuExecutable {
    device: GpuDevice,
    program: Program,
    report: PlanReport,
    costs: Vec<KernelCost>,
    outputs: Vec<(Location, usize)>,
    data: Vec<(String, GpuBuffer)>,
    states: Vec<(String, Shape)>,
    slots: Vec<GpuBuffer>,
    auxiliary: Option<GpuBuffer>,
    launches: Vec<Launch>,
    params: Option<wgpu::Buffer>,
    /// The state's buffers of the last run; the bind groups hold them.
    bound: Vec<wgpu::Buffer>,
    in_flight: VecDeque<wgpu::SubmissionIndex>,
    pipelines: usize,
    /// The launches that are submitted together.
    submissions: Vec<Range<usize>>,
    ran: bool,
}

struct Launch {
    pipeline: Arc<Pipeline>,
    bindings: Vec<Binding>,
    params: Option<(u64, u64)>,
    workgroups: [u32; 3],
    bind_group: Option<wgpu::BindGroup>,
}

/// Seconds of work, by a low estimate of what a GPU can do, after which a run goes on in another submission: systems end
/// one that takes seconds, and the device is lost.
const SUBMITTED: f64 = 0.2;

/// FLOPs and bytes a second of a weak GPU, and of a software adapter.
const RATES: [[f64; 2]; 2] = [[1e11, 1e10], [5e9, 2e9]];

/// Runs that may be queued before a caller has to wait.
const IN_FLIGHT: usize = 2;

impl GpuExecutable {
    pub(super) fn new(device: &GpuDevice, program: &Program, plan: Plan) -> Result<Self> {
        let started = std::time::Instant::now();
        let context = Context::new(&plan, device.0.info.limits, device.variants())?;
        plan.check_views()?;
        check_sizes(&plan, device.max_tensor())?;
        let [flops, bytes] = RATES[usize::from(device.0.info.is_software())];
        let (mut shaders, mut seconds): (Vec<Shader>, Vec<f64>) = (Vec::new(), Vec::new());
        for kernel in &plan.kernels {
            let made: Vec<Shader> = wgsl::lower(kernel, &context);
            let estimate = kernel.flops() as f64 / flops + kernel.bytes(&plan.buffers) as f64 / bytes;
            seconds.extend(made.iter().map(|_| estimate / made.len() as f64));
            shaders.extend(made);
        }
        for shader in &shaders {
            let Granted { max_storage_buffers, max_loop_rounds, .. } = device.0.info.limits;
            for (needed, granted, unit) in [
                (shader.bindings.len() as u64, max_storage_buffers, "storage buffers"),
                (shader.rounds, max_loop_rounds, "rounds of an invocation's loops"),
            ] {
                if needed > u64::from(granted) {
                    let what = format!("kernel {}", shader.name);
                    return Err(Error::Limit { what, needed, granted: granted.into(), unit });
                }
            }
        }
        let folded: Vec<[u32; 3]> = shaders
            .iter()
            .map(|s| fold(s.name, s.workgroups, device.0.info.limits.max_workgroups_per_dim))
            .collect::<Result<_>>()?;
        let auxiliary = shaders.iter().map(|shader| shader.auxiliary).max().filter(|&words| words > 0);
        if let Some(words) = auxiliary {
            check_size("the partial sums", &[words].into(), 4 * words as u64, device.max_tensor())?;
        }
        device.budget().check(plan.memory() + 4 * auxiliary.unwrap_or(0) as u64)?;

        let auxiliary = auxiliary.map(|words| device.allocate(words)).transpose()?;
        let elements = |place: &Place| {
            let here = plan.buffers.iter().filter(|b| b.place == *place);
            here.map(|b| b.shape.numel()).max().unwrap_or(0)
        };
        let data = context.data().iter().map(|name| {
            let place = Place::Data((*name).to_owned());
            Ok(((*name).to_owned(), device.allocate(elements(&place))?))
        });
        let data = data.collect::<Result<Vec<_>>>()?;
        let slots = plan.slots.iter().map(|&words| device.allocate(words)).collect::<Result<Vec<_>>>()?;
        let states = context.states().iter().filter_map(|name| {
            let named = |place: &Place| matches!(place, Place::State(n) if n == name);
            plan.buffers.iter().find(|b| named(&b.place)).map(|b| ((*name).to_owned(), b.shape.clone()))
        });
        let states = states.collect();

        let pipelines = device.0.pipelines.get(&device.0.device, &shaders.iter().collect::<Vec<_>>())?;
        let (params, places) = upload_params(device, &shaders)?;
        let output = |id: &BufferId| (context.location(*id), plan.buffers[id.index()].shape.numel());
        let outputs = plan.outputs.iter().map(output).collect();
        let distinct: std::collections::HashSet<_> = pipelines.iter().map(Arc::as_ptr).collect();
        tracing::info!(
            kernels = plan.kernels.len(),
            launches = shaders.len(),
            pipelines = distinct.len(),
            ms = started.elapsed().as_millis() as u64,
            "compiled a program"
        );
        let distinct = distinct.len();
        let launches = shaders.into_iter().zip(pipelines).zip(folded).zip(places);
        let launches = launches.map(|(((shader, pipeline), workgroups), params)| Launch {
            pipeline,
            bindings: shader.bindings,
            params,
            workgroups,
            bind_group: None,
        });
        let launches: Vec<Launch> = launches.collect();
        Ok(Self {
            device: device.clone(),
            program: program.clone(),
            report: PlanReport { launches: launches.len(), ..plan.report },
            costs: plan.kernel_costs(),
            outputs,
            data,
            states,
            slots,
            auxiliary,
            submissions: parts(&seconds),
            launches,
            params,
            bound: Vec::new(),
            in_flight: VecDeque::new(),
            pipelines: distinct,
            ran: false,
        })
    }

    /// Launches of one run, finishing ones included, and the different pipelines among them.
    pub fn launches(&self) -> (usize, usize) {
        (self.launches.len(), self.pipelines)
    }

    pub(crate) fn run(&mut self, state: &mut State, inputs: &[(&str, Data<'_>)]) -> Result<()> {
        self.device.check()?;
        self.bind(state)?;
        let Self { device, data, launches, submissions, .. } = self;
        let mut writes: Vec<(&wgpu::Buffer, &[u8])> = Vec::with_capacity(data.len());
        for (name, buffer) in data.iter() {
            let Some((_, values)) = inputs.iter().find(|(given, _)| given == name) else {
                return Err(Error::MissingInput { name: name.clone() });
            };
            let bytes: &[u8] = match values {
                Data::F32(values) => bytemuck::cast_slice(values),
                Data::U32(values) => bytemuck::cast_slice(values),
            };
            if bytes.len() != 4 * buffer.elements {
                return Err(Error::DataLength {
                    name: name.clone(),
                    found: values.len(),
                    shape: [buffer.elements].into(),
                });
            }
            if !bytes.is_empty() {
                writes.push((&buffer.buffer, bytes));
            }
        }
        let inner = &*device.0;
        let submission = scoped(
            &inner.device,
            || "running a program".into(),
            || {
                for (buffer, bytes) in writes {
                    inner.queue.write_buffer(buffer, 0, bytes);
                }
                let mut submission = None;
                for part in submissions.iter() {
                    let mut encoder = inner.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
                    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                    let mut current: Option<&Arc<Pipeline>> = None;
                    for launch in &launches[part.clone()] {
                        if !current.is_some_and(|pipeline| Arc::ptr_eq(pipeline, &launch.pipeline)) {
                            pass.set_pipeline(&launch.pipeline.pipeline);
                            current = Some(&launch.pipeline);
                        }
                        pass.set_bind_group(0, launch.bind_group.as_ref(), &[]);
                        let [x, y, z] = launch.workgroups;
                        pass.dispatch_workgroups(x, y, z);
                    }
                    drop(pass);
                    submission = Some(inner.queue.submit([encoder.finish()]));
                }
                inner.staged.store(0, Ordering::Relaxed);
                submission.unwrap_or_else(|| inner.queue.submit([]))
            },
        )?;
        self.ran = true;
        self.in_flight.push_back(submission);
        while self.in_flight.len() > IN_FLIGHT
            && let Some(oldest) = self.in_flight.front()
        {
            self.device.wait(oldest.clone())?;
            self.in_flight.pop_front();
        }
        self.device.settle()
    }

    /// Makes the bind groups hold this state's buffers.
    fn bind(&mut self, state: &mut State) -> Result<()> {
        let mut buffers = Vec::with_capacity(self.states.len());
        for (name, shape) in &self.states {
            match state.buffer(name, shape)? {
                Buffer::Gpu(buffer) if buffer.device.same(&self.device) => buffers.push(buffer.buffer.clone()),
                _ => return Err(Error::DeviceMismatch { what: "a state" }),
            }
        }
        let changed: Vec<bool> = buffers.iter().enumerate().map(|(i, b)| self.bound.get(i) != Some(b)).collect();
        self.bound = buffers;
        let mut launches = std::mem::take(&mut self.launches);
        let stale = |launch: &Launch| {
            launch.bind_group.is_none()
                || launch.bindings.iter().any(|b| matches!(b.at, Location::State(i) if changed[i]))
        };
        let made = scoped(
            &self.device.0.device,
            || "binding buffers".into(),
            || {
                for launch in launches.iter_mut().filter(|launch| stale(launch)) {
                    launch.bind_group = self.bind_group(launch);
                }
            },
        );
        self.launches = launches;
        if made.is_err() {
            // Nothing made under an error is kept.
            self.launches.iter_mut().for_each(|launch| launch.bind_group = None);
        }
        made
    }

    fn bind_group(&self, launch: &Launch) -> Option<wgpu::BindGroup> {
        let mut entries = Vec::with_capacity(launch.bindings.len() + 1);
        if let (Some((offset, size)), Some(buffer)) = (launch.params, &self.params) {
            let size = wgpu::BufferSize::new(size);
            let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size });
            entries.push(wgpu::BindGroupEntry { binding: 0, resource });
        }
        for (i, binding) in launch.bindings.iter().enumerate() {
            let resource = self.buffer(binding.at)?.as_entire_binding();
            entries.push(wgpu::BindGroupEntry { binding: i as u32 + 1, resource });
        }
        Some(self.device.0.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &launch.pipeline.layout,
            entries: &entries,
        }))
    }

    fn buffer(&self, at: Location) -> Option<&wgpu::Buffer> {
        match at {
            Location::Data(i) => self.data.get(i).map(|(_, b)| &b.buffer),
            Location::State(i) => self.bound.get(i),
            Location::Slot(i) => self.slots.get(i).map(|b| &b.buffer),
            Location::Auxiliary => self.auxiliary.as_ref().map(|b| &b.buffer),
            Location::Nowhere => None,
        }
    }

    pub(crate) fn output(&mut self, index: usize) -> Result<Vec<f32>> {
        let missing = || Error::MissingInput { name: format!("output {index} before a run") };
        let &(at, elements) = self.outputs.get(index).filter(|_| self.ran).ok_or_else(missing)?;
        self.device.read(self.buffer(at).ok_or_else(missing)?, elements)
    }

    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    pub(crate) fn report(&self) -> &PlanReport {
        &self.report
    }

    pub(crate) fn kernel_costs(&self) -> &[KernelCost] {
        &self.costs
    }
}

/// Every tensor fits in one binding of `granted` bytes; said before anything is allocated.
fn check_sizes(plan: &Plan, granted: u64) -> Result<()> {
    // What the user named comes first.
    let mut buffers: Vec<_> = plan.buffers.iter().filter(|b| b.place != Place::Tile).collect();
    buffers.sort_by_key(|b| matches!(b.place, Place::Slot(_)));
    for buffer in buffers {
        let what = match &buffer.place {
            Place::Data(name) => format!("input {name:?}"),
            Place::State(name) => format!("state {name:?}"),
            Place::Slot(_) | Place::Tile => "an intermediate tensor".to_owned(),
        };
        // Shaders count elements in 32 bits, also those of two bytes.
        let granted = granted.min(buffer.bytes(u32::MAX as usize));
        check_size(&what, &buffer.shape, buffer.size(), granted)?;
    }
    Ok(())
}

fn check_size(what: &str, shape: &Shape, needed: u64, granted: u64) -> Result<()> {
    if needed > granted {
        return Err(Error::TensorSize { what: what.to_owned(), shape: shape.clone(), needed, granted });
    }
    Ok(())
}

/// Offset and size in bytes of each launch's parameters, none where it has none.
type ParamPlaces = Vec<Option<(u64, u64)>>;

/// All launch parameters in one uniform buffer, equal ones once.
fn upload_params(device: &GpuDevice, shaders: &[Shader]) -> Result<(Option<wgpu::Buffer>, ParamPlaces)> {
    let align = device.0.device.limits().min_uniform_buffer_offset_alignment as usize / 4;
    let mut words: Vec<u32> = Vec::new();
    let mut known: HashMap<&[u32], u64> = HashMap::new();
    let mut places = Vec::with_capacity(shaders.len());
    for shader in shaders {
        if shader.params.is_empty() {
            places.push(None);
            continue;
        }
        let size = shader.params.len().next_multiple_of(4);
        let offset = *known.entry(&shader.params).or_insert_with(|| {
            words.resize(words.len().next_multiple_of(align.max(4)), 0);
            let offset = 4 * words.len() as u64;
            words.extend_from_slice(&shader.params);
            words.resize(words.len().next_multiple_of(4), 0);
            offset
        });
        places.push(Some((offset, 4 * size as u64)));
    }
    if words.is_empty() {
        return Ok((None, places));
    }
    let inner = &*device.0;
    let buffer = scoped(
        &inner.device,
        || "launch parameters".into(),
        || {
            inner.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("launch parameters"),
                size: 4 * words.len() as u64,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        },
    )?;
    device.write(&buffer, bytemuck::cast_slice(&words))?;
    Ok((Some(buffer), places))
}

/// Launches in order, given what each takes, in parts of [`SUBMITTED`] seconds or of a single one that takes longer.
fn parts(seconds: &[f64]) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let (mut start, mut sum) = (0, 0.0);
    for (launch, seconds) in seconds.iter().enumerate() {
        if launch > start && sum + seconds > SUBMITTED {
            parts.push(start..launch);
            (start, sum) = (launch, 0.0);
        }
        sum += seconds;
    }
    parts.push(start..seconds.len());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_programs_are_submitted_in_parts() {
        let ends = |seconds: &[f64]| parts(seconds).iter().map(|part| (part.start, part.end)).collect::<Vec<_>>();
        assert_eq!(ends(&[]), [(0, 0)]);
        assert_eq!(ends(&[1e-6; 1000]), [(0, 1000)]);
        assert_eq!(ends(&[0.15, 0.04, 0.04, 3.0, 0.1, 0.1, 0.01]), [(0, 2), (2, 3), (3, 4), (4, 6), (6, 7)]);
    }
}
