//! Initialisers whose data is elsewhere, or not what they say.

use super::*;

/// A secret beside the model's folder, and a good file in it.
fn files(folder: &Path) {
    std::fs::write(folder.join("../secret"), [1u8; 8]).unwrap();
    std::fs::write(folder.join("data"), [0u8; 8]).unwrap();
    std::fs::create_dir_all(folder.join("sub")).unwrap();
}

#[cfg(unix)]
fn links(folder: &Path) {
    files(folder);
    std::os::unix::fs::symlink("../secret", folder.join("link")).unwrap();
    std::os::unix::fs::symlink("..", folder.join("up")).unwrap();
    std::os::unix::fs::symlink("loop", folder.join("loop")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(folder.join("pipe")).status();
    assert!(made.is_ok_and(|s| s.success()));
}

#[cfg(not(unix))]
fn links(folder: &Path) {
    files(folder);
}

/// `y = x + w`, with `w` two floats in a file.
fn reads(name: &'static str, entries: &[(&str, &str)], kinds: &[ErrorKind]) -> Hostile {
    let entry = |(k, v): &(&str, &str)| StringStringEntryProto { key: s(k), value: s(v) };
    let w = TensorProto {
        name: s("w"),
        data_type: Some(1),
        dims: vec![2],
        data_location: Some(tensor_proto::DataLocation::External as i32),
        external_data: entries.iter().map(entry).collect(),
        ..Default::default()
    };
    let m = one(vec![w], node("Add", &["x", "w"], &["y"]));
    Hostile { beside: links, ..Hostile::new(name, &m, kinds) }
}

/// `y = x + w`, with `w` as given.
fn holds(name: &'static str, w: TensorProto) -> Hostile {
    let w = TensorProto { name: s("w"), data_type: w.data_type.or(Some(1)), ..w };
    Hostile::new(name, &one(vec![w], node("Add", &["x", "w"], &["y"])), &[InvalidModel, Limit, Unsupported])
}

fn sparse(name: &'static str, dims: &[i64], values: usize, indices: Tensor) -> Hostile {
    let values = constant("w", Tensor::vector(&vec![3f32; values]));
    let w = SparseTensorProto { values: Some(values), indices: Some(constant("", indices)), dims: dims.to_vec() };
    let mut g = graph(vec![], vec![node("Add", &["x", "w"], &["y"])]);
    g.sparse_initializer = vec![w];
    Hostile::new(name, &model(g), &[InvalidModel, Limit])
}

pub fn all() -> Vec<Hostile> {
    let at = |location: &'static str| [("location", location)];
    let leaves = &[InvalidModel, Io][..];
    let long = "a/".repeat(100_000);
    let mut all = vec![
        reads("parent folder", &at("../secret"), leaves),
        reads("parent folder in the middle", &at("sub/../../secret"), leaves),
        reads("parent folder with backslashes", &at("..\\secret"), leaves),
        reads("absolute path", &at("/etc/passwd"), leaves),
        reads("drive and share", &at("C:\\windows\\win.ini"), leaves),
        reads("address of a file", &at("file:///etc/passwd"), leaves),
        reads("symbolic link to a file", &at("link"), leaves),
        reads("symbolic link to a folder", &at("up/secret"), leaves),
        reads("symbolic link to itself", &at("loop"), leaves),
        reads("a pipe", &at("pipe"), leaves),
        reads("the folder itself", &at("."), leaves),
        reads("a folder", &at("sub"), leaves),
        reads("no location", &[], leaves),
        reads("an empty location", &at(""), leaves),
        reads("a zero byte", &at("data\0"), leaves),
        reads("no such file", &at("nothing"), leaves),
        reads("a path of a hundred thousand folders", &[("location", &long)], leaves),
    ];
    let range = |offset, length| [("location", "data"), ("offset", offset), ("length", length)];
    all.extend([
        reads("offset past the end", &range("8", "8"), leaves),
        reads("offset far past the end", &range("9223372036854775807", "8"), leaves),
        reads("offset that wraps", &range("18446744073709551612", "8"), leaves),
        reads("offset below zero", &range("-4", "8"), leaves),
        reads("offset that is no number", &range("eight", "8"), leaves),
        reads("length past the end", &range("4", "8"), leaves),
        reads("length of more than the tensor", &range("0", "4294967296"), leaves),
        reads("length of less than the tensor", &range("0", "4"), leaves),
        reads("length below zero", &range("0", "-8"), leaves),
        // keys that mean nothing must set nothing
        reads(
            "keys of another program",
            &[("location", "../secret"), ("__class__", "x"), ("basepath", "/etc")],
            leaves,
        ),
    ]);
    let raw = |dims: &[i64], bytes: usize| TensorProto {
        dims: dims.to_vec(),
        raw_data: Some(vec![0; bytes].into()),
        ..Default::default()
    };
    all.extend([
        holds("too few bytes", raw(&[2], 4)),
        holds("too many bytes", raw(&[2], 12)),
        holds("bytes for a part of an element", raw(&[2], 7)),
        holds("no bytes", raw(&[1 << 40], 0)),
        holds("extents that wrap to the bytes", raw(&[1 << 33, 1 << 31], 8)),
        holds("extents that wrap to nothing", raw(&[1 << 32, 1 << 32], 0)),
        holds("extents whose bytes wrap", raw(&[1 << 62], 0)),
        holds("an extent below zero", raw(&[-2], 8)),
        holds("two extents below zero", raw(&[-1, -2], 8)),
        holds("the least extent", raw(&[i64::MIN], 8)),
        holds("an element type that is none", TensorProto { data_type: Some(99), ..raw(&[2], 8) }),
        holds("an element type below zero", TensorProto { data_type: Some(-1), ..raw(&[2], 8) }),
        holds("packed elements short of a byte", TensorProto { data_type: Some(22), ..raw(&[5], 2) }),
        holds("packed elements of 2^62", TensorProto { data_type: Some(22), ..raw(&[1 << 62], 2) }),
        holds(
            "typed data of another type",
            TensorProto { dims: vec![2], int64_data: vec![1, 2], ..Default::default() },
        ),
        holds("typed data too short", TensorProto { dims: vec![1 << 40], float_data: vec![1.0], ..Default::default() }),
        holds(
            "text that is not UTF-8",
            TensorProto {
                data_type: Some(8),
                dims: vec![1],
                string_data: vec![vec![0xff, 0xfe]],
                ..Default::default()
            },
        ),
        holds(
            "data in segments",
            TensorProto {
                segment: Some(tensor_proto::Segment { begin: Some(i64::MAX), end: Some(-1) }),
                ..raw(&[2], 8)
            },
        ),
        sparse("sparse index past the end", &[2], 1, Tensor::vector(&[2i64])),
        sparse("sparse index below zero", &[2], 1, Tensor::vector(&[-1i64])),
        sparse("sparse indices fewer than values", &[2], 2, Tensor::vector(&[0i64])),
        sparse("sparse row past the end", &[2, 2], 1, Tensor::new([1, 2], vec![0i64, 2]).unwrap()),
        sparse("sparse row that wraps", &[2, 2], 1, Tensor::new([1, 2], vec![i64::MAX, i64::MAX]).unwrap()),
        sparse("sparse of 2^40", &[1 << 40], 1, Tensor::vector(&[0i64])),
        sparse("sparse extent below zero", &[-2], 1, Tensor::vector(&[0i64])),
    ]);
    all
}
