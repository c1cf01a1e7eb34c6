//! `tch-trt run`.

use super::{Folder, json, text, tool};
use tch::{Device, Kind, Tensor};

#[test]
fn a_model_with_state_runs_once() {
    let folder = Folder::new();
    let model = folder.counting();
    let x = Tensor::arange(32, (Kind::Float, Device::Cpu)).view([4, 8]) / 7.0;
    Tensor::write_npz(&[("x", &x)], folder.path("in.npz")).unwrap();
    let answer = |name: &str, more: &[&str]| {
        let (file, inputs) = (folder.path(name), folder.path("in.npz"));
        let all = [&["run", &model, "--inputs", &inputs, "-o", &file, "--take-all"], more].concat();
        json(&all, 0);
        Tensor::read_npz(&file).unwrap().remove(0).1
    };
    let (ours, hosts) = (answer("ours.npz", &[]), answer("hosts.npz", &["--host"]));
    assert!(ours.allclose(&hosts, 1e-5, 1e-6, false));
}

#[test]
fn outputs_are_written_and_those_of_the_host() {
    let folder = Folder::new();
    let model = folder.mixed();
    let x = Tensor::arange(32, (Kind::Float, Device::Cpu)).view([4, 8]) / 7.0;
    Tensor::write_npz(&[("x", &x)], folder.path("in.npz")).unwrap();
    for end in ["npz", "safetensors"] {
        let (ours, hosts) = (folder.path(&format!("ours.{end}")), folder.path(&format!("hosts.{end}")));
        let inputs = folder.path("in.npz");
        let found = json(&["run", &model, "--take-all", "--inputs", &inputs, "-o", &ours], 0);
        assert!(found["served"].as_u64().unwrap() >= 2, "{found}");
        let host = json(&["run", &model, "--inputs", &inputs, "-o", &hosts, "--host"], 0);
        assert_eq!((host["served"].as_u64(), &host["outputs"]), (Some(0), &found["outputs"]));
        let read = |path: &str| match end {
            "npz" => Tensor::read_npz(path).unwrap(),
            _ => Tensor::read_safetensors(path).unwrap(),
        };
        let (mut a, mut b) = (read(&ours), read(&hosts));
        assert_eq!(a.len(), 3);
        for list in [&mut a, &mut b] {
            list.sort_by(|x, y| x.0.cmp(&y.0));
        }
        for ((name, a), (_, b)) in a.iter().zip(&b) {
            assert!(a.kind() == b.kind() && a.allclose(b, 1e-5, 1e-6, false), "{name}");
        }
    }
    text(&["run", &model, "--inputs", &folder.path("in.npz"), "-o", &folder.path("out.csv")], 2);
}

