//! Checksums of device memory, to tell whether weights are still what they were.
//!
//! One launch sums everything: blocks take parts of runs by turns, in a table that lies in the host's memory, and leave a word for each there.

use super::compile::compile;
use super::device::Device;
use super::load::Loaded;
use super::memory::Mapped;
use super::program::{Program, Source};
use super::queue::Queue;
use super::render::Draft;
use crate::backend::view::{Slot, View};
use crate::backend::{Io, MemoryRun};
use crate::{DType, TensorType};
use cudarc::driver::sys::CUstream;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

const THREADS: usize = 256;
/// Blocks for each multiprocessor.
const BLOCKS: usize = 8;
/// The least that is worth a block's turn, in bytes; and so many parts there are at most, beside one for each run.
const LEAST_PART: usize = 1 << 15;
const PARTS: usize = 1 << 12;

/// A device's, which live as long as the process.
pub struct Checksums {
    loaded: Loaded,
    /// For one caller at a time.
    table: Mutex<Table>,
}

/// Words: for each part its address and bytes, and after them room for a sum of each.
struct Table {
    words: Option<Mapped>,
    parts: usize,
}

impl Checksums {
    /// Those of a device.
    pub fn of(device: &Arc<Device>) -> Result<Arc<Checksums>, String> {
        static KNOWN: OnceLock<Mutex<HashMap<usize, Arc<Checksums>>>> = OnceLock::new();
        let mut known = KNOWN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(checksums) = known.get(&device.ordinal) {
            return Ok(checksums.clone());
        }
        let program = program(device.target.multiprocessors * BLOCKS)?;
        let _relaxed = device.enter_relaxed()?;
        let code = compile(&program, &device.target)?;
        let loaded = Loaded::new(device, program, &code)?;
        let checksums = Arc::new(Checksums { loaded, table: Mutex::new(Table { words: None, parts: 0 }) });
        known.insert(device.ordinal, checksums.clone());
        Ok(checksums)
    }

    /// A checksum of each run, when what the stream has to do is done. `None` while it is captured.
    ///
    /// # Safety
    /// The runs are memory of the device, and the stream is one of it.
    pub unsafe fn sum(&self, runs: &[MemoryRun], stream: CUstream) -> Result<Option<Vec<u64>>, String> {
        let (device, mut capturing) = (&self.loaded.device, 0);
        let _relaxed = device.enter_relaxed()?;
        // SAFETY: the caller's promise; a place for the answer.
        let asked = unsafe { (device.driver.cuStreamIsCapturing)(stream, &mut capturing) };
        device.driver.check("cuStreamIsCapturing", asked)?;
        if capturing != 0 {
            return Ok(None);
        }
        let all: usize = runs.iter().map(|run| run.bytes).sum();
        let part = all.div_ceil(PARTS).next_multiple_of(LEAST_PART).max(LEAST_PART);
        let parts: usize = runs.iter().map(|run| run.bytes.div_ceil(part)).sum();
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.words.is_none() || table.parts < parts {
            *table = Table { words: Some(Mapped::new(device, words(parts) * 8)?), parts };
        }
        let Some(memory) = &table.words else { return Ok(None) };
        // SAFETY: as many words, and no kernel is at work on them.
        let all = unsafe { std::slice::from_raw_parts_mut(memory.host().cast::<u64>(), words(table.parts)) };
        let (listed, sums) = all.split_at_mut(1 + 2 * table.parts);
        listed[0] = parts as u64;
        // Sums of an earlier call are none of this one.
        sums.fill(0);
        let pieces = runs.iter().flat_map(|run| {
            let piece =
                move |from: usize| [run.address as u64 + from as u64, part.min(run.bytes - from) as u64];
            (0..run.bytes).step_by(part).map(piece)
        });
        listed[1..].chunks_exact_mut(2).zip(pieces).for_each(|(to, piece)| to.copy_from_slice(&piece));
        let (inputs, outputs) = ([memory.address() as *const u8], [sums_of(memory, table.parts)]);
        let mut queue = Queue::new(&self.loaded, &[0; 4])?;
        // SAFETY: the table and the room for sums are there until the stream is waited for; the caller's promise.
        unsafe {
            queue.run(&self.loaded, None, &Io { inputs: &inputs, outputs: &outputs }, stream)?;
            device.wait_for(stream)?;
        }
        let mut sums = sums.iter();
        let whole = |run: &MemoryRun| {
            let own = sums.by_ref().take(run.bytes.div_ceil(part));
            own.fold(run.bytes as u64, |all, &one| {
                (all.rotate_left(23) ^ one).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            })
        };
        Ok(Some(runs.iter().map(whole).collect()))
    }
}

/// Words of a table with room for so many parts.
fn words(parts: usize) -> usize {
    1 + 3 * parts
}

fn sums_of(memory: &Mapped, parts: usize) -> *mut u8 {
    (memory.address() + 8 * (1 + 2 * parts) as u64) as *mut u8
}

/// Sums the parts that a table lists, in so many blocks.
pub fn program(blocks: usize) -> Result<Program, String> {
    let mut program = Program::new();
    let (table, sums) = (Slot(2), Slot(3));
    program.slots.extend([Source::Input(0), Source::Output(0)]);
    // How many parts there are is in the table: the kernel is the same for all.
    let word = |slot| View::row_major(slot, &TensorType::new(DType::I64, [1]));
    let mut draft = Draft::new("checksum");
    draft.read("table", &word(table));
    draft.write("sums", &word(sums));
    (draft.threads, draft.grid) = (THREADS, [blocks, 1, 1]);
    draft.body = format!(
        "__shared__ u64 shared[{THREADS}];
// Of one word more. For each of the two the step is one to one, so that a single change is always seen.
const auto add = [](u64 sum, u64 word) {{
    const u64 p = (sum ^ word) * 0x9e3779b97f4a7c15ull;
    return p ^ p >> 32;
}};
const int parts = (int)table[0];
for (int part = BLOCK; part < parts; part += {blocks}) {{
    const u8* bytes = (const u8*)table[1 + 2 * part];
    const i64 size = table[2 + 2 * part];
    u64 sum = (u64)(THREAD + 1);
    i64 done = 0;
    if ((u64)bytes % 16 == 0) {{
        const Pack<u64, 2>* packs = (const Pack<u64, 2>*)bytes;
        done = size / 16 * 16;
        #pragma unroll 4
        for (int i = THREAD; i < (int)(size / 16); i += {THREADS}) {{
            const Pack<u64, 2> pack = packs[i];
            sum = add(add(sum, pack.at[0]), pack.at[1]);
        }}
    }}
    for (i64 i = done + THREAD; i < size; i += {THREADS}) sum = add(sum, (u64)bytes[i]);
    shared[THREAD] = sum;
    for (int half = {half}; half > 0; half /= 2) {{
        __syncthreads();
        if (THREAD < half) shared[THREAD] = add(shared[THREAD], shared[THREAD + half] * 3);
    }}
    if (THREAD == 0) sums[part] = (i64)shared[0];
    __syncthreads();
}}
",
        half = THREADS / 2
    );
    program.launch(draft, "checksums of weights")?;
    Ok(program.plan())
}

#[cfg(test)]
mod tests {
    use super::super::target::Target;
    use super::*;

    #[test]
    fn its_kernel_compiles() {
        for capability in [80, 90] {
            let target = Target { capability, multiprocessors: 132 };
            let program = program(target.multiprocessors * BLOCKS).expect("a program");
            assert_eq!(compile(&program, &target).expect("it compiles").len(), 1);
        }
    }
}
