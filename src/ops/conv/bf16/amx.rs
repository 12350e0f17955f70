//! Products of packed bf16 operands by the tile instructions of x86-64 (AMX-TILE, AMX-BF16).
//!
//! Rust has neither the intrinsics nor the target features on stable, so both the instructions and the permission that
//! Linux wants asked for are assembly here. The compiler has no use for tile registers of its own: their values last
//! from one `asm!` block to the next, in one thread.
//!
//! Two panels at a time, streamed from memory, are multiplied with all rows, which the caller keeps few enough for the L2
//! cache. 32 rows and two panels take four loads for four products; with fewer of either, a product
//! would take more loads than that cache delivers.

use super::product::{LEFT, Product, RIGHT, SUMS};
use std::arch::asm;
use std::ops::Range;
use std::sync::LazyLock;

/// Bytes from one row of a tile to the next; packed rows are adjacent.
const STRIDE: usize = 64;
/// Elements of a panel in a cache line.
const LINE: usize = 32;
/// Cache lines of a block of a panel.
const PANEL_LINES: usize = RIGHT / LINE;

/// Whether this process may use the tile instructions. The first call asks Linux for the permission, which all threads
/// share; it is refused if one of them has an alternate signal stack too small for the tiles.
pub(super) fn available() -> bool {
    static AVAILABLE: LazyLock<bool> = LazyLock::new(|| enabled() && permitted());
    *AVAILABLE
}

/// Whether the processor has the instructions and the operating system saves the tiles.
#[allow(unused_unsafe)] // Newer compilers declare `cpuid` safe.
fn enabled() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const OSXSAVE: u32 = 1 << 27;
    const TILE_AND_BF16: u32 = 1 << 24 | 1 << 22;
    const TILE_STATE: u64 = 1 << 17 | 1 << 18;
    // SAFETY: every processor of this architecture has `cpuid`.
    let (leaves, basic, extended) = unsafe { (__cpuid(0).eax, __cpuid(1), __cpuid_count(7, 0)) };
    if leaves < 7 || basic.ecx & OSXSAVE == 0 || extended.edx & TILE_AND_BF16 != TILE_AND_BF16 {
        return false;
    }
    // SAFETY: the operating system uses `xsave`, so programs may ask what for.
    let saved = unsafe { saved_state() };
    saved & TILE_STATE == TILE_STATE
}

/// The components of a thread's state that the operating system saves.
#[target_feature(enable = "xsave")]
fn saved_state() -> u64 {
    // SAFETY: register 0 exists wherever the instruction does.
    unsafe { std::arch::x86_64::_xgetbv(0) }
}

/// Asks Linux to let this process use the tile data, which it saves only for those who ask.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_PRCTL: isize = 158;
    const REQUEST_PERMISSION: usize = 0x1023;
    const TILE_DATA: usize = 18;
    let result: isize;
    // SAFETY: the call takes no pointers; a kernel that does not know it returns an error.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// The operand of `ldtilecfg`.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Eight tiles of 16 rows of 64 bytes, all that there are; the other entries must be zero.
static FULL_TILES: Configuration = Configuration {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Computes a product by tiles. Blocks that are not present are not read.
///
/// # Safety
/// [`available`] is true, and the slices of the product are long enough.
pub(super) unsafe fn multiply(product: &mut Product<u16>) {
    // SAFETY: the caller's promise; panels and blocks are in range. Each thread needs a configuration of its own, and a
    // thread without one is cheaper to switch to.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &raw const FULL_TILES, options(nostack, preserves_flags));
        for j in (0..product.panels).step_by(2) {
            for i in 0..product.row_blocks {
                if j + 1 < product.panels {
                    multiply_block::<2>(product, i, j);
                } else {
                    multiply_block::<1>(product, i, j);
                }
            }
        }
        asm!("tilerelease", options(nostack, preserves_flags));
    }
}

/// Adds to the sums of block i of rows and `PANELS` panels, one or two, from j on. Tiles 0 and 2 hold the sums of the
/// first panel, 1 and 3 those of the second, 4 and 5 the upper and lower 16 rows, 6 and 7 the panels.
///
/// # Safety
/// As [`multiply`], within a configuration of full tiles.
#[inline(always)]
unsafe fn multiply_block<const PANELS: usize>(p: &mut Product<u16>, i: usize, j: usize) {
    // SAFETY: blocks, panels and k are in range.
    unsafe {
        let sums = p.sums.as_mut_ptr().add((i * p.panels + j) * SUMS);
        let rows = p.left.data.as_ptr().add(i * p.left.pitch * LEFT);
        let panel = p.right.data.as_ptr().add(j * p.right.pitch * RIGHT);
        let ahead = lines_ahead::<PANELS>((p.row_blocks, p.panels), i, j);
        load_sums::<PANELS>(sums);
        for k in 0..p.depth {
            prefetch(p, j + PANELS, k, ahead.clone());
            let left = p.has_right(j, k);
            let right = PANELS == 2 && p.has_right(j + 1, k);
            if p.has_left(i, k) && (left || right) {
                let panel = panel.add(k * RIGHT);
                let panels = [left.then_some(panel), right.then(|| panel.add(p.right.pitch * RIGHT))];
                multiply_one_k(rows.add(k * LEFT), panels);
            }
        }
        store_sums::<PANELS>(sums);
    }
}