#[test]
fn parts_of_arguments_come_by_their_names() {
    let folder = Folder::new();
    let source = "
def forward(self, batch: Dict[str, Tensor], pair: Tuple[Tensor, int], more: List[Tensor]):
    return torch.relu(batch['a'] * 2.0 - batch['b']) * float(pair[1]) + pair[0] + more[0] + more[1]
";
    let (model, inputs, out) =
        (folder.model("parts.pt", source), folder.path("in.npz"), folder.path("out.npz"));
    let four = |from: f32| Tensor::arange(4, (Kind::Float, Device::Cpu)) + f64::from(from);
    let (a, b, x, y, z) = (four(0.0), four(1.0), four(2.0), four(3.0), four(4.0));
    let three = Tensor::from(3i64);
    let all = [
        ("batch.a", &a),
        ("pair.1", &three),
        ("pair.0", &x),
        ("batch.b", &b),
        ("more.1", &z),
        ("more.0", &y),
    ];
    Tensor::write_npz(&all, &inputs).unwrap();
    json(&["run", &model, "--inputs", &inputs, "-o", &out, "--take-all"], 0);
    let want = (&a * 2.0 - &b).relu() * 3.0 + &x + &y + &z;
    assert_eq!(Tensor::read_npz(&out).unwrap().remove(0).1, want);
    for (left_out, more, why) in [
        ("pair.0", None, "`pair` has 2 parts; there is no `pair.0`"),
        ("", Some("pair.2"), "there is a `pair.2`"),
        ("", Some("pair"), "`pair` is given as a whole and in parts"),
        ("", Some("more.last"), "there is a `more.last`"),
        ("", Some("more.0.0"), "`more.0` is given as a whole and in parts"),
        ("more.0", Some("more.0.x"), "`more.0` has no parts"),
        ("pair.1", Some("pair.1"), "`pair.1` is an int, not f32[4]"),
        ("", Some("arr_0.a"), "`batch` and `arr_0` are one argument"),
    ] {
        let mut given: Vec<_> = all.iter().copied().filter(|(name, _)| *name != left_out).collect();
        given.extend(more.map(|name| (name, &a)));
        Tensor::write_npz(&given, &inputs).unwrap();
        let said = json(&["run", &model, "--inputs", &inputs, "-o", &out], 2).to_string();
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn keys_may_have_dots() {
    let folder = Folder::new();
    let source = "
def forward(self, flat: Dict[str, Tensor], deep: Dict[str, Tuple[Tensor, Dict[str, Tensor]]]):
    return {'a.b': flat['a.b'] + deep['c.d'][0], 'e': flat['e'] * deep['c.d'][1]['f']}
";
    let (model, inputs, out) =
        (folder.model("keys.pt", source), folder.path("in.npz"), folder.path("out.npz"));
    let number = |x: f32| Tensor::from_slice(&[x]);
    let names = ["flat.a.b", "flat.e", "deep.c.d.0", "deep.c.d.1.f"];
    let given: Vec<_> = names.iter().zip([1.0, 2.0, 3.0, 4.0]).map(|(n, x)| (n, number(x))).collect();
    Tensor::write_npz(&given, &inputs).unwrap();
    json(&["run", &model, "--inputs", &inputs, "-o", &out], 0);
    let mut read = Tensor::read_npz(&out).unwrap();
    read.sort_by(|x, y| x.0.cmp(&y.0));
    assert_eq!(read, [("output.a.b".into(), number(4.0)), ("output.e".into(), number(8.0))]);
}

#[test]
fn results_that_no_file_holds_are_named() {
    let folder = Folder::new();
    Tensor::write_npz(&[("x", Tensor::ones([2, 3], (Kind::Float, Device::Cpu)))], folder.path("in.npz"))
        .unwrap();
    // 27 is uint16 in torch's count.
    for (returned, why, compared) in [
        ("x + 1.0, x.to(dtype=27)", "`output.1` has elements of type uint16", false),
        ("x + 1.0, x.to_sparse()", "`output.1` is a sparse tensor", false),
        ("x + 1.0, x.to_sparse_csr()", "`output.1` is a sparse tensor", false),
        ("{'a': {'b.c': x}, 'a.b': {'c': x + 1.0}}", "two results would be called `output.a.b.c`", true),
    ] {
        let model = folder.model("odd.pt", &format!("def forward(self, x):\n    return {returned}\n"));
        let said = |arguments: &[&str]| {
            let said = json(arguments, 2)["error"].as_str().unwrap().to_string();
            assert!(said.contains(why) && said.lines().count() == 1 && said.len() < 300, "{said}");
        };
        for out in ["out.npz", "out.safetensors"] {
            said(&["run", &model, "--inputs", &folder.path("in.npz"), "-o", &folder.path(out), "--host"]);
        }
        if !compared {
            said(&["verify", &model, "-i", "(2,3)", "--runs", "1"]);
        }
    }
}

#[test]
fn results_of_every_kind_are_written() {
    let folder = Folder::new();
    let source = "
def forward(self, x, wide: bool):
    y = torch.tanh(x) * 2.0
    if wide:
        return y > 0.0, y.half(), (y * 9.0).long(), (y * 9.0).relu().byte(), y.sum(), y[:0], x.size(0) > 2
    return y > 0.0, y.half(), (y * 9.0).long(), (y * 9.0).relu().byte(), y.sum(), torch.zeros([2], dtype=15), True
";
    let (model, out) = (folder.model("kinds.pt", source), folder.path("out.npz"));
    let x = Tensor::arange(12, (Kind::Float, Device::Cpu)).view([3, 4]) - 5.0;
    let run = |wide: bool, out: &str, code| {
        Tensor::write_safetensors(&[("x", &x), ("wide", &Tensor::from(wide))], folder.path("in.safetensors"))
            .unwrap();
        json(&["run", &model, "--inputs", &folder.path("in.safetensors"), "-o", out, "--take-all"], code)
    };
    run(true, &out, 0);
    // What was written can be read again, here and by others.
    let read = Tensor::read_npz(&out).unwrap();
    let y = x.tanh() * 2.0;
    let long = (&y * 9.0).to_kind(Kind::Int64);
    let all = [
        y.gt(0.0),
        y.to_kind(Kind::Half),
        long,
        (&y * 9.0).relu().to_kind(Kind::Uint8),
        y.sum(Kind::Float),
        y.slice(0, 0, 0, 1),
        Tensor::from(true),
    ];
    assert_eq!(read.len(), all.len());
    for (at, want) in all.iter().enumerate() {
        let got = &read.iter().find(|(name, _)| *name == format!("output.{at}")).unwrap().1;
        assert_eq!((got.kind(), got.size()), (want.kind(), want.size()), "{at}");
        assert!(got.to_kind(Kind::Double).allclose(&want.to_kind(Kind::Double), 1e-5, 1e-6, false), "{at}");
    }
    let said = run(false, &folder.path("other.npz"), 2).to_string();
    assert!(said.contains("`output.5` has elements of bf16, for which .npz has no type"), "{said}");
    run(false, &folder.path("other.safetensors"), 0);
}

/// An .npz of one f32 array `x` of 4 x 8, in Fortran's order or C's.
fn archive(path: &str, fortran: &str, data: &[u8]) {
    use std::io::Write;
    let mut archive = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    archive.start_file("x.npy", zip::write::FileOptions::default()).unwrap();
    let header = format!("{{'descr': '<f4', 'fortran_order': {fortran}, 'shape': (4, 8), }}");
    let header = format!("{header:<117}\n");
    archive.write_all(b"\x93NUMPY\x01\x00").unwrap();
    archive.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
    archive.write_all(header.as_bytes()).unwrap();
    archive.write_all(data).unwrap();
    archive.finish().unwrap();
}

#[test]
fn archives_that_are_cut_short_and_disks_that_are_full_are_told() {
    let folder = Folder::new();
    let (model, whole, cut) = (folder.mixed(), folder.path("whole.npz"), folder.path("cut.npz"));
    archive(&whole, "False", &[0; 128]);
    let bytes = std::fs::read(&whole).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() - 40]).unwrap();
    let said = json(&["run", &model, "--inputs", &cut, "-o", &folder.path("o.npz")], 2).to_string();
    assert!(said.contains("the .npz archive is truncated or damaged") && said.contains("again"), "{said}");
    let full = folder.path("full.npz");
    std::os::unix::fs::symlink("/dev/full", &full).unwrap();
    let errors = tool(&["run", &model, "--inputs", &whole, "-o", &full]).stderr;
    let errors = String::from_utf8(errors).unwrap();
    assert!(errors.starts_with("error: cannot write ") && errors.lines().count() == 1, "{errors}");
}

