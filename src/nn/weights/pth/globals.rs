//! Names in a pickle: functions and classes that create tensors; of all others only the name is stored.

use crate::element::Element;

/// A function or class.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Global {
    OrderedDict,
    /// `torch.Size`, a tuple.
    Size,
    Rebuild(Rebuild),
    /// `torch.FloatStorage` and similar classes.
    Storage(Numbers),
    /// `torch.float32` and similar dtypes.
    Type(Element),
    /// Any other, by its full name.
    Other(String),
}

/// PyTorch functions that create tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rebuild {
    /// From a storage, an offset, a shape and strides; the position of the metadata depends on the version.
    Tensor,
    /// The same, followed by the dtype, since the storage has none.
    Typed,
    /// From a tensor, the first argument.
    Around,
    /// From another of these functions and its arguments.
    Subclass,
    /// Tensors of unsupported types, by a description.
    Unread(&'static str),
}

/// Element type of a storage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Numbers {
    Known(Element),
    /// Bytes; the dtype is given by the tensors.
    Untyped,
    /// An unsupported type: its name and width in bytes.
    Unread(&'static str, usize),
}

impl Numbers {
    /// Bytes per element of the storage.
    pub fn width(self) -> usize {
        match self {
            Self::Known(element) => element.width(),
            Self::Untyped => 1,
            Self::Unread(_, width) => width,
        }
    }
}

impl Global {
    pub fn named(module: &str, name: &str) -> Self {
        let known = match module {
            "collections" if name == "OrderedDict" => Some(Self::OrderedDict),
            "torch" | "torch.cuda" | "torch.storage" => torch(name),
            "torch._utils" | "torch._tensor" => rebuild(name).map(Self::Rebuild),
            _ => None,
        };
        known.unwrap_or_else(|| Self::Other(format!("{module}.{name}")))
    }

    /// Name for messages.
    pub fn name(&self) -> &str {
        match self {
            Self::OrderedDict => "collections.OrderedDict",
            Self::Other(name) => name,
            _ => "torch",
        }
    }
}

fn torch(name: &str) -> Option<Global> {
    use Numbers::{Known, Unread, Untyped};
    if name == "Size" {
        return Some(Global::Size);
    }
    let Some(kind) = name.strip_suffix("Storage") else { return element(name).map(Global::Type) };
    Some(Global::Storage(match kind {
        "Float" => Known(Element::F32),
        "Double" => Known(Element::F64),
        "Half" => Known(Element::F16),
        "BFloat16" => Known(Element::BF16),
        "Long" => Known(Element::I64),
        "Int" => Known(Element::I32),
        "Short" => Known(Element::I16),
        "Char" => Known(Element::I8),
        "Byte" => Known(Element::U8),
        "Bool" => Known(Element::Bool),
        "Untyped" => Untyped,
        "ComplexFloat" => Unread("complex", 8),
        "ComplexDouble" => Unread("complex", 16),
        "QInt8" | "QUInt8" | "QUInt4x2" | "QUInt2x4" => Unread("quantized", 1),
        "QInt32" => Unread("quantized", 4),
        _ => return None,
    }))
}

fn element(name: &str) -> Option<Element> {
    Some(match name {
        "float32" | "float" => Element::F32,
        "float64" | "double" => Element::F64,
        "float16" | "half" => Element::F16,
        "bfloat16" => Element::BF16,
        "int64" | "long" => Element::I64,
        "int32" | "int" => Element::I32,
        "int16" | "short" => Element::I16,
        "int8" => Element::I8,
        "uint64" => Element::U64,
        "uint32" => Element::U32,
        "uint16" => Element::U16,
        "uint8" => Element::U8,
        "bool" => Element::Bool,
        "float8_e4m3fn" => Element::F8E4M3,
        "float8_e5m2" => Element::F8E5M2,
        "float8_e4m3fnuz" => Element::F8E4M3Fnuz,
        "float8_e5m2fnuz" => Element::F8E5M2Fnuz,
        "float8_e8m0fnu" => Element::F8E8M0,
        _ => return None,
    })
}

/// `torch/_utils.py` and `torch/_tensor.py`, from PyTorch 0.4 to 2.13.
fn rebuild(name: &str) -> Option<Rebuild> {
    Some(match name {
        "_rebuild_tensor" | "_rebuild_tensor_v2" => Rebuild::Tensor,
        "_rebuild_tensor_v3" => Rebuild::Typed,
        "_rebuild_parameter" | "_rebuild_parameter_with_state" | "_rebuild_device_tensor_from_cpu_tensor" => {
            Rebuild::Around
        }
        "_rebuild_from_type" | "_rebuild_from_type_v2" => Rebuild::Subclass,
        "_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor" => Rebuild::Unread("sparse"),
        "_rebuild_nested_tensor" => Rebuild::Unread("nested"),
        "_rebuild_qtensor" => Rebuild::Unread("quantized"),
        "_rebuild_meta_tensor_no_storage" => {
            Rebuild::Unread("on the device `meta`, which stores shapes without values")
        }
        "_rebuild_wrapper_subclass" => Rebuild::Unread("of a wrapper subclass"),
        "_rebuild_device_tensor_from_numpy" | "_rebuild_xla_tensor" => {
            Rebuild::Unread("of another device, stored as a NumPy array")
        }
        _ => return None,
    })
}
