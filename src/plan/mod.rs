//! From nodes with concrete shapes to dispatches over buffers: views and lowering, the program they make, and the
//! assignment of buffers to slots by lifetime.

mod large;
mod lower;
mod places;
mod program;
mod repeats;
mod report;
mod segment;
pub(crate) mod slots;
pub(crate) mod texels;
mod view;

pub use large::Slicing;
pub use lower::{Bind, LowerCx, Lowering};
pub use program::{BufId, BufKind, Buffer, Constant, Dispatch, Make, Program, Span};
pub use report::{MemoryReport, PlanReport, PlanStats};
pub(crate) use report::{PARAM_ALIGN, UPLOAD_CHUNK};
pub use segment::{End, Fallback, Known, Planned, Segment, kept, plan};
pub use slots::{Place, Slots};
pub(crate) use view::dense_strides;
pub use view::{Finer, View};
