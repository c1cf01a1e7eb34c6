//! Convolutions whose windows reach far over the border of the input.

use super::{EPILOGUES, agrees, operands, steps};
use crate::Random;

#[test]
fn each_cell_counts_where_it_lies_inside() {
    let mut taken = 0;
    for seed in 0..60 {
        let mut random = Random::new(7000 + seed);
        let mut pick = |from: &[usize]| *random.pick(from);
        let (n, c, o) = (pick(&[1, 2]), pick(&[64, 70, 96]), pick(&[5, 16, 33, 64, 130]));
        let (kh, kw) = (pick(&[1, 3, 3, 5]), pick(&[3, 3, 4]));
        let (sh, sw) = (pick(&[1, 1, 2]), pick(&[1, 1, 2]));
        let (dh, dw) = (pick(&[1, 2, 5, 9]), pick(&[3, 7, 12]));
        let (h, w) = (pick(&[1, 4, 9]), pick(&[3, 8, 13]));
        // So that the middle cell is where the result is, or so that no cell is everywhere.
        let off = pick(&[0, 0, 0, 1]);
        let pad = [kh / 2 * dh, (kh - 1) * dh - kh / 2 * dh, kw / 2 * dw + off, (kw - 1) * dw - kw / 2 * dw];
        let sizes = [(h, pad[0] + pad[1], kh, dh, sh), (w, pad[2] + pad[3], kw, dw, sw)];
        let [oh, ow] = sizes.map(|(size, border, k, d, s)| (size + border - (k - 1) * d - 1) / s + 1);
        let epilogue = EPILOGUES[pick(&[0, 1, 2, 3, 4, 5, 6, 7, 8])];
        let operands = operands(epilogue);
        let text = format!(
            "input %x: f32[{n},{c},{h},{w}]
             input %r0: f32[{n},{o},{oh},{ow}]
             param \"w\": f32[{o},{c},{kh},{kw}]
             param \"b\": f32[{o},1,1]
             %w: f32[{o},{c},{kh},{kw}] = parameter 0
             %b: f32[{o},1,1] = parameter 1
             %r = pointwise(%r0) {{ neg(i0) }}
             %y = convolution(%x, %w{operands}) stride=[{sh},{sw}] padding=[({},{}),({},{})] \
                 dilation=[{dh},{dw}] {epilogue}
             output %y",
            pad[0], pad[1], pad[2], pad[3]
        );
        agrees(&text, seed);
        taken += usize::from(steps(&text).contains("cells of"));
    }
    assert!((30..60).contains(&taken), "{taken}");
}

#[test]
fn small_windows_stay_in_bands() {
    let text = "input %x: f32[1,128,40,40]
        param \"w\": f32[64,128,3,3]
        %w: f32[64,128,3,3] = parameter 0
        %y = convolution(%x, %w) padding=[(P,P),(P,P)] dilation=[P,P]
        output %y";
    assert!(steps(&text.replace('P', "1")).contains("Winograd"));
    assert!(
        steps(
            &text.replace("padding", "stride=[2,2] padding").replace("dilation=[P,P]", "").replace('P', "1")
        )
        .contains("tiles 1x20x20x64")
    );
    assert!(steps(&text.replace('P', "24")).contains("9 cells of 3x3 24x24 apart"));
    assert!(steps(&text.replace('P', "40")).contains("1 cells of 3x3"));
}