#[test]
fn a_file_that_lacks_data_is_refused() {
    let folder = Folder::new();
    let model = folder.mixed();
    archive(&folder.path("short.npz"), "False", &[0; 64]);
    let said = json(&["run", &model, "--inputs", &folder.path("short.npz"), "-o", &folder.path("o.npz")], 2);
    assert!(said.to_string().contains("64 bytes of data where its shape needs 128"), "{said}");
}

#[test]
fn members_that_are_no_arrays_or_of_one_name_are_told() {
    use std::io::Write;
    let folder = Folder::new();
    let (model, file) = (folder.mixed(), folder.path("odd.npz"));
    archive(&file, "False", &[0; 128]);
    let append = std::fs::File::options().read(true).write(true).open(&file).unwrap();
    let mut members = zip::ZipWriter::new_append(append).unwrap();
    members.start_file("y.npy", zip::write::FileOptions::default()).unwrap();
    members.write_all(b"text").unwrap();
    members.finish().unwrap();
    let said = || json(&["run", &model, "--inputs", &file, "-o", &folder.path("o.npz")], 2).to_string();
    assert!(said().contains("`y`: this is no array in NumPy's form"), "{}", said());
    archive(&file, "False", &[0; 128]);
    let one = std::fs::read(&file).unwrap();
    let data = one.len() - 22 - (46 + 5);
    // The member once more before the directory, which lists both.
    let (local, end) = (&one[..data], &one[one.len() - 22..]);
    let entry = one[data..one.len() - 22].to_vec();
    let mut second = entry.clone();
    second[42..46].copy_from_slice(&(local.len() as u32).to_le_bytes());
    let mut end = end.to_vec();
    end[8..12].copy_from_slice(&[2, 0, 2, 0]);
    end[12..16].copy_from_slice(&(2 * entry.len() as u32).to_le_bytes());
    end[16..20].copy_from_slice(&(2 * local.len() as u32).to_le_bytes());
    std::fs::write(&file, [local, local, &entry, &second, &end].concat()).unwrap();
    assert!(said().contains("two arrays are called `x`"), "{}", said());
}

