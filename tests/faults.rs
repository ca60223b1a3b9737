//! What goes wrong on the device: it is lost, out of memory, or misused. A run then gives an error of kind `Device` or
//! the right result, never another one, and a new device goes on with the same model.

mod common;

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::onnx;
use prost::Message;
use shadernet::{ErrorKind, Gpu, GpuOptions, Model, Result, Session, SessionOptions, Tensor};

/// A device whose handle the test keeps.
fn own() -> Option<(Gpu, wgpu::Device)> {
    common::gpu()?;
    let mut desc = wgpu::InstanceDescriptor::new_without_display_handle();
    desc.backends = wgpu::Backends::PRIMARY;
    let instance = wgpu::Instance::new(desc);
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default())).ok()?;
    let desc = wgpu::DeviceDescriptor { required_limits: adapter.limits(), ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&desc)).ok()?;
    Some((Gpu::from_wgpu(&adapter, device.clone(), queue).ok()?, device))
}

const N: usize = 192;

/// `x` through a number of products with a matrix that keeps its values' sum.
fn products(count: usize) -> Model {
    let w: Vec<f32> = (0..N * N).map(|i| if (i / N + 1) % N == i % N { 1.0 } else { 0.0 }).collect();
    let names: Vec<String> = (1..count).map(|i| format!("v{i}")).collect();
    let names: Vec<&str> = std::iter::once("x").chain(names.iter().map(String::as_str)).chain(["y"]).collect();
    let nodes = names.windows(2).map(|n| onnx::node("MatMul", &[n[0], "w"], &[n[1]])).collect();
    let mut g = onnx::graph(vec![onnx::constant("w", Tensor::new([N, N], w).unwrap())], nodes);
    g.input = vec![onnx::floats("x", &[N as i64, N as i64])];
    Model::from_bytes(&onnx::model(g).encode_to_vec()).unwrap()
}

fn run(session: &Session, x: f32) -> Result<Vec<f32>> {
    let x = Tensor::new([N, N], vec![x; N * N])?;
    session.run(&[("x", x)])?[0].1.to_vec()
}

/// The right result, or an error of the device.
fn right_or_refused(got: Result<Vec<f32>>, x: f32) -> bool {
    match got {
        Ok(y) => {
            assert!(y.iter().all(|v| *v == x), "{x} became {:?}", y.iter().find(|v| **v != x));
            true
        }
        Err(e) => {
            assert_eq!(e.kind(), ErrorKind::Device, "{e}");
            assert!(!e.to_string().contains('\n'), "{e}");
            false
        }
    }
}

#[test]
fn a_lost_device_says_so_and_another_goes_on() -> Result<()> {
    let Some((gpu, device)) = own() else { return Ok(()) };
    let model = products(2);
    let session = Session::new(&gpu, &model, &SessionOptions::default())?;
    assert!(right_or_refused(run(&session, 3.0), 3.0));
    device.destroy();
    for x in [4.0, 5.0] {
        let e = run(&session, x).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Device);
        assert!(e.message().contains("lost"), "{e}");
    }
    let e = Session::new(&gpu, &products(3), &SessionOptions::default()).map(|_| ()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Device, "{e}");
    let Some((gpu, _device)) = own() else { return Ok(()) };
    let session = Session::new(&gpu, &model, &SessionOptions::default())?;
    assert!(right_or_refused(run(&session, 6.0), 6.0));
    Ok(())
}

#[test]
fn a_device_lost_in_the_middle_of_a_run_gives_no_result() -> Result<()> {
    let model = products(24);
    let mut refused = 0;
    for turn in 0..12u32 {
        let Some((gpu, device)) = own() else { return Ok(()) };
        let session = Session::new(&gpu, &model, &SessionOptions::default())?;
        assert!(right_or_refused(run(&session, 1.0), 1.0));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_micros(300 * u64::from(turn)));
                device.destroy();
            });
            for i in 0..50 {
                let x = (2 + i) as f32;
                if !right_or_refused(run(&session, x), x) {
                    refused += 1;
                    break;
                }
            }
        });
    }
    assert_eq!(refused, 12, "a lost device went on");
    Ok(())
}

/// What another does wrong on the device between runs is not theirs; what happens during a run makes it fail.
#[test]
fn faults_of_others_make_no_wrong_results() -> Result<()> {
    let Some((gpu, device)) = own() else { return Ok(()) };
    let misuse = || {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::STORAGE;
        drop(device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 16, usage, mapped_at_creation: false }));
    };
    let session = Session::new(&gpu, &products(4), &SessionOptions::default())?;
    misuse();
    assert!(right_or_refused(run(&session, 2.0), 2.0), "a fault before the run is not its own");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                misuse();
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        for i in 0..20 {
            right_or_refused(run(&session, i as f32), i as f32);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(right_or_refused(run(&session, 7.0), 7.0), "the device goes on");
    Ok(())
}

const LIMITED: &str = "SHADERNET_LIMITED";

#[test]
#[cfg(target_os = "linux")]
fn out_of_memory_is_an_error() {
    if common::gpu().is_none_or(|g| g.info().kind != "cpu") {
        return; // a device with memory of its own takes nothing of the process's
    }
    let exe = std::env::current_exe().unwrap();
    let run = "ulimit -v 2500000; exec \"$0\" --ignored --exact with_little_memory --nocapture";
    let made = Command::new("sh").args(["-c", run]).arg(exe).env(LIMITED, "1").output().unwrap();
    let text = String::from_utf8_lossy(&made.stdout);
    assert!(made.status.success() && text.contains("REFUSED"), "{text}{}", String::from_utf8_lossy(&made.stderr));
}

#[test]
#[ignore = "what the test above runs in a process of its own"]
fn with_little_memory() {
    if std::env::var_os(LIMITED).is_none() {
        return;
    }
    let nodes = vec![
        onnx::node("Tile", &["x", "n"], &["t"]),
        onnx::with("ReduceMax", &["t"], &["y"], vec![onnx::int("keepdims", 0)]),
    ];
    let g = onnx::graph(vec![onnx::longs("n", &[(1 << 28) - (1 << 12)])], nodes);
    let options = shadernet::import::ImportOptions {
        limits: shadernet::Limits { memory: 64 << 30, ..Default::default() },
        ..Default::default()
    };
    let large = Model::from_bytes_with(&onnx::model(g).encode_to_vec(), &options).unwrap();
    let gpu = pollster::block_on(Gpu::new(GpuOptions::from_env())).unwrap();
    let x = Tensor::vector(&[1f32, 2.0]);
    let session = pollster::block_on(large.session(&gpu).build());
    let e = session.and_then(|s| s.run(&[("x", x)])).map(|_| ()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Device, "{e}");
    println!("REFUSED: {e}");
    // the same device, or another where that one is lost
    let model = products(2);
    let again = |gpu: &Gpu| run(&Session::new(gpu, &model, &SessionOptions::default())?, 3.0);
    let y = again(&gpu).or_else(|_| again(&pollster::block_on(Gpu::new(GpuOptions::from_env()))?)).unwrap();
    assert!(y.iter().all(|v| *v == 3.0));
}
