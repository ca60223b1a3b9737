use super::*;
use naga::valid::{Capabilities, ValidationFlags, Validator};

fn library(files: &[(&'static str, &'static str)]) -> Library {
    let mut files = files.to_vec();
    files.extend(SHADERS.iter().filter(|(n, _)| n.starts_with("types/")));
    files.sort();
    Library::new(Vec::leak(files))
}

fn compose_file(text: &'static str, spec: Spec) -> Result<String, ComposeError> {
    library(&[
        ("m.wgsl", text),
        ("lib.wgsl", "//#include more.wgsl\nconst K: u32 = 3u;\nconst LOST: u32 = 1u;\n// K\nfn helper(a: u32) -> u32 { return a + K + more(); }"),
        ("more.wgsl", "//#include lib.wgsl\nvar<private> count: u32;\nfn more() -> u32 { return count; }\nfn unused() {}"),
        ("param.wgsl", "const N: u32 = 1u; //#param\nfn twice() -> u32 { return N * 2u; }"),
    ])
    .compose(&spec)
}

fn ok(text: &'static str, spec: Spec) -> String {
    compose_file(text, spec).expect("composes")
}

fn error(text: &'static str, spec: Spec) -> String {
    compose_file(text, spec).expect_err("is in error").to_string()
}

fn m() -> Spec {
    Spec::new("m.wgsl")
}

