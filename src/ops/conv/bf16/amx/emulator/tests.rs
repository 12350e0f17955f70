use super::super::FULL_TILES;
use super::*;

/// Bytes as GNU as 2.40 assembles them.
#[test]
fn tile_instructions_are_decoded() {
    use Instruction::{Configure, Load, MultiplyAdd, Release, Store, Zero};
    let at = |base| Address { base, ..Address::default() };
    let relative = Address { displacement: 0x1122_3344, relative: true, ..at(None) };
    let strided = Address { index: Some(3), ..at(Some(0)) };
    let scaled = Address { index: Some(9), scale: 2, displacement: -0x80, ..at(Some(13)) };
    let baseless = Address { index: Some(2), scale: 3, displacement: 0x1000, ..at(None) };
    let far = Address { index: Some(12), scale: 1, displacement: 0x1234_5678, ..at(Some(7)) };
    let rows: [(&[u8], Instruction); 13] = [
        (b"\xc4\xe2\x78\x49\x01", Configure(at(Some(1)))),
        (b"\xc4\xe2\x78\x49\x05\x44\x33\x22\x11", Configure(relative)),
        (b"\xc4\xe2\x78\x49\x44\x24\x40", Configure(Address { displacement: 0x40, ..at(Some(4)) })),
        (b"\xc4\xc2\x78\x49\x04\x24", Configure(at(Some(12)))),
        (b"\xc4\xe2\x78\x49\xc0", Release),
        (b"\xc4\xe2\x7b\x49\xe8", Zero { tile: 5 }),
        (b"\xc4\xe2\x7b\x4b\x1c\x18", Load { tile: 3, from: strided }),
        (b"\xc4\x82\x7b\x4b\x7c\x8d\x80", Load { tile: 7, from: scaled }),
        (b"\xc4\xe2\x7b\x4b\x0c\x24", Load { tile: 1, from: at(Some(4)) }),
        (b"\xc4\xe2\x7b\x4b\x0c\xd5\x00\x10\x00\x00", Load { tile: 1, from: baseless }),
        (b"\xc4\xa2\x7a\x4b\x94\x67\x78\x56\x34\x12", Store { tile: 2, to: far }),
        (b"\xc4\xe2\x62\x5c\xca", MultiplyAdd { c: 1, a: 2, b: 3 }),
        (b"\xc4\xe2\x4a\x5c\xf8", MultiplyAdd { c: 7, a: 0, b: 6 }),
    ];
    for (code, expected) in rows {
        let behind = code.iter().chain(&[0x90, 0x90]).copied();
        assert_eq!(decode(behind), Some((expected, code.len())));
        assert_eq!(decode(code[..code.len() - 1].iter().copied()), None);
    }
}

#[test]
fn other_instructions_are_left_alone() {
    let others: [(&[u8], &str); 5] = [
        (b"\x0f\x0b", "ud2"),
        (b"\xc4\xe2\x79\x49\x01", "sttilecfg [rcx]"),
        (b"\xc4\xe2\x79\x4b\x0c\x18", "tileloaddt1 tmm1, [rax + rbx*1]"),
        (b"\xc4\xe2\x63\x5e\xca", "tdpbssd tmm1, tmm2, tmm3"),
        (b"\xc4\xe2\x22\x5c\xca", "tdpbf16ps with tile 11"),
    ];
    for (code, what) in others {
        assert_eq!(decode(code.iter().copied()), None, "{what}");
    }
}

/// Executes a `ldtilecfg` of these bytes.
fn configure(tiles: &mut Tiles, bytes: &[u8; 64]) -> Result<(), &'static str> {
    let mut registers = [0; 23];
    registers[libc::REG_RAX as usize] = bytes.as_ptr() as i64;
    let from = Address { base: Some(0), ..Address::default() };
    // SAFETY: the operand is at the address in rax.
    unsafe { execute(tiles, &Instruction::Configure(from), &registers) }
}

fn full_tiles() -> [u8; 64] {
    // SAFETY: the configuration is 64 bytes without padding.
    unsafe { (&raw const FULL_TILES).cast::<[u8; 64]>().read() }
}

#[test]
fn configurations_are_refused_as_by_hardware() {
    let rows = [
        (0, 2, "the palette is not 1"),
        (1, 1, "a start row, or reserved bytes other than zero"),
        (15, 1, "a start row, or reserved bytes other than zero"),
        (32, 4, "more than eight tiles"),
        (56, 1, "more than eight tiles"),
        (17, 1, "a tile of more than 16 rows or 64 bytes a row"),
        (55, 17, "a tile of more than 16 rows or 64 bytes a row"),
        (30, 32, "not emulated: tiles that are not full"),
        (48, 0, "not emulated: tiles that are not full"),
    ];
    let mut tiles = Tiles::RELEASED;
    assert_eq!(configure(&mut tiles, &full_tiles()), Ok(()));
    for (at, byte, why) in rows {
        let mut bytes = full_tiles();
        bytes[at] = byte;
        assert_eq!(configure(&mut tiles, &bytes), Err(why), "byte {at}");
    }
}

/// Executes an instruction without an operand in memory.
fn run(tiles: &mut Tiles, instruction: Instruction) -> Result<(), &'static str> {
    // SAFETY: nothing is read or written but the tiles.
    unsafe { execute(tiles, &instruction, &[0; 23]) }
}

#[test]
fn instructions_are_refused_as_by_hardware() {
    let mut tiles = Tiles::RELEASED;
    let product = |c, a, b| Instruction::MultiplyAdd { c, a, b };
    let refused = Err("no tile is configured");
    assert_eq!(run(&mut tiles, product(0, 1, 2)), refused);
    assert_eq!(run(&mut tiles, Instruction::Zero { tile: 0 }), refused);
    assert_eq!(run(&mut tiles, Instruction::Release), Ok(()));
    assert_eq!(configure(&mut tiles, &full_tiles()), Ok(()));
    assert_eq!(run(&mut tiles, product(0, 1, 2)), Ok(()));
    for (c, a, b) in [(0, 0, 1), (0, 1, 0), (0, 1, 1)] {
        assert_eq!(run(&mut tiles, product(c, a, b)), Err("tdpbf16ps with a tile twice"));
    }
    assert_eq!(run(&mut tiles, Instruction::Release), Ok(()));
    assert_eq!(run(&mut tiles, Instruction::Zero { tile: 0 }), refused);
}
