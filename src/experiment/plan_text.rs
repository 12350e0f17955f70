//! The text of a plan: what the dry run prints and `plan.txt` holds.

use super::plan::{InputFile, NetworkPlan, Outputs, StagePlan, Trainable, VAL_BATCH, ViewPlan};
use crate::{
    backbones::Variant, data::loader::Pass, nn::optim::EmaSpec, text::counted, train::spec::TrainOptions,
    transfer::InputColors,
};
use std::fmt::{self, Display, Formatter};

impl Display for StagePlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { row, pictures, network, files, train, metrics, monitor, leaves } = self;
        writeln!(f, "from     {}", row.start)?;
        if let Some(network) = network {
            writeln!(f, "network  {network}")?;
        }
        if let Some(view) = &pictures.train {
            writeln!(f, "train    {view}")?;
        }
        writeln!(f, "val      {}", pictures.val)?;
        for InputFile { key, path, .. } in files {
            writeln!(f, "{key:<8} {}", path.display())?;
        }
        if let Some(TrainOptions { steps, batch, iter_size, ema, .. }) = train {
            writeln!(f, "steps    {steps} × {batch} × {iter_size} images")?;
            if let Some(EmaSpec { decay }) = ema {
                writeln!(f, "weights  moving average with a decay of {decay}")?;
            }
        }
        if let Some(monitor) = monitor {
            writeln!(f, "{monitor}")?;
        }
        writeln!(f, "reports  {metrics}")?;
        write!(f, "leaves   {leaves}")
    }
}

impl Display for NetworkPlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let graph = match self.variant {
            Variant::Pretext => "pretext",
            Variant::Transfer => "transfer",
            Variant::Regions => "regions",
            Variant::Dense => "dense",
        };
        let channels = counted(self.input_channels, "channel");
        let mut said = vec![format!("{}, {graph} graph, {channels} in", self.backbone.name())];
        said.extend(self.batch_norm.then(|| "batch normalization".into()));
        said.extend((self.colors == InputColors::Color).then(|| "given color".into()));
        said.extend(self.head.map(|head| match head.outputs {
            Outputs::Number(n) => counted(n, "output"),
            Outputs::Classes => "an output for each class".into(),
            Outputs::ClassesAndBackground => "an output for each class and background".into(),
        }));
        said.extend(self.task_head.as_ref().map(ToString::to_string));
        said.extend(self.task_head.as_ref().filter(|head| head.compares_pictures()).map(|head| {
            let chance = 100.0 / (head.views() * VAL_BATCH - 1) as f64;
            format!("chance {chance:.1} % in validation batches of {VAL_BATCH}")
        }));
        said.extend(self.beside.iter().map(|network| format!("beside a {}", network.name)));
        said.extend(self.split.map(|[ab, l]| format!("split into L → ab ({ab} outputs) and ab → L ({l})")));
        said.extend(self.taps.as_ref().map(|taps| format!("read at {}", taps.join(", "))));
        let trainable = match &self.trainable {
            Trainable::All => "all layers trained".into(),
            Trainable::Nothing => "all layers frozen".into(),
            Trainable::After(layer) => format!("layers after {layer} trained"),
            Trainable::From(layer) => format!("layers from {layer} on trained"),
        };
        write!(f, "{}; {trainable}", said.join(", "))
    }
}

impl Display for ViewPlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let pass = match self.pass {
            Pass::Train => "shuffled, augmented",
            Pass::Shuffled => "shuffled",
            Pass::Once => "once, in order",
            Pass::Draw => "once, augmented",
        };
        let flips = self.flip && matches!(self.pass, Pass::Train | Pass::Draw);
        let flip = if flips { ", mirrored at random" } else { "" };
        write!(f, "batches of {}: {}, {pass}{flip}", self.batch, self.describe_transform())
    }
}
