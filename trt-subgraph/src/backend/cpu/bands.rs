//! Steps over images that follow each other, carried out together: a band of lines goes through all of them, so that what one leaves is
//! in the cache for the next, and what lies between them is never in memory as a whole.
//!
//! A step's lines need some more lines of what it reads. Bands follow each other from top to bottom, and lines that the next one needs too are
//! kept. Every element is computed as it is without bands.

use super::gemm::window::Window;
use super::machine::Machine;
use super::program::{Emitted, Source};
use super::step::{Address, Call, Step, place};
use super::view::{Slot, View};
use crate::backend::RunError;
use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};

/// Lines of a band.
const LINES: RangeInclusive<usize> = 4..=16;
/// Steps that a band goes through at most.
const MOST: usize = 8;
/// Parts of an image for each thread; lines at their borders are computed twice.
const PARTS_A_THREAD: usize = 2;

/// What a step does to images `[batch, lines, columns, channels]`.
pub struct Images<'a> {
    /// What it reads line by line.
    pub x: &'a View,
    /// What it writes.
    pub out: &'a View,
    /// Which lines of `x` a line of the result needs.
    pub window: &'a Window,
    /// Bytes of weights, which each band reads.
    pub weights: usize,
}

/// Lines of one image of the batch.
pub struct Band {
    pub image: usize,
    pub lines: Range<usize>,
}

/// A step whose result is an image, which may be computed line by line.
pub trait Lines {
    /// What it reads and writes.
    fn images(&self) -> Images<'_>;

    /// Computes some lines. `places` are the addresses of the first elements of what it reads and of the result.
    ///
    /// # Safety
    /// As for [`Step::run`], where of `x` the lines have to be there that these need, and of the result these.
    unsafe fn lines(&self, addresses: &[Address], thread: usize, places: [Address; 2], band: Band);
}

/// The lines of a step's input that these lines of its result need.
fn needed(step: &Images, lines: &Range<usize>) -> Range<usize> {
    let (w, height) = (step.window, step.x.shape[1]);
    if lines.is_empty() {
        return 0..0;
    }
    let top = (lines.start * w.stride[0]).saturating_sub(w.before[0]);
    let end = lines.start * w.stride[0] + w.reach(0, lines.len());
    let end = end.saturating_sub(w.before[0]).min(height);
    top.min(end)..end
}

/// What lies between a step and the next one.
struct Between {
    /// Lines for which there is room.
    room: usize,
    line_bytes: usize,
    /// Where it lies in a thread's working memory.
    offset: usize,
}

/// Steps that a band goes through.
struct Bands {
    steps: Vec<Box<dyn Step>>,
    between: Vec<Between>,
    /// Lines of the last result in a band.
    band: usize,
    /// Parts of an image, of so many lines.
    parts: usize,
    part: usize,
    scratch: Slot,
    /// Of a thread.
    scratch_bytes: usize,
}

/// The same steps, those that may be carried out together as one.
pub fn together(steps: Vec<Emitted>, slots: &mut Vec<Source>, machine: &Machine) -> Vec<Emitted> {
    // How many steps touch each slot.
    let mut touches = vec![0usize; slots.len()];
    for step in &steps {
        let touched: BTreeSet<usize> = step.touches.iter().map(|s| s.0 as usize).collect();
        touched.into_iter().for_each(|slot| touches[slot] += 1);
    }
    let mut out: Vec<Emitted> = Vec::new();
    let mut run: Vec<Emitted> = Vec::new();
    for step in steps {
        let follows = run.last().is_some_and(|last| follow(last, &step, slots, &touches, machine));
        if !follows {
            out.extend(merged(std::mem::take(&mut run), slots, machine));
        }
        run.push(step);
        // Too many of them part where least lies between.
        while run.len() > 1 && plan(&run, machine).is_none() {
            let between = |at: &usize| run[*at].step.by_lines().map(|s| s.images().x.elements());
            let cut = (1..run.len()).min_by_key(between).expect("there are several");
            out.extend(merged(run.drain(..cut).collect(), slots, machine));
        }
    }
    out.extend(merged(run, slots, machine));
    out
}

/// Does `second` alone read what `first` writes, line by line, and is that too much to stay in the cache?
fn follow(first: &Emitted, second: &Emitted, slots: &[Source], touches: &[usize], machine: &Machine) -> bool {
    let (Some(a), Some(b)) = (first.step.by_lines(), second.step.by_lines()) else { return false };
    let (from, to) = (a.images().out, b.images().x);
    let slot = from.slot.0 as usize;
    let bytes = from.dtype.size() * from.elements();
    // Their own alone, and lines without gaps.
    let Source::Arena(whole) = slots[slot] else { return false };
    let [_, height, width, channels] = from.shape[..] else { return false };
    let dense = [height * width * channels, width * channels, channels, 1];
    let is_dense = |v: &View| (0..4).all(|i| v.shape[i] == 1 || v.strides[i] == dense[i] as isize);
    let is_same = from.slot == to.slot && from.offset == to.offset && from.shape == to.shape;
    let is_large = bytes / from.shape[0].max(1) > machine.threads * machine.cache / 2;
    is_same
        && is_dense(from)
        && is_dense(to)
        && whole == bytes
        && touches[slot] == 2
        && is_large
        && second.touches.iter().filter(|s| **s == from.slot).count() == 1
}

