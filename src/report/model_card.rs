//! The model card of published weights, a Markdown page with the hub's front matter: description, training, evaluation
//! and loading instructions. All contents come from the run's manifest, spec and weight file, which the caller has
//! redacted.

use super::table::TextTable;
use crate::{
    hub::Repo,
    train::{
        clock,
        manifest::{Manifest, OutputFile, RecordedMetric},
        task::Better,
    },
};
use serde_yaml::Value;

/// Inputs of a model card.
#[derive(Clone, Copy, Debug)]
pub struct ModelCard<'a> {
    pub repo: &'a Repo,
    /// License identifier of the hub: `mit`, `apache-2.0`, `cc-by-4.0`, …
    pub license: &'a str,
    pub manifest: &'a Manifest,
    /// The run's `spec.yaml`.
    pub spec: &'a Value,
    /// Label of the data set.
    pub dataset: Option<&'a str>,
    pub weights: &'a PublishedWeights,
}

/// Kinds of sources that are named without a path.
const NAMED_SOURCES: [&str; 3] = ["catalog", "hub", "scenes"];

/// Facts about the weight file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedWeights {
    pub name: String,
    pub output: OutputFile,
    pub tensors: usize,
    /// Number of trained parameters.
    pub parameters: usize,
    /// Number of batch normalization statistics (running means and variances).
    pub statistics: usize,
}

/// The stage in the spec: its kind (`pretext`), its task if any (`colorization`), its settings.
struct StageDescription<'a> {
    kind: &'a str,
    task: Option<&'a str>,
    settings: &'a Value,
}

impl ModelCard<'_> {
    /// The complete page.
    ///
    /// # Errors
    /// A spec that has no YAML form.
    pub fn markdown(&self) -> Result<String, serde_yaml::Error> {
        let stage = StageDescription::of(self.spec);
        let sections = [
            self.front_matter(&stage),
            format!("# {}\n\n{}\n", self.repo.name, stage.in_words()),
            self.loading(&stage),
            self.network(&stage)?,
            self.data(&stage)?,
            self.training(&stage)?,
            self.results(),
            self.circumstances(),
            self.files(),
            format!(
                "## License\n\n`{}`, for the weights. The training pictures have their own licenses.\n",
                self.license
            ),
        ];
        Ok(sections.join("\n"))
    }

    fn front_matter(&self, stage: &StageDescription) -> String {
        let tags: String = stage.tags().iter().map(|tag| format!("- {tag}\n")).collect();
        format!("---\nlicense: {}\nlibrary_name: hueristic\ntags:\n{tags}---\n", self.license)
    }

    fn loading(&self, stage: &StageDescription) -> String {
        let file = self.repo.file(&self.weights.name);
        let row = stage.task.unwrap_or(stage.kind);
        format!(
            "## Load\n\nAs a row of a linear probe:\n\n```yaml\nbackbones:\n  {row}: {{ file: \"{file}\" }}\n```\n\n\
             What is in the file:\n\n```sh\nhueristic weights inspect {file}\n```\n\n\
             It is a safetensors file: convolutions as (O, I, H, W), layers by their Caffe names, the backbone and the \
             spec in the header.\n"
        )
    }

    fn network(&self, stage: &StageDescription) -> Result<String, serde_yaml::Error> {
        let weights = self.weights;
        let statistics = match weights.statistics {
            0 => String::new(),
            some => format!(" and {some} running statistics of batch normalization"),
        };
        Ok(format!(
            "## Network\n\n{} parameters{statistics}, in {} tensors.\n\n{}",
            weights.parameters,
            weights.tensors,
            stage.yaml(&["backbone"])?
        ))
    }

    fn data(&self, stage: &StageDescription) -> Result<String, serde_yaml::Error> {
        let prints: Vec<_> =
            self.manifest.about.data.iter().map(|(split, print)| (split, code(print))).collect();
        let name = self.dataset.map_or(String::new(), |name| format!("{}\n\n", code(name)));
        Ok(format!(
            "## Data\n\n{name}{}\nFingerprints, which change with any picture or label:\n\n{}",
            stage.data_yaml()?,
            table(["split", "fingerprint"], prints)
        ))
    }

    fn training(&self, stage: &StageDescription) -> Result<String, serde_yaml::Error> {
        Ok(format!(
            "## Training\n\n{} updates, seed {}.\n\n{}",
            self.manifest.steps,
            self.manifest.about.seed,
            stage.yaml(&["task", "graph", "train"])?
        ))
    }

    fn results(&self) -> String {
        if self.manifest.metrics.is_empty() {
            return "## Results\n\nThe run reports no metrics.\n".into();
        }
        let value = |m: &RecordedMetric| m.value.map_or("not a number".into(), |v| format!("{v:.4}"));
        let rows = self.manifest.metrics.iter().map(|m| (&m.name, format!("{}{}", value(m), goal(m.better))));
        format!("## Results\n\nOn the validation split, at the end.\n\n{}", table(["metric", "value"], rows))
    }

    fn circumstances(&self) -> String {
        let (manifest, machine) = (self.manifest, &self.manifest.machine);
        let commit = machine.commit.as_deref().unwrap_or("unknown");
        let mut rows = vec![
            ("program", format!("hueristic {}, commit {commit}", machine.version)),
            ("device", format!("{}: {}, {} threads", manifest.about.device, machine.cpu, machine.cores)),
            ("time", clock::span(manifest.wall_seconds) + &resumed(manifest.resumed)),
        ];
        let peak = manifest.peak_memory_bytes.map(|b| ("peak memory", format!("{:.2} GB", b as f64 / 1e9)));
        rows.extend(peak);
        rows.extend(manifest.ended.iter().map(|ended| ("ended", ended.clone())));
        rows.extend(manifest.warnings.iter().map(|warning| ("warning", warning.clone())));
        format!("## Circumstances\n\n{}", table(["", ""], rows))
    }

    fn files(&self) -> String {
        let OutputFile { sha256, bytes } = &self.weights.output;
        format!(
            "## Files\n\n`{}`: {bytes} bytes, SHA-256 `{sha256}`.\n\n`spec.yaml` contains all inputs of the \
             result, `manifest.json` the results and the SHA-256 of every file of the run.\n",
            self.weights.name
        )
    }
}

