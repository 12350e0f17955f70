//! Decodes the tile instructions (Intel, "Intel 64 and IA-32 Architectures Software Developer's Manual", volume 2).

/// What an instruction does; tiles by number, addresses as bytes.
#[derive(Debug, PartialEq)]
pub(super) enum Instruction {
    Configure(Address),
    Release,
    Zero { tile: usize },
    Load { tile: usize, from: Address },
    Store { tile: usize, to: Address },
    MultiplyAdd { c: usize, a: usize, b: usize },
}

/// An operand in memory. The registers count as encoded, from rax; without a base, `displacement` is absolute or, if
/// `relative`, counts from the next instruction.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Address {
    pub base: Option<usize>,
    pub index: Option<usize>,
    pub scale: u32,
    pub displacement: i32,
    pub relative: bool,
}

/// The fields of a three-byte VEX prefix of opcode map 2 and the opcode.
struct Vex {
    /// High bits of the register, index and base numbers.
    high: [usize; 3],
    wide: bool,
    /// The second source, 0 where there is none.
    vvvv: usize,
    long: bool,
    prefix: u8,
    opcode: u8,
}

/// The instruction at the start of `code` and its length, if it is one for tiles. Asks for no byte beyond it.
pub(super) fn decode(code: impl Iterator<Item = u8>) -> Option<(Instruction, usize)> {
    let mut length = 0;
    let instruction = decode_instruction(&mut code.inspect(|_| length += 1))?;
    Some((instruction, length))
}

fn decode_instruction(code: &mut impl Iterator<Item = u8>) -> Option<Instruction> {
    let vex = decode_vex(code)?;
    let mod_rm = code.next()?;
    let (mode, reg, rm) = (mod_rm >> 6, usize::from(mod_rm >> 3 & 7), usize::from(mod_rm & 7));
    let beyond_tiles = vex.high[0] != 0 || vex.vvvv > 7 || (mode == 3 && vex.high[2] != 0);
    if vex.wide || vex.long || beyond_tiles || (vex.vvvv != 0 && vex.opcode != 0x5c) {
        return None;
    }
    Some(match (vex.opcode, vex.prefix, mode, reg, rm) {
        (0x49, 0, 3, 0, 0) => Instruction::Release,
        (0x49, 0, 0..3, 0, _) => Instruction::Configure(decode_address(code, &vex, mode, rm)?),
        (0x49, 3, 3, _, 0) => Instruction::Zero { tile: reg },
        (0x4b, 3, 0..3, _, 4) => Instruction::Load { tile: reg, from: decode_address(code, &vex, mode, rm)? },
        (0x4b, 2, 0..3, _, 4) => Instruction::Store { tile: reg, to: decode_address(code, &vex, mode, rm)? },
        (0x5c, 2, 3, _, _) => Instruction::MultiplyAdd { c: reg, a: rm, b: vex.vvvv },
        _ => return None,
    })
}

fn decode_vex(code: &mut impl Iterator<Item = u8>) -> Option<Vex> {
    if code.next()? != 0xc4 {
        return None;
    }
    let first = code.next()?;
    if first & 0x1f != 2 {
        return None;
    }
    let second = code.next()?;
    Some(Vex {
        high: [7, 6, 5].map(|bit| usize::from(!first >> bit & 1) << 3),
        wide: second >> 7 != 0,
        vvvv: usize::from(!second >> 3 & 15),
        long: second >> 2 & 1 != 0,
        prefix: second & 3,
        opcode: code.next()?,
    })
}

fn decode_address(code: &mut impl Iterator<Item = u8>, vex: &Vex, mode: u8, rm: usize) -> Option<Address> {
    let mut address = Address { base: Some(rm | vex.high[2]), ..Address::default() };
    let mut low = rm;
    if rm == 4 {
        let sib = code.next()?;
        low = usize::from(sib & 7);
        // Register 4, rsp, stands for no index.
        address.index = Some(usize::from(sib >> 3 & 7) | vex.high[1]).filter(|&index| index != 4);
        address.scale = u32::from(sib >> 6);
        address.base = Some(low | vex.high[2]);
    }
    if mode == 0 && low == 5 {
        address.base = None;
        address.relative = rm == 5;
    }
    let width = if address.base.is_none() || mode == 2 { 4 } else { usize::from(mode) };
    let mut bytes = [0; 4];
    for byte in &mut bytes[4 - width..] {
        *byte = code.next()?;
    }
    address.displacement = i32::from_le_bytes(bytes) >> if width == 1 { 24 } else { 0 };
    Some(address)
}