/// One step for all, if there are several.
fn merged(run: Vec<Emitted>, slots: &mut Vec<Source>, machine: &Machine) -> Vec<Emitted> {
    match plan(&run, machine) {
        None => run,
        Some(mut bands) => {
            bands.scratch = Slot(slots.len() as u32);
            slots.push(Source::Arena(machine.threads * bands.scratch_bytes));
            let inner: Vec<Slot> =
                run[1..].iter().filter_map(|s| Some(s.step.by_lines()?.images().x.slot)).collect();
            let mut touches: Vec<Slot> = run.iter().flat_map(|s| &s.touches).copied().collect();
            touches.retain(|slot| !inner.contains(slot));
            touches.push(bands.scratch);
            let mut origins: Vec<String> = run.iter().map(|s| s.origin.clone()).collect();
            origins.dedup();
            bands.steps = run.into_iter().map(|s| s.step).collect();
            vec![Emitted { step: Box::new(bands), touches, origin: origins.join(", ") }]
        }
    }
}

/// Bands for steps that follow each other, where enough lines of all that lies between them fit half of the second-level cache, and the
/// weights a quarter of it; steps and memory are still missing.
fn plan(run: &[Emitted], machine: &Machine) -> Option<Bands> {
    let steps: Vec<Images> = run.iter().filter_map(|s| Some(s.step.by_lines()?.images())).collect();
    let weights: usize = steps.iter().map(|s| s.weights).sum();
    if !(2..=MOST).contains(&run.len()) || steps.len() < run.len() || weights > machine.cache / 4 {
        return None;
    }
    let out = steps.last()?.out;
    let (images, height) = (out.shape[0], out.shape[1]);
    let parts = match machine.threads {
        1 => 1,
        threads => (PARTS_A_THREAD * threads).div_ceil(images).min(height),
    };
    let part = height.div_ceil(parts);
    let layout = |band: usize| {
        let mut between: Vec<Between> = Vec::new();
        let mut offset = 0;
        for (at, step) in steps[..steps.len() - 1].iter().enumerate() {
            let after = steps[at + 1..].iter().rev();
            let lines = after.fold(band, |n, s| s.window.reach(0, n).min(s.x.shape[1]));
            let shape = &step.out.shape;
            let line_bytes = step.out.dtype.size() * shape[2] * shape[3];
            between.push(Between { room: lines, line_bytes, offset });
            offset += (lines * line_bytes).next_multiple_of(64);
        }
        (between, offset)
    };
    let fits = |band: &usize| layout(*band).1 + weights <= machine.cache / 2;
    let band = LINES.rev().map(|n| n.min(part)).find(fits)?;
    // Bands of one length.
    let band = part.div_ceil(part.div_ceil(band));
    let (between, scratch_bytes) = layout(band);
    Some(Bands { steps: vec![], between, band, parts, part, scratch: Slot(0), scratch_bytes })
}

impl Bands {
    fn members(&self) -> impl DoubleEndedIterator<Item = &dyn Lines> + ExactSizeIterator {
        self.steps.iter().map(|s| s.by_lines().expect("steps of bands are by lines"))
    }

    /// Takes the lines of one part of an image through all steps, band after band.
    ///
    /// # Safety
    /// As for [`Step::run`]; the part is this thread's.
    unsafe fn part(&self, addresses: &[Address], thread: usize, image: usize, lines: Range<usize>) {
        let own = place(addresses, self.scratch, (thread * self.scratch_bytes) as isize);
        let of = |view: &View| place(addresses, view.slot, view.offset);
        let mut had = [const { 0..0 }; MOST];
        for first in lines.clone().step_by(self.band) {
            // Of each step's result, what the steps after it want.
            let mut wanted = [const { 0..0 }; MOST];
            let mut band = first..lines.end.min(first + self.band);
            for (at, step) in self.members().enumerate().rev() {
                wanted[at] = band.clone();
                band = needed(&step.images(), &band);
            }
            let mut x = self.members().next().map(|step| of(step.images().x)).expect("there are steps");
            for (at, step) in self.members().enumerate() {
                let result = step.images().out;
                let Some(b) = self.between.get(at) else {
                    let band = Band { image, lines: wanted[at].clone() };
                    // SAFETY: what it reads is between the steps; the rest is the caller's.
                    unsafe { step.lines(addresses, thread, [x, of(result)], band) };
                    break;
                };
                let (wanted, had) = (&wanted[at], &mut had[at]);
                debug_assert!(wanted.len() <= b.room);
                let place = own.at::<u8>(b.offset as isize);
                let kept = if had.contains(&wanted.start) { had.end.min(wanted.end) } else { wanted.start };
                let from = wanted.start.saturating_sub(had.start) * b.line_bytes;
                // SAFETY: lines of this thread's memory, for which there is room.
                unsafe {
                    std::ptr::copy(place.wrapping_add(from), place, (kept - wanted.start) * b.line_bytes)
                };
                // Where line 0 of the first image would be.
                let ahead = (image * result.shape[1] + wanted.start) * b.line_bytes;
                let out = Address::new(place.wrapping_sub(ahead));
                let band = Band { image, lines: kept..wanted.end };
                // SAFETY: what it reads is the caller's or between the steps, and there is room for what it writes.
                unsafe { step.lines(addresses, thread, [x, out], band) };
                *had = wanted.clone();
                x = out;
            }
        }
    }
}

impl Step for Bands {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let last = self.members().next_back().expect("there are steps").images().out;
        let (images, height) = (last.shape[0], last.shape[1]);
        let addresses = call.addresses;
        call.team.split(images * self.parts, 1, |thread, items| {
            for item in items {
                let (image, part) = (item / self.parts, item % self.parts);
                let lines = height.min(part * self.part)..height.min((part + 1) * self.part);
                // SAFETY: the caller's promise; parts are disjoint.
                unsafe { self.part(addresses, thread, image, lines) };
            }
        });
        Ok(())
    }

    fn describe(&self) -> String {
        let steps: Vec<String> = self.steps.iter().map(|s| s.describe()).collect();
        format!("bands of {} lines: {}", self.band, steps.join("; "))
    }
}
