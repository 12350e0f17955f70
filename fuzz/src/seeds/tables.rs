//! Parquet tables of two pictures, as the Hugging Face hub has them and with the pictures as plain binary, in every
//! compression that is read.

use parquet::{
    basic::{Compression, Encoding, ZstdLevel},
    data_type::{ByteArrayType, Int64Type},
    errors::Result,
    file::{metadata::KeyValue, properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};
use std::sync::Arc;

const FEATURES: &str =
    r#"{"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}"#;

pub fn parquet(picture: &[u8]) -> Result<Vec<Vec<u8>>> {
    let plain = "message schema { optional binary image; optional int64 label; }";
    let nested =
        "message schema { optional group image { optional binary bytes; optional binary path (UTF8); }
                  optional int64 label; }";
    let zstd = Compression::ZSTD(ZstdLevel::default());
    let gzip = Compression::GZIP(Default::default());
    let mut files = vec![];
    for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, zstd, gzip] {
        files.push(table(plain, compression, picture)?);
        files.push(table(nested, compression, picture)?);
    }
    files.push(table(&plain.replace("int64 label", "binary label (UTF8)"), Compression::SNAPPY, picture)?);
    Ok(files)
}

fn table(schema: &str, compression: Compression, picture: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = vec![];
    let described = vec![KeyValue::new("huggingface".into(), FEATURES.to_owned())];
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_encoding(Encoding::PLAIN)
        .set_key_value_metadata(Some(described))
        .build();
    let schema = Arc::new(parse_message_type(schema)?);
    let columns = schema.get_fields().len() + usize::from(schema.get_fields()[0].is_group());
    let mut writer = SerializedFileWriter::new(&mut bytes, schema.clone(), properties.into())?;
    let mut group = writer.next_row_group()?;
    let mut number = 0;
    while let Some(mut column) = group.next_column()? {
        number += 1;
        let names = schema.get_fields()[1].get_physical_type() == parquet::basic::Type::BYTE_ARRAY;
        if number < columns || names {
            let text = if number == columns { b"cat" } else { picture };
            let present = if columns == 3 && number < 3 { 2 } else { 1 };
            let values = [text.to_vec().into(), text.to_vec().into()];
            column.typed::<ByteArrayType>().write_batch(&values, Some(&[present; 2]), None)?;
        } else {
            column.typed::<Int64Type>().write_batch(&[0, 1], Some(&[1, 1]), None)?;
        }
        column.close()?;
    }
    group.close()?;
    writer.close()?;
    Ok(bytes)
}