fn validate(text: &str) -> (naga::Module, naga::valid::ModuleInfo) {
    let module = naga::front::wgsl::parse_str(text).unwrap_or_else(|e| panic!("{}\n{text}", e.emit_to_string(text)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .validate(&module)
        .unwrap_or_else(|e| panic!("{}\n{text}", e.emit_to_string(text)));
    (module, info)
}

#[test]
fn params_replace_values() {
    let text = ok(
        "const A: u32 = 4u; //#param a note\nconst B: i32 = 1i; //#param\nconst C: f32 = 1.0; //#param\n\
         const D: bool = true; //#param\nalias E = f32; //#param\n",
        m().u32("A", 7).i32("B", i32::MIN).f32("C", 1e-7).flag("D", false).wgsl("E", "vec4<f32>"),
    );
    assert_eq!(
        text,
        "const A: u32 = 7u;\nconst B: i32 = i32(-2147483648);\nconst C: f32 = 1e-7f;\nconst D: bool = false;\n\
         alias E = vec4<f32>;\n"
    );
    validate(&text);
}

#[test]
fn types_rename_what_begins_with_them() {
    let text = ok(
        "alias T = f32; //#type\nalias Acc = f32; //#type\n// T_add\nfn f(T_a: T, b: Acc) -> Acc {\n\
         return Acc_add(Acc_from_i32(T_a), TT_x(b)); }\nfn TT_x(a: u32) -> u32 { return a; }",
        m().ty("T", DeviceType::I8).ty("Acc", DeviceType::U8),
    );
    assert!(text.starts_with(
        "alias T = i32;\nalias Acc = u32;\n// T_add\nfn f(i8_a: T, b: Acc) -> Acc {\n\
         return u8_add(u8_from_i32(i8_a), TT_x(b)); }\n"
    ));
    assert!(text.contains("fn u8_narrow("));
    assert!(!text.contains("fn u8_sub("));
    validate(&text);
}

#[test]
fn flags_choose_lines_and_nest() {
    let source = "a\n//#if A\nb\n//#if !B\nc\n//#else\nd\n//#endif\n//#else\ne\n//#if B\nf\n//#endif\n//#endif\ng\n";
    let of = |a, b| ok(source, m().flag("A", a).flag("B", b)).replace('\n', "");
    assert_eq!(of(true, true), "abdg");
    assert_eq!(of(true, false), "abcg");
    assert_eq!(of(false, true), "aefg");
    assert_eq!(of(false, false), "aeg");
}

#[test]
fn params_of_lines_left_out_are_known_but_not_needed() {
    let source = "//#if A\nconst N: u32 = 1u; //#param\n//#insert X\n//#endif\n";
    assert_eq!(ok(source, m().flag("A", false)), "");
    assert_eq!(ok(source, m().flag("A", false).u32("N", 3).code("X", "!")), "");
    assert!(error(source, m().flag("A", true)).contains("lacks the parameter N"));
}

#[test]
fn inserted_code_brings_its_includes_and_types() {
    let text = ok(
        "alias T = f32; //#type\nfn f(x: T) -> T {\n//#insert BODY\n}\n",
        m().ty("T", DeviceType::F32)
            .code("BODY", "//#include lib.wgsl\nlet n = helper(1u);\nreturn T_max(x, f32_abs(x)) + bf16_neg(x);"),
    );
    for name in ["fn helper(", "fn f32_max(", "fn bf16_from_f32(", "const K", "fn more(", "count"] {
        assert!(text.contains(name), "{name}\n{text}");
    }
    for name in ["unused", "LOST", "f32_exp", "//#", "enable"] {
        assert!(!text.contains(name), "{name}\n{text}");
    }
    validate(&text);
}

#[test]
fn a_param_of_several_files_is_declared_once() {
    let text = ok(
        "//#include param.wgsl\nconst N: u32 = 1u; //#param\nfn f() -> u32 { return twice() + N; }",
        m().u32("N", 5),
    );
    assert_eq!(text.matches("const N: u32 = 5u;").count(), 1);
    validate(&text);
    // Declared in an included file alone, it is a declaration like others.
    let text = ok("//#include param.wgsl\nfn f() -> u32 { return twice(); }", m().u32("N", 5));
    assert!(text.contains("const N: u32 = 5u;"));
    validate(&text);
}

#[test]
fn half_floats_are_enabled_where_they_are_used() {
    let half = |t| ok("alias T = f32; //#type\nfn f(x: T) -> T { return T_exp(x); }", m().ty("T", t));
    assert!(half(DeviceType::F16).starts_with("enable f16;\n"));
    validate(&half(DeviceType::F16));
    assert!(!half(DeviceType::F32).contains("enable"));
    let text = ok("enable f16;\nfn f() -> u32 { let x = 1.0h; return 1u; }", m());
    assert_eq!(text.matches("enable f16;").count(), 1);
    validate(&text);
}

#[test]
fn faults_are_named_with_their_place() {
    let cases = [
        ("\n//#include none.wgsl", "m.wgsl:2: includes none.wgsl, which does not exist"),
        ("\n\n//#frob", "m.wgsl:3: //#frob is not a directive"),
        ("//#if A\n", "m.wgsl:1: the spec lacks the parameter A"),
        ("//#else\n", "m.wgsl:1: //#else without an //#if"),
        ("//#endif\n", "m.wgsl:1: //#endif without an //#if"),
        ("//#include\n", "m.wgsl:1: //#include takes the name of a file"),
        ("//#if A B\n", "m.wgsl:1: //#if takes one argument at most"),
        ("let a = 1; //#if A\n", "m.wgsl:1: //#if needs a line of its own"),
        ("//#insert X", "m.wgsl:1: the spec lacks the parameter X"),
        ("fn f() {} //#param", "m.wgsl:1: //#param ends a line with const NAME: TYPE = VALUE; or alias NAME = TYPE;"),
        ("const T: u32 = 1u; //#type", "m.wgsl:1: //#type ends a line with alias NAME = TYPE;"),
    ];
    for (source, message) in cases {
        assert_eq!(error(source, m()), message);
    }
    assert_eq!(error("//#if A\n//#else\n//#else\n//#endif", m().flag("A", true)), "m.wgsl:3: //#else without an //#if");
    assert_eq!(error("x\n//#if A\n", m().flag("A", true)), "m.wgsl:2: //#if without its //#endif");
    assert_eq!(error("x", m().u32("N", 1)), "m.wgsl: the spec's parameter N is not declared");
    assert_eq!(error("const N: u32 = 1u; //#param", m().i32("N", 1)), "m.wgsl:1: N is to be u32, not I32(1)");
    assert_eq!(
        error("const N: f32 = 1.0; //#param", m().f32("N", f32::INFINITY)),
        "m.wgsl:1: N is inf, but a constant of WGSL is finite; pass its bits as a u32"
    );
    assert_eq!(error("//#insert X", m().code("X", "\n//#bad")), "m.wgsl, code X:2: //#bad is not a directive");
    assert_eq!(error("//#insert X", m().code("X", "//#insert X")), "m.wgsl, code X:1: the code X inserts itself");
    assert_eq!(
        compose(&Spec::new("none.wgsl")).map_err(|e| e.to_string()),
        Err("none.wgsl: no such shader file".to_string())
    );
}

#[test]
fn comments_and_numbers_hold_no_identifiers() {
    assert_eq!(identifiers("a /* b /* c */ d */ 0x1fu 1e5f // e\n_f.g 2.5h h1"), ["_f", "a", "f16", "g", "h1"]);
}

#[test]
fn items_are_split_at_the_top_level() {
    let text = "enable f16;\n@group(0) @binding(0) var<storage, read> v: array<u32>;\nstruct S { a: u32, }\n\
                const C = array<u32, 2>(1u, 2u);\n@compute @workgroup_size(C[0]) fn main() { if a { b(); } }\n\
                alias A = u32;\noverride o: f32;\nconst_assert true;";
    let items = split_items(text);
    let names: Vec<&str> = items.iter().map(|i| i.name).collect();
    assert_eq!(names, ["v", "S", "C", "main", "A", "o"]);
    assert!(items.iter().all(|i| i.is_entry == (i.name == "main")));
    assert_eq!(items[1].text, "struct S { a: u32, }");
}

#[test]
fn every_type_module_parses_as_it_stands() {
    for (name, text) in SHADERS.iter().filter(|(n, _)| n.starts_with("types/")) {
        if let Err(e) = naga::front::wgsl::parse_str(text) {
            let message = e.message();
            assert!(message.starts_with("no definition in scope"), "{name}: {message}");
        }
    }
}

/// A shader that calls each function of a module. The arguments come from a buffer, so that nothing is folded.
fn caller_of(t: DeviceType) -> String {
    let mut calls = String::new();
    let module = SHADERS.iter().find(|(n, _)| *n == t.module()).unwrap().1;
    for item in split_items(module).iter().filter(|i| i.text.starts_with("fn")) {
        let head = item.text.split('{').next().unwrap();
        let arguments = head.split(['(', ')']).nth(1).unwrap();
        let arguments: Vec<&str> = arguments
            .split(", ")
            .filter_map(|a| Some(a.split_once(": ")?.1))
            .map(|ty| match ty {
                "f32" => "bitcast<f32>(data[i])",
                "f16" => "f16(bitcast<f32>(data[i]))",
                "i32" => "bitcast<i32>(data[i])",
                "u32" => "data[i]",
                "bool" => "data[i] == 1u",
                "F64Parts" => "F64Parts(data[i], bitcast<i32>(data[i + 1u]), vec2<u32>(data[i + 2u], 0u))",
                "vec2<u32>" => "vec2<u32>(data[i], data[i + 1u])",
                other => panic!("{}: {other}", item.name),
            })
            .collect();
        let call = format!("{}({})", item.name, arguments.join(", "));
        let word = match head.rsplit("-> ").next().unwrap().trim() {
            "f32" => format!("bitcast<u32>({call})"),
            "f16" => format!("bitcast<u32>(f32({call}))"),
            "i32" => format!("bitcast<u32>({call})"),
            "u32" | "bool" => format!("u32({call})"),
            "vec2<u32>" => format!("{call}.x"),
            "vec2<i32>" => format!("bitcast<u32>({call}.x)"),
            "vec2<f32>" => format!("bitcast<u32>({call}.x)"),
            "F32Reduced" => format!("{call}.quadrant"),
            "F64Parts" => format!("{call}.negative"),
            "U64Quotient" => format!("{call}.rest.x"),
            other => panic!("{}: {other}", item.name),
        };
        calls.push_str(&format!("    data[i] = {word};\n"));
    }
    calls
}

#[test]
fn every_type_module_is_valid_and_translates() {
    let main = "@group(0) @binding(0) var<storage, read_write> data: array<u32>;\n\
                @compute @workgroup_size(1) fn main(@builtin(global_invocation_id) id: vec3<u32>) {\n\
                let i = id.x;\n//#insert CALLS\n}\n";
    for t in DeviceType::ALL {
        let calls = caller_of(t);
        assert!(calls.lines().count() > 30, "{t:?}");
        let text = ok(main, m().code("CALLS", calls));
        let (module, info) = validate(&text);

        let options = naga::back::spv::Options::default();
        naga::back::spv::write_vec(&module, &info, &options, None).expect("SPIR-V");

        let options =
            naga::back::msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
        naga::back::msl::write_string(&module, &info, &options, &Default::default()).expect("MSL");

        let options =
            naga::back::hlsl::Options { shader_model: naga::back::hlsl::ShaderModel::V6_2, ..Default::default() };
        let mut hlsl = String::new();
        let pipeline = Default::default();
        naga::back::hlsl::Writer::new(&mut hlsl, &options, &pipeline).write(&module, &info, None).expect("HLSL");
    }
}

#[test]
fn every_cast_is_valid() {
    use crate::kernels::device_type::{cast_expr, cast_wrap_expr};
    let main = "alias T = f32; //#type\nalias U = f32; //#type\nvar<workgroup> from_: T;\nvar<workgroup> to_: U;\n\
                @compute @workgroup_size(1) fn main() {\n//#insert CAST\n}\n";
    for from in DeviceType::ALL {
        for to in DeviceType::ALL {
            let code = format!("to_ = {};\nto_ = {};", cast_expr(from, to, "from_"), cast_wrap_expr(from, to, "from_"));
            let text = ok(main, m().ty("T", from).ty("U", to).code("CAST", code));
            validate(&text);
        }
    }
}

#[test]
fn equal_specs_compose_alike() {
    let spec = || Spec::new("common/linear_id.wgsl");
    let text = compose(&spec()).expect("composes");
    assert_eq!(text, compose(&spec()).expect("composes"));
    validate(&text);
}
