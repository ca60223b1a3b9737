//! Trained models: the one in `tests/data`, and those of the folder that `SHADERNET_MODELS` names, on the device with
//! no fallback.

mod common;

use std::path::Path;

use prost::Message;
use shadernet::ops::Tolerance;
use shadernet::{DType, Model, Result, Rng, Session, SessionOptions, Tensor, import};

/// Differences beyond this share of an output's greatest magnitude are wrong.
const OF_GREATEST: Tolerance = Tolerance { rel: 0.0, abs: 1e-4 };

fn text_direction() -> Result<Model> {
    Model::load(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/text-direction/model.onnx"))
}

#[test]
fn text_direction_equals_the_reference() -> Result<()> {
    let Some(gpu) = common::gpu() else { return Ok(()) };
    let model = text_direction()?;
    let session = Session::new(gpu, &model, &SessionOptions::default())?;
    let mut rng = Rng::new(1);
    for (batch, width) in [(1, 192), (3, 192), (2, 100)] {
        let x = rng.tensor(DType::F32, &[batch, 3, 48, width], -1.0, 1.0)?;
        let want = model.reference().run(&[("x", x.clone())])?;
        let got = session.run(&[("x", x)])?;
        assert_eq!(got.len(), want.len());
        for ((name, g), (_, w)) in got.iter().zip(&want) {
            assert_eq!(common::check::mismatch(g, w, OF_GREATEST), None, "{name} at batch {batch}, width {width}");
        }
    }
    assert!(session.last_run().host_nodes.is_empty());
    Ok(())
}

/// Every intermediate value too, with no pass that changes which there are.
#[test]
fn text_direction_equals_the_reference_at_every_node() -> Result<()> {
    let Some(gpu) = common::gpu() else { return Ok(()) };
    let model = text_direction()?;
    let x = Rng::new(2).tensor(DType::F32, &[1, 3, 48, 192], -1.0, 1.0)?;
    let values = model.reference().run_values(&[("x", x.clone())])?;
    let mut graph = (**model.graph()).clone();
    graph.outputs = graph.nodes.iter().flat_map(|n| n.used_outputs()).collect();
    let outputs = graph.outputs.clone();
    let session = Session::from_graph(gpu, &graph, &SessionOptions::default())?;
    let got = pollster::block_on(session.run_ordered(&[x]))?;
    assert!(got.len() > 50, "{} values", got.len());
    for (id, g) in outputs.iter().zip(&got) {
        let name = &graph.value(*id).name;
        assert_eq!(common::check::mismatch(g, &values[id], OF_GREATEST), None, "{name}");
    }
    Ok(())
}

fn read(path: &Path) -> Result<Tensor> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let proto = onnx_proto::TensorProto::decode(bytes.as_slice()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    import::tensor_from_proto(&proto)
}

/// Folders `<model>/model.onnx` with `test_data_set_0/{input,output}_<i>.pb`.
#[test]
fn golden_outputs_of_further_models() -> Result<()> {
    let (Some(gpu), Some(folder)) = (common::gpu(), std::env::var_os("SHADERNET_MODELS")) else { return Ok(()) };
    let mut folders: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    folders.sort();
    folders.retain(|f| f.join("model.onnx").is_file());
    assert!(!folders.is_empty(), "no models in {folder:?}");
    for f in folders {
        let model = Model::load(f.join("model.onnx"))?;
        let session = Session::new(gpu, &model, &SessionOptions::default())?;
        let set = f.join("test_data_set_0");
        let inputs = (model.inputs().iter().enumerate())
            .map(|(i, info)| Ok((info.name.as_str(), read(&set.join(format!("input_{i}.pb")))?)))
            .collect::<Result<Vec<_>>>()?;
        for (i, (name, got)) in session.run(&inputs)?.iter().enumerate() {
            let want = read(&set.join(format!("output_{i}.pb")))?;
            assert_eq!(common::check::mismatch(got, &want, OF_GREATEST), None, "{}: {name}", f.display());
        }
    }
    Ok(())
}

/// What a golden output of this type may differ by: narrow types are rounded at other places than ONNX Runtime's.
fn of_single_operators(d: DType) -> Tolerance {
    match d {
        DType::F16 | DType::BF16 => Tolerance { rel: 0.0, abs: 4.0 * Tolerance::ulps(d, 1.0).rel },
        _ => OF_GREATEST,
    }
}

/// Single operators whose outputs another runtime made, in the same form, of `tests/data/contrib`.
#[test]
fn golden_outputs_of_single_operators() -> Result<()> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/contrib");
    let mut folders: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    folders.sort();
    let mut wrong = vec![];
    for f in folders {
        let name = f.file_name().unwrap_or_default().display().to_string();
        let model = Model::load(f.join("model.onnx"))?;
        let set = f.join("test_data_set_0");
        let inputs = (model.inputs().iter().enumerate())
            .map(|(i, info)| Ok((info.name.as_str(), read(&set.join(format!("input_{i}.pb")))?)))
            .collect::<Result<Vec<_>>>()?;
        let mut compare = |place: &str, made: Result<Vec<(String, Tensor)>>| match made {
            Err(e) => wrong.push(format!("{name} on the {place}: {e}")),
            Ok(made) => made.iter().enumerate().for_each(|(i, (_, got))| {
                let want = read(&set.join(format!("output_{i}.pb"))).unwrap();
                let m = common::check::mismatch(got, &want, of_single_operators(want.dtype()));
                wrong.extend(m.map(|m| format!("{name} on the {place}, output {i}: {m}")));
            }),
        };
        compare("interpreter", model.reference().run(&inputs));
        if let Some(gpu) = common::gpu() {
            let session = Session::new(gpu, &model, &SessionOptions::default());
            compare("device", session.and_then(|s| s.run(&inputs)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
