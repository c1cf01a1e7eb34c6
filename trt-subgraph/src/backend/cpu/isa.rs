//! The vector instructions that engines use: the best of the machine, or fewer where `TRT_CPU_ISA` says so.

use std::str::FromStr;
use std::sync::OnceLock;

/// The variable that holds the engine to fewer instructions.
pub const VARIABLE: &str = "TRT_CPU_ISA";

/// Vector instructions, as far as loops differ by them; each has those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Isa {
    /// What every machine of the architecture has.
    Portable,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512,
    /// That and sums of two products of bf16.
    Avx512Bf16,
}

impl Isa {
    /// All, the fewest instructions first.
    pub const ALL: [Isa; 4] = [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16];

    /// The best of this machine.
    pub fn detect() -> Isa {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") && has!("fma") {
                return if has!("avx512bf16") { Isa::Avx512Bf16 } else { Isa::Avx512 };
            }
            if has!("avx2") && has!("fma") {
                return Isa::Avx2;
            }
        }
        Isa::Portable
    }

    /// What [`VARIABLE`] names, else the best of this machine: the same for as long as the process runs. The error is one sentence.
    pub fn of_process() -> Result<Isa, String> {
        static CHOSEN: OnceLock<Result<Isa, String>> = OnceLock::new();
        let read = || std::env::var_os(VARIABLE).unwrap_or_default().to_string_lossy().trim().to_string();
        CHOSEN.get_or_init(|| chosen(&read(), Isa::detect())).clone()
    }

    /// As [`VARIABLE`] has it.
    pub fn word(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Avx512Bf16 => "avx512-bf16",
        }
    }

    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable loops",
            Isa::Avx2 => "AVX2",
            Isa::Avx512 => "AVX-512",
            Isa::Avx512Bf16 => "AVX-512 BF16",
        }
    }
}

impl FromStr for Isa {
    type Err = ();

    fn from_str(word: &str) -> Result<Isa, ()> {
        Isa::ALL.into_iter().find(|isa| isa.word() == word).ok_or(())
    }
}

fn chosen(word: &str, best: Isa) -> Result<Isa, String> {
    if word.is_empty() {
        return Ok(best);
    }
    let words = |all: &[Isa]| all.iter().map(|isa| isa.word()).collect::<Vec<_>>().join(", ");
    let Ok(isa) = word.parse::<Isa>() else {
        return Err(format!("{VARIABLE}={word} is not understood; it takes: {}", words(&Isa::ALL)));
    };
    if isa > best {
        let here: Vec<Isa> = Isa::ALL.into_iter().filter(|&isa| isa <= best).collect();
        return Err(format!(
            "{VARIABLE}={word}, which this processor does not have; here it takes: {}",
            words(&here)
        ));
    }
    Ok(isa)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_holds_the_engine_to_what_the_machine_has() {
        assert_eq!(chosen("", Isa::Avx2), Ok(Isa::Avx2));
        assert_eq!(chosen("portable", Isa::Avx512), Ok(Isa::Portable));
        assert_eq!(chosen("avx2", Isa::Avx2), Ok(Isa::Avx2));
        let e = chosen("avx512", Isa::Avx2).unwrap_err();
        assert_eq!(
            e,
            "TRT_CPU_ISA=avx512, which this processor does not have; here it takes: portable, avx2"
        );
        let e = chosen("sse9", Isa::Avx512).unwrap_err();
        assert_eq!(e, "TRT_CPU_ISA=sse9 is not understood; it takes: portable, avx2, avx512, avx512-bf16");
    }
}