impl<'a> StageDescription<'a> {
    fn of(spec: &'a Value) -> Self {
        let (kind, settings) = only_entry(&spec["work"]).unwrap_or(("unknown", &Value::Null));
        let task = &settings["task"];
        Self { kind, task: task.as_str().or(only_entry(task).map(|(name, _)| name)), settings }
    }

    fn backbone(&self) -> &str {
        match only_entry(&self.settings["backbone"]) {
            Some(("alexnet", _)) => "An AlexNet",
            _ => "A network",
        }
    }

    fn in_words(&self) -> String {
        let net = self.backbone();
        match (self.kind, self.task) {
            ("pretext", Some("colorization")) => format!(
                "{net} trained to colorize pictures: from the lightness it predicts a distribution over quantized \
                 colors at every pixel, and its layers serve as features learned without labels (Zhang, \
                 Isola and Efros, *Colorful Image Colorization*, ECCV 2016)."
            ),
            ("pretext", Some(task)) => format!("{net} trained without labels, on the pretext task `{task}`."),
            ("supervised", _) => format!(
                "{net} trained on class labels, from the lightness of pictures: the baseline for features learned \
                 by colorization."
            ),
            (kind, _) => format!("{net} trained by a stage of the kind `{kind}`."),
        }
    }

    fn tags(&self) -> Vec<&str> {
        let own = match self.kind {
            "pretext" => ["self-supervised", self.task.unwrap_or("pretext")],
            kind => [kind, "image-feature-extraction"],
        };
        let mut tags = vec!["hueristic", "colorization"];
        tags.extend(own.into_iter().filter(|tag| *tag != "colorization"));
        tags
    }

    /// The settings of the data as a YAML block, without the paths of its source.
    fn data_yaml(&self) -> Result<String, serde_yaml::Error> {
        let mut data = self.settings["data"].clone();
        let is_named = |source: &Value| NAMED_SOURCES.iter().any(|kind| !source[*kind].is_null());
        if let Some(settings) = data.as_mapping_mut().filter(|data| !data.get("source").is_some_and(is_named))
        {
            settings.remove("source");
        }
        let only = serde_yaml::Mapping::from_iter([("data".into(), data)]);
        Ok(format!("```yaml\n{}```\n", crate::yaml::write(&only)?))
    }

    /// The given settings, as far as present, as a YAML block.
    fn yaml(&self, keys: &[&str]) -> Result<String, serde_yaml::Error> {
        let has = |key: &&&str| !self.settings[**key].is_null();
        let entry = |key: &&str| (Value::from(*key), self.settings[*key].clone());
        let some: serde_yaml::Mapping = keys.iter().filter(has).map(entry).collect();
        Ok(format!("```yaml\n{}```\n", crate::yaml::write(&some)?))
    }
}

/// Key and value of a mapping with one entry, the form of named variants.
fn only_entry(value: &Value) -> Option<(&str, &Value)> {
    let mapping = value.as_mapping().filter(|m| m.len() == 1)?;
    let (key, value) = mapping.iter().next()?;
    Some((key.as_str()?, value))
}

fn resumed(times: usize) -> String {
    match times {
        0 => String::new(),
        1 => ", resumed once".into(),
        more => format!(", resumed {more} times"),
    }
}

fn goal(better: Better) -> &'static str {
    match better {
        Better::Higher => " (higher is better)",
        Better::Lower => " (lower is better)",
        Better::Neither => "",
    }
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

/// A Markdown table with two columns.
fn table<K: Into<String>>(head: [&str; 2], rows: impl IntoIterator<Item = (K, String)>) -> String {
    TextTable::new(head, rows.into_iter().map(|(key, value)| vec![key.into(), value])).markdown_left_aligned()
}
