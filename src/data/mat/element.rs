//! The data elements of a MAT-file: a tag with type and length, the data, and padding.

/// Byte order of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    pub(super) fn u16(self, bytes: [u8; 2]) -> u16 {
        if self == Self::Little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) }
    }
    pub(super) fn u32(self, bytes: [u8; 4]) -> u32 {
        if self == Self::Little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
    }
    pub(super) fn u64(self, bytes: [u8; 8]) -> u64 {
        if self == Self::Little { u64::from_le_bytes(bytes) } else { u64::from_be_bytes(bytes) }
    }
}

/// Data type of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MatType {
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    F32,
    F64,
    I64,
    U64,
    Utf8,
    Utf16,
    Utf32,
    Matrix,
    Compressed,
}

impl MatType {
    fn of(code: u32) -> Option<Self> {
        Some(match code {
            1 => Self::I8,
            2 => Self::U8,
            3 => Self::I16,
            4 => Self::U16,
            5 => Self::I32,
            6 => Self::U32,
            7 => Self::F32,
            9 => Self::F64,
            12 => Self::I64,
            13 => Self::U64,
            14 => Self::Matrix,
            15 => Self::Compressed,
            16 => Self::Utf8,
            17 => Self::Utf16,
            18 => Self::Utf32,
            _ => return None,
        })
    }
}

/// Remaining memory budget: a small file must not exhaust the memory, although its bytes expand to f64 and its empty
/// arrays to structs.
pub(super) struct Budget(pub(super) usize);

/// Overhead charged per array, in numbers.
const ARRAY: usize = 16;

impl Default for Budget {
    /// 2²⁸ numbers: 2 GiB.
    fn default() -> Self {
        Self(1 << 28)
    }
}

impl Budget {
    /// Charges an array of `len` items.
    pub(super) fn take(&mut self, len: usize) -> Result<(), String> {
        self.0 =
            self.0.checked_sub(len.saturating_add(ARRAY)).ok_or("unfolds to more than 2 GiB of numbers")?;
        Ok(())
    }
}

/// One element, without its tag and padding.
#[derive(Clone, Copy, Debug)]
pub(super) struct MatElement<'a> {
    pub kind: MatType,
    pub data: &'a [u8],
    pub order: ByteOrder,
}

impl MatElement<'_> {
    /// Decodes numeric data.
    pub(super) fn numbers(&self, budget: &mut Budget) -> Result<Vec<f64>, String> {
        let order = self.order;
        match self.kind {
            MatType::I8 => self.each(budget, |[b]| f64::from(b as i8)),
            MatType::U8 => self.each(budget, |[b]| f64::from(b)),
            MatType::I16 => self.each(budget, |b| f64::from(order.u16(b) as i16)),
            MatType::U16 => self.each(budget, |b| f64::from(order.u16(b))),
            MatType::I32 => self.each(budget, |b| f64::from(order.u32(b) as i32)),
            MatType::U32 => self.each(budget, |b| f64::from(order.u32(b))),
            MatType::F32 => self.each(budget, |b| f64::from(f32::from_bits(order.u32(b)))),
            MatType::F64 => self.each(budget, |b| f64::from_bits(order.u64(b))),
            MatType::I64 => self.each(budget, |b| order.u64(b) as i64 as f64),
            MatType::U64 => self.each(budget, |b| order.u64(b) as f64),
            other => Err(format!("expected numbers, got {other:?} data; the file is damaged")),
        }
    }

    /// Decodes characters, in file order.
    pub(super) fn characters(&self, budget: &mut Budget) -> Result<Vec<char>, String> {
        budget.take(self.data.len())?;
        let order = self.order;
        match self.kind {
            MatType::I8 | MatType::U8 => Ok(self.data.iter().map(|&b| char::from(b)).collect()),
            MatType::Utf8 => Ok(String::from_utf8_lossy(self.data).chars().collect()),
            MatType::U16 | MatType::Utf16 => {
                let units = self.whole::<2>()?.iter().map(|&b| order.u16(b));
                Ok(char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
            }
            MatType::U32 | MatType::Utf32 => {
                let units = self.whole::<4>()?.iter().map(|&b| order.u32(b));
                Ok(units.map(|c| char::from_u32(c).unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
            }
            other => Err(format!("expected text, got {other:?} data; the file is damaged")),
        }
    }

    fn each<const N: usize>(
        &self,
        budget: &mut Budget,
        number: impl Fn([u8; N]) -> f64,
    ) -> Result<Vec<f64>, String> {
        let items = self.whole::<N>()?;
        budget.take(items.len())?;
        Ok(items.iter().map(|&bytes| number(bytes)).collect())
    }

    fn whole<const N: usize>(&self) -> Result<&[[u8; N]], String> {
        match self.data.as_chunks::<N>() {
            (items, []) => Ok(items),
            _ => Err(format!(
                "{} bytes of {:?} data are no whole number of items; the file is damaged",
                self.data.len(),
                self.kind
            )),
        }
    }
}

/// A sequence of elements.
pub(super) struct Elements<'a> {
    rest: &'a [u8],
    order: ByteOrder,
}

impl<'a> Elements<'a> {
    pub(super) fn new(bytes: &'a [u8], order: ByteOrder) -> Self {
        Self { rest: bytes, order }
    }

    /// The next element; None at the end.
    pub(super) fn next(&mut self) -> Result<Option<MatElement<'a>>, String> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (&first, after) = self.rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let first = self.order.u32(first);
        // Small element format: the length is in the upper half, and up to four bytes of data complete the eight.
        if first >> 16 != 0 {
            return self.element(first & 0xffff, after, (first >> 16) as usize, 4).map(Some);
        }
        let (&length, after) = after.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = self.order.u32(length) as usize;
        let compressed = first == 15;
        let padded = if compressed { length } else { length.next_multiple_of(8) };
        self.element(first, after, length, padded).map(Some)
    }

    /// Splits off an element of `length` bytes, padded to `padded`; the last one may lack padding.
    fn element(
        &mut self,
        code: u32,
        after: &'a [u8],
        length: usize,
        padded: usize,
    ) -> Result<MatElement<'a>, String> {
        let kind = MatType::of(code)
            .ok_or_else(|| format!("data of an unknown type ({code}); the file is damaged"))?;
        if length > padded {
            return Err(format!("a small element of {length} bytes; the file is damaged"));
        }
        let data = after.get(..length).ok_or_else(cut)?;
        self.rest = after.get(padded..).unwrap_or_default();
        Ok(MatElement { kind, data, order: self.order })
    }

    /// The next element, which must exist.
    pub(super) fn required(&mut self, what: &str) -> Result<MatElement<'a>, String> {
        self.next()?.ok_or_else(|| format!("{what} is missing; the file is damaged"))
    }

    /// The next element, which must have type `kind`.
    pub(super) fn expect(&mut self, kind: MatType, what: &str) -> Result<MatElement<'a>, String> {
        let element = self.required(what)?;
        if element.kind == kind {
            return Ok(element);
        }
        Err(format!("expected {what}, got {:?} data; the file is damaged", element.kind))
    }
}

fn cut() -> String {
    "ends in the middle of a variable; it was not copied whole".into()
}
