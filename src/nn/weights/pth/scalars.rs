//! Numbers, texts and bytes in a pickle.

use super::pickle::{PickleMachine, PickleNode};
use anyhow::Result;
use std::io::Read;

impl<R: Read> PickleMachine<R> {
    pub(super) fn simple(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            b'G' => drop(self.bytes::<8>()?),
            b'F' => drop(self.line()?),
            0x88 | 0x89 => return self.push(PickleNode::Bool(opcode == 0x88)),
            _ => {}
        }
        self.push(PickleNode::Other)
    }

    pub(super) fn integer(&mut self, opcode: u8) -> Result<()> {
        let node = match opcode {
            b'K' => PickleNode::Int(i64::from(self.bytes::<1>()?[0])),
            b'M' => PickleNode::Int(i64::from(u16::from_le_bytes(self.bytes()?))),
            b'J' => PickleNode::Int(i64::from(i32::from_le_bytes(self.bytes()?))),
            b'I' | b'L' => match self.line()?.as_slice() {
                b"00" => PickleNode::Bool(false),
                b"01" => PickleNode::Bool(true),
                line => {
                    let digits = std::str::from_utf8(line).ok().map(|text| text.trim_end_matches('L'));
                    digits.and_then(|text| text.parse().ok()).map_or(PickleNode::Other, PickleNode::Int)
                }
            },
            0x8a => {
                let [length] = self.bytes()?;
                whole(self.block(u64::from(length))?)
            }
            _ => {
                let length = u32::from_le_bytes(self.bytes()?);
                whole(self.block(u64::from(length))?)
            }
        };
        self.push(node)
    }

    /// Python 2 texts may be any bytes; those that are not UTF-8 belong to no state dict.
    pub(super) fn text(&mut self, opcode: u8) -> Result<()> {
        let bytes = match opcode {
            b'V' => self.line()?,
            b'S' => unquoted(self.line()?),
            b'U' | 0x8c => {
                let [length] = self.bytes()?;
                self.block(u64::from(length))?
            }
            b'X' | b'T' => {
                let length = u32::from_le_bytes(self.bytes()?);
                self.block(u64::from(length))?
            }
            _ => {
                let length = u64::from_le_bytes(self.bytes()?);
                self.block(length)?
            }
        };
        self.push(String::from_utf8(bytes).map_or(PickleNode::Other, PickleNode::Text))
    }

    /// Bytes, which are read and discarded.
    pub(super) fn binary(&mut self, opcode: u8) -> Result<()> {
        let length = match opcode {
            b'C' => u64::from(self.bytes::<1>()?[0]),
            b'B' => u64::from(u32::from_le_bytes(self.bytes()?)),
            _ => u64::from_le_bytes(self.bytes()?),
        };
        self.block(length)?;
        self.push(PickleNode::Other)
    }
}

/// An integer of this many bytes, little endian.
fn whole(mut bytes: Vec<u8>) -> PickleNode {
    if bytes.len() > 8 {
        return PickleNode::Other;
    }
    let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    bytes.resize(8, sign);
    PickleNode::Int(bytes.iter().rev().fold(0, |value, &byte| value << 8 | i64::from(byte)))
}

fn unquoted(line: Vec<u8>) -> Vec<u8> {
    match line.as_slice() {
        [b'\'' | b'"', inside @ .., b'\'' | b'"'] => inside.to_vec(),
        _ => line,
    }
}
