//! Caches frozen features by image, so that a probe without augmentation runs its backbone once per image. The cache
//! is in memory only; sets larger than the limit are recomputed in each epoch.

use candle_core::{Device, Result, Tensor};

/// Features of up to `rows.len()` images, each a row of `widths.iter().sum()` values.
pub struct FeatureCache {
    rows: Vec<Option<Box<[f32]>>>,
    widths: Vec<usize>,
}

impl FeatureCache {
    /// A cache for `images` images with layers of these `widths`; None if it would exceed `limit` bytes.
    pub fn new(images: usize, widths: Vec<usize>, limit: usize) -> Option<Self> {
        let bytes = images * widths.iter().sum::<usize>() * size_of::<f32>();
        (bytes <= limit).then(|| Self { rows: (0..images).map(|_| None).collect(), widths })
    }

    /// Size of the full cache in bytes.
    pub fn size(&self) -> usize {
        self.rows.len() * self.widths.iter().sum::<usize>() * size_of::<f32>()
    }

    /// Cached features of these images, one `(B, D)` tensor per layer; None unless all are cached.
    pub fn get(&self, indices: &[usize], device: &Device) -> Option<Result<Vec<Tensor>>> {
        let rows: Option<Vec<&[f32]>> = indices.iter().map(|&i| self.rows[i].as_deref()).collect();
        rows.map(|rows| self.layers(&rows, device))
    }

    fn layers(&self, rows: &[&[f32]], device: &Device) -> Result<Vec<Tensor>> {
        let mut start = 0;
        let layer = |&width: &usize| {
            let values: Vec<f32> = rows.iter().flat_map(|row| &row[start..start + width]).copied().collect();
            start += width;
            Tensor::from_vec(values, (rows.len(), width), device)
        };
        self.widths.iter().map(layer).collect()
    }

    /// Caches the features of these images, with `layers` as returned by [`FeatureCache::get`].
    pub fn put(&mut self, indices: &[usize], layers: &[Tensor]) -> Result<()> {
        let layers = layers.iter().map(|l| l.to_vec2::<f32>()).collect::<Result<Vec<_>>>()?;
        for (b, &i) in indices.iter().enumerate() {
            self.rows[i] = Some(layers.iter().flat_map(|l| &l[b]).copied().collect());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_put_in_any_order() -> Result<()> {
        let cpu = &Device::Cpu;
        let Some(mut cache) = FeatureCache::new(4, vec![2, 1], 1 << 10) else { panic!("48 bytes fit") };
        let a = Tensor::new(&[[1f32, 2.], [3., 4.]], cpu)?;
        let b = Tensor::new(&[[5f32], [6.]], cpu)?;
        cache.put(&[3, 1], &[a, b])?;
        assert!(cache.get(&[1, 0], cpu).is_none(), "image 0 was never seen");
        let Some(layers) = cache.get(&[1, 3], cpu).transpose()? else { panic!("both were put") };
        assert_eq!(layers[0].to_vec2::<f32>()?, [[3., 4.], [1., 2.]]);
        assert_eq!(layers[1].to_vec2::<f32>()?, [[6.], [5.]]);
        assert!(FeatureCache::new(1000, vec![1000], 1 << 20).is_none(), "4 MB do not fit in 1 MiB");
        Ok(())
    }
}
