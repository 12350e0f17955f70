//! Executes the tile instructions on processors without them, so that the kernel itself can be tested: they raise
//! SIGILL there, and the handler does what the hardware would do to the tiles of the thread, by the scalar model.
//!
//! What hardware refuses ends the process with a message; so does what the kernel has no use for (tiles that are not
//! full). Other illegal instructions stay illegal.

use super::super::model;
use crate::skipping::skipped;
use decode::{Address, Instruction, decode};
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::sync::Once;

/// The tiles of a thread, each of 16 rows of 16 words; none are usable before a configuration is loaded.
struct Tiles {
    configured: bool,
    words: [[u32; 256]; 8],
}

impl Tiles {
    const RELEASED: Tiles = Tiles { configured: false, words: [[0; 256]; 8] };
}

thread_local! {
    // Constant and without a destructor, so that the handler may use it: no allocation, no lock.
    static TILES: UnsafeCell<Tiles> = const { UnsafeCell::new(Tiles::RELEASED) };
}

/// The general registers of a signal's context, by libc's numbers.
type Registers = [i64; 23];

/// Makes tile instructions work in this process, by hardware where it has them; false, and nothing works, where Linux refuses
/// the tiles of this processor: some of the instructions work then, and the handler does not see them.
pub(in super::super) fn install_if_needed() -> bool {
    let refused = super::enabled() && !super::available();
    if refused {
        skipped("Linux refuses the tiles of this processor", "products by tiles");
    } else if !super::available() {
        install();
    }
    !refused
}

/// Makes tile instructions work in this process.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: the action is all zeros but for a handler of the kind that SA_SIGINFO asks for.
        let result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigaction(libc::SIGILL, &action, std::ptr::null_mut())
        };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    });
}

/// Whether the tiles of this thread await a `tilerelease`.
pub(super) fn configured() -> bool {
    // SAFETY: nobody else holds a reference: the handler's end with it.
    TILES.with(|tiles| unsafe { (*tiles.get()).configured })
}

/// Executes the instruction that raised the signal and moves on; one that is not for tiles is left to raise it again,
/// with the default action.
extern "C" fn handle(signal: i32, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a context. At its instruction pointer there is code, of which the decoder asks for no
    // byte beyond the instruction. The kernel, not this function, was running, so no reference to the tiles is alive.
    unsafe {
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let here = registers[libc::REG_RIP as usize] as *const u8;
        let Some((instruction, length)) = decode((0..).map(|i| *here.add(i))) else {
            libc::signal(signal, libc::SIG_DFL);
            return;
        };
        registers[libc::REG_RIP as usize] += length as i64;
        if let Err(why) = TILES.with(|tiles| execute(&mut *tiles.get(), &instruction, registers)) {
            abort(why);
        }
    }
}

/// Ends the process with a message, by nothing that a signal handler must not call.
fn abort(why: &str) -> ! {
    for part in ["a tile instruction would fault: ", why, "\n"] {
        // SAFETY: the text is valid for its length.
        unsafe { libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len()) };
    }
    std::process::abort()
}

/// Does what the instruction would do, with the instruction pointer already behind it.
///
/// # Safety
/// What the instruction reads and writes is valid.
unsafe fn execute(
    tiles: &mut Tiles,
    instruction: &Instruction,
    registers: &Registers,
) -> Result<(), &'static str> {
    let configuring = matches!(instruction, Instruction::Configure(_) | Instruction::Release);
    if !(configuring || tiles.configured) {
        return Err("no tile is configured");
    }
    match *instruction {
        Instruction::Configure(ref from) => {
            // SAFETY: the operand is 64 bytes.
            check_configuration(unsafe { &*(from.first(registers) as *const [u8; 64]) })?;
            *tiles = Tiles { configured: true, ..Tiles::RELEASED };
        }
        Instruction::Release => tiles.configured = false,
        Instruction::Zero { tile } => tiles.words[tile] = [0; 256],
        // SAFETY: the operand is 16 rows of 64 bytes.
        Instruction::Load { tile, ref from } => unsafe { load(&mut tiles.words[tile], from, registers) },
        // SAFETY: as above.
        Instruction::Store { tile, ref to } => unsafe { store(&tiles.words[tile], to, registers) },
        Instruction::MultiplyAdd { c, a, b } => multiply_add(&mut tiles.words, c, a, b)?,
    }
    Ok(())
}