#[test]
fn arrays_in_the_order_of_fortran_are_read() {
    let folder = Folder::new();
    let model = folder.mixed();
    let (out, rows, columns) = (folder.path("o.npz"), folder.path("rows.npz"), folder.path("columns.npz"));
    let at = |i: usize| (i as f32 / 7.0).to_le_bytes();
    archive(&rows, "False", &(0..32).flat_map(at).collect::<Vec<u8>>());
    archive(&columns, "True", &(0..32).flat_map(|i| at(i % 4 * 8 + i / 4)).collect::<Vec<u8>>());
    let answer = |inputs: &str| {
        json(&["run", &model, "--host", "--inputs", inputs, "-o", &out], 0);
        Tensor::read_npz(&out).unwrap().remove(0).1
    };
    assert_eq!(answer(&rows), answer(&columns));
}

#[test]
fn bad_safetensors_are_told_in_words() {
    let folder = Folder::new();
    let model = folder.mixed();
    let file = folder.path("x.safetensors");
    let header = br#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let whole = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 8]].concat();
    for (bytes, why) in [
        (&whole[..4], "shorter than the 8 bytes"),
        (&whole[..20], "ends before its header"),
        (&whole[..whole.len() - 1], "ends before or after its last tensor"),
        (&[&5u64.to_le_bytes()[..], b"hello"].concat(), "does not begin with `{`"),
        (&[&7u64.to_le_bytes()[..], b"{hello}"].concat(), "not the JSON that describes tensors"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let said = json(&["run", &model, "--inputs", &file, "-o", &folder.path("o.npz")], 2).to_string();
        assert!(said.contains("no whole .safetensors file") && said.contains(why), "{said}");
    }
    for dtype in ["F8_E4M3", "C64", "U16"] {
        let header = format!(r#"{{"x":{{"dtype":"{dtype}","shape":[0],"data_offsets":[0,0]}}}}"#);
        let whole = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
        std::fs::write(&file, whole).unwrap();
        let said = json(&["run", &model, "--inputs", &file, "-o", &folder.path("o.npz")], 2).to_string();
        assert!(
            said.contains(&format!("`x`: elements of type {dtype} are not taken; these are: BOOL")),
            "{said}"
        );
    }
}
