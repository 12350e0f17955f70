//! Values by class of transfer results, averaged over seeds.

use super::{
    table::{TextTable, csv_cells},
    transfer::{TransferColumn, TransferLine, TransferResult, entries},
};
use crate::metrics::accuracy::MeanStd;
use std::collections::HashMap;

/// The value of one class in one cell of the transfer table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ClassValue {
    pub column: TransferColumn,
    pub line: TransferLine,
    pub class: String,
    /// In percent; None for an absent class.
    pub value: Option<MeanStd>,
}

/// All values by class, in order of first appearance.
pub(super) fn class_values(results: &[TransferResult]) -> Vec<ClassValue> {
    let mut order: Vec<(TransferColumn, TransferLine, &str)> = vec![];
    let mut values: HashMap<(TransferColumn, TransferLine, &str), Vec<f64>> = HashMap::new();
    let entries = entries(results);
    for entry in &entries {
        for (class, value) in &entry.row.per_class {
            let key = (entry.column.clone(), entry.line.clone(), class.as_str());
            let known = values.entry(key.clone()).or_insert_with(|| {
                order.push(key);
                vec![]
            });
            known.extend(value);
        }
    }
    let value = |key: (TransferColumn, TransferLine, &str)| {
        let value = values.get(&key).and_then(|values| MeanStd::of(values)).map(MeanStd::percent);
        let (column, line, class) = key;
        ClassValue { column, line, class: class.into(), value }
    };
    order.into_iter().map(value).collect()
}

/// Values by class in percent as CSV: one line per class of a cell. None without any.
pub fn classes_csv(results: &[TransferResult]) -> Option<String> {
    let names = ["dataset", "protocol", "task", "metric", "experiment", "backbone", "input", "class"];
    let row = |ClassValue { column, line, class, value }: &ClassValue| {
        let about = [&column.dataset, &column.protocol, &column.name(), column.metric.name()];
        let whose = [&line.experiment, &line.backbone, line.input.name(), class];
        let fields = about.into_iter().chain(whose).map(str::to_string);
        fields.chain(csv_cells(value.as_ref())).collect()
    };
    let values = class_values(results);
    let table = TextTable::new(names.into_iter().chain(["mean", "std", "n"]), values.iter().map(row));
    (!table.rows.is_empty()).then(|| table.csv())
}