/// Reads a tile.
///
/// # Safety
/// Its rows are valid.
unsafe fn load(tile: &mut [u32; 256], from: &Address, registers: &Registers) {
    for (row, words) in tile.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *words = unsafe { (from.row(registers, row) as *const [u32; 16]).read_unaligned() };
    }
}

/// Writes a tile.
///
/// # Safety
/// Its rows are valid, and nothing else refers to them.
unsafe fn store(tile: &[u32; 256], to: &Address, registers: &Registers) {
    for (row, words) in tile.as_chunks::<16>().0.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { (to.row(registers, row) as *mut [u32; 16]).write_unaligned(*words) };
    }
}

/// What `ldtilecfg` refuses, and tiles other than full ones, which are not emulated.
fn check_configuration(bytes: &[u8; 64]) -> Result<(), &'static str> {
    let row_bytes: [u16; 16] =
        std::array::from_fn(|i| u16::from_le_bytes([bytes[16 + 2 * i], bytes[17 + 2 * i]]));
    let (row_bytes, no_row_bytes) = row_bytes.split_at(8);
    let (rows, no_rows) = bytes[48..].split_at(8);
    if bytes[0] != 1 {
        return Err("the palette is not 1");
    }
    if bytes[1..16].iter().any(|&byte| byte != 0) {
        return Err("a start row, or reserved bytes other than zero");
    }
    if no_row_bytes.iter().any(|&bytes| bytes != 0) || no_rows.iter().any(|&rows| rows != 0) {
        return Err("more than eight tiles");
    }
    if row_bytes.iter().any(|&bytes| bytes > 64) || rows.iter().any(|&rows| rows > 16) {
        return Err("a tile of more than 16 rows or 64 bytes a row");
    }
    if row_bytes.iter().any(|&bytes| bytes != 64) || rows.iter().any(|&rows| rows != 16) {
        return Err("not emulated: tiles that are not full");
    }
    Ok(())
}

/// The product of full tiles by the scalar model.
fn multiply_add(tiles: &mut [[u32; 256]; 8], c: usize, a: usize, b: usize) -> Result<(), &'static str> {
    if c == a || c == b || a == b {
        return Err("tdpbf16ps with a tile twice");
    }
    let halves =
        |tile: &[u32; 256]| -> [u16; 512] { std::array::from_fn(|i| (tile[i / 2] >> (16 * (i % 2))) as u16) };
    let (rows, columns) = (halves(&tiles[a]), halves(&tiles[b]));
    let mut sums = tiles[c].map(f32::from_bits);
    model::multiply_tile(&mut sums, &rows, &columns);
    tiles[c] = sums.map(f32::to_bits);
    Ok(())
}

impl Address {
    /// The address without the index.
    fn first(&self, registers: &Registers) -> usize {
        let next = if self.relative { registers[libc::REG_RIP as usize] } else { 0 };
        let base = self.base.map_or(next, |base| register(registers, base));
        base.wrapping_add(i64::from(self.displacement)) as usize
    }

    /// The address of a row of a tile: the index is the distance between rows.
    fn row(&self, registers: &Registers, row: usize) -> usize {
        let stride = self.index.map_or(0, |index| register(registers, index) << self.scale);
        self.first(registers).wrapping_add((stride as usize).wrapping_mul(row))
    }
}

/// The value of a register by its encoded number.
fn register(registers: &Registers, number: usize) -> i64 {
    use libc::{REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    use libc::{REG_RAX, REG_RBP, REG_RBX, REG_RCX, REG_RDI, REG_RDX, REG_RSI, REG_RSP};
    const ORDER: [i32; 16] = [
        REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI, REG_R8, REG_R9, REG_R10,
        REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
    ];
    registers[ORDER[number] as usize]
}

mod decode;
mod tests;
