//! PASCAL VOC's annotations.
#![no_main]
use hueristic::data::voc::xml;
use hueristic_fuzz::{checked, file, seeds, start};

const WHOLE: &str = "<annotation><folder>VOC2007</folder><filename>000001.jpg</filename>\
<size><width>353</width><height>500</height><depth>3</depth></size><segmented>0</segmented>\
<object><name>dog</name><pose>Left</pose><truncated>1</truncated><difficult>0</difficult><occluded>0</occluded>\
<bndbox><xmin>48</xmin><ymin>240.5</ymin><xmax>195</xmax><ymax>371</ymax></bndbox>\
<part><name>head</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></part>\
</object></annotation>";

fn made() -> Vec<Vec<u8>> {
    let declared = format!("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>\n<!-- c -->\n{WHOLE}");
    let entity = "<!DOCTYPE a [<!ENTITY e \"dog\">]><annotation><filename>&e;&#65;</filename></annotation>";
    let wide: String = format!("\u{feff}{WHOLE}");
    let mut made = seeds::texts(&[WHOLE, &declared, entity, &wide]);
    made.push(wide.encode_utf16().flat_map(u16::to_le_bytes).collect());
    made
}

libfuzzer_sys::fuzz_target!(
    init: start(64, made),
    |data: &[u8]| {
        checked(xml::read(&file("000001.xml", data)));
    }
);
