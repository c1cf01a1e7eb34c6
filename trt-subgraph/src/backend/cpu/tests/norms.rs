//! Normalisation by the statistics of rows.

use super::agrees;

#[test]
fn rows_of_any_length_and_scale() {
    let mut seed = 0;
    for n in [1, 2, 7, 31, 32, 96, 197, 768, 1500, 5000] {
        for scale in ["i0", "i0 * 1e25:f32", "i0 * 1e-25:f32", "i0 + 1e5:f32", "i0 * 1e-3:f32 - 3:f32"] {
            for rms in [false, true] {
                for (operands, after) in [
                    ("", ""),
                    (", %g, %b", "{ i0 * i1 + i2 }"),
                    (", %g", "{ i1 * i0 }"),
                    (", %b", "{ max(i1 + i0, 0:f32) }"),
                    (", %g, %o", "{ (i0 * i1 + i2) * i1 }"),
                ] {
                    agrees(
                        &format!(
                            "input %x: f32[3,5,{n}]
                             input %o: f32[5,1]
                             param \"g\": f32[{n}]
                             param \"b\": f32[1,1,{n}]
                             %g: f32[{n}] = parameter 0
                             %b: f32[1,1,{n}] = parameter 1
                             %s = pointwise(%x) {{ {scale} }}
                             %y = normalize(%s{operands}) axes=[2] eps=1e-5 rms={rms} {after}
                             output %y"
                        ),
                        seed,
                    );
                    seed += 1;
                }
            }
        }
    }
}

#[test]
fn groups_over_several_axes() {
    for (seed, axes) in ["1,2", "2", "1", "0,2"].into_iter().enumerate() {
        let shapes = if axes == "1,2" { ("6,40", "6,40") } else { ("40", "1") };
        agrees(
            &format!(
                "input %x: f32[4,6,40]
                 input %g: f32[{}]
                 input %b: f32[{}]
                 %y = normalize(%x, %g, %b) axes=[{axes}] eps=1e-6 rms=false {{ i0 * i1 + i2 }}
                 output %y",
                shapes.0, shapes.1
            ),
            seed as u64,
        );
    }
}

#[test]
fn many_groups_at_once() {
    let mut seed = 100;
    // Groups of planes' places, and short rows.
    for (shape, axis, length) in
        [("2,21,70", 1, 21), ("3,130,2,33", 1, 130), ("90,7", 1, 7), ("2,40,48", 2, 48), ("16,3,3", 2, 3)]
    {
        for scale in ["i0", "i0 * 1e25:f32", "i0 * 1e-25:f32", "i0 + 1e5:f32", "i0 * 0:f32", "i0 / 0:f32"] {
            for (layer, after) in [
                (format!("softmax(%s) axis={axis} log=false"), ""),
                (format!("softmax(%s) axis={axis} log=true"), ""),
                (format!("normalize(%s) axes=[{axis}] eps=1e-5 rms=false"), ""),
                (format!("normalize(%s) axes=[{axis}] eps=1e-5 rms=true"), "{ max(i0, 0:f32) }"),
                (format!("reduce(%s) op=sum axes=[{axis}] keep=true"), ""),
                (format!("reduce(%s) op=mean axes=[{axis}] keep=false"), "{ i0 * 2:f32 }"),
                (format!("reduce(%s) op=max axes=[{axis}] keep=false"), ""),
                (format!("reduce(%s) op=min axes=[{axis}] keep=true"), ""),
            ] {
                agrees(
                    &format!(
                        "input %x: f32[{shape}]
                         %s = pointwise(%x) {{ {scale} }}
                         %y = {layer} {after}
                         output %y"
                    ),
                    seed,
                );
                seed += 1;
            }
        }
        let last = shape.split(',').count() - 1 == axis;
        let gain = if last { format!("f32[{length}]") } else { continue };
        agrees(
            &format!(
                "input %x: f32[{shape}]
                 param \"g\": {gain}
                 param \"b\": {gain}
                 %g: {gain} = parameter 0
                 %b: {gain} = parameter 1
                 %y = normalize(%x, %g, %b) axes=[{axis}] eps=1e-5 rms=false {{ tanh(i0 * i1 + i2) }}
                 output %y"
            ),
            seed,
        );
    }
}