/// Adds the products of one k of 32 rows with those panels that have it.
///
/// # Safety
/// The pointers are valid for a block each; tiles 0 to 3 hold sums.
#[inline(always)]
unsafe fn multiply_one_k(rows: *const u16, [left, right]: [Option<*const u16>; 2]) {
    // SAFETY: the caller's promise.
    unsafe {
        load::<4, _>(rows);
        load::<5, _>(rows.add(LEFT / 2));
        if let Some(panel) = left {
            load::<6, _>(panel);
            multiply_add::<0, 4, 6>();
            multiply_add::<2, 5, 6>();
        }
        if let Some(panel) = right {
            load::<7, _>(panel);
            multiply_add::<1, 4, 7>();
            multiply_add::<3, 5, 7>();
        }
    }
}

/// The cache lines of the next one or two panels, counted within one k, that are prefetched while block i of rows is
/// multiplied: the blocks share all lines equally.
fn lines_ahead<const PANELS: usize>((rows, panels): (usize, usize), i: usize, j: usize) -> Range<usize> {
    let lines = PANEL_LINES * (panels - j - PANELS).min(2);
    lines * i / rows..lines * (i + 1) / rows
}

/// Prefetches lines of panel j and, counted on, of the next. To the L2 cache: all rows are read before the panels are
/// used, and the L1 cache holds less.
#[inline(always)]
fn prefetch(p: &Product<u16>, j: usize, k: usize, lines: Range<usize>) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    for line in lines {
        let (panel, line) = (j + line / PANEL_LINES, line % PANEL_LINES);
        let at = (panel * p.right.pitch + k) * RIGHT + line * LINE;
        let address = p.right.data.as_ptr().wrapping_add(at);
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
    }
}

/// Loads the sums of 32 rows by `PANELS` panels into tiles 0 to 3.
///
/// # Safety
/// `sums` is valid for the blocks of the panels; the tiles are configured.
#[inline(always)]
unsafe fn load_sums<const PANELS: usize>(sums: *const f32) {
    // SAFETY: the caller's promise.
    unsafe {
        load::<0, _>(sums);
        load::<2, _>(sums.add(SUMS / 2));
        if PANELS == 2 {
            load::<1, _>(sums.add(SUMS));
            load::<3, _>(sums.add(SUMS + SUMS / 2));
        }
    }
}

/// Stores what [`load_sums`] loaded.
///
/// # Safety
/// As for [`load_sums`].
#[inline(always)]
unsafe fn store_sums<const PANELS: usize>(sums: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        store::<0>(sums);
        store::<2>(sums.add(SUMS / 2));
        if PANELS == 2 {
            store::<1>(sums.add(SUMS));
            store::<3>(sums.add(SUMS + SUMS / 2));
        }
    }
}

/// Loads 1024 adjacent bytes into a tile.
///
/// # Safety
/// `from` is valid for them; the tile is configured.
#[inline(always)]
unsafe fn load<const TILE: usize, T>(from: *const T) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tileloadd tmm{tile}, [{from} + {stride}*1]",
            tile = const TILE, from = in(reg) from, stride = in(reg) STRIDE,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, preserves_flags),
        );
    }
}

/// Stores a tile as 1024 adjacent bytes.
///
/// # Safety
/// `to` is valid for them; the tile is configured.
#[inline(always)]
unsafe fn store<const TILE: usize>(to: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tilestored [{to} + {stride}*1], tmm{tile}",
            tile = const TILE, to = in(reg) to, stride = in(reg) STRIDE,
            options(nostack, preserves_flags),
        );
    }
}

/// Adds the product of tiles `A` and `B` to tile `C`.
///
/// # Safety
/// The tiles are configured and differ.
#[inline(always)]
unsafe fn multiply_add<const C: usize, const A: usize, const B: usize>() {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tdpbf16ps tmm{c}, tmm{a}, tmm{b}",
            c = const C, a = const A, b = const B,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, preserves_flags),
        );
    }
}

#[cfg(all(test, target_os = "linux"))]
pub(super) mod emulator;
#[cfg(all(test, target_os = "linux"))]
mod tests;
