//! How far a pull is.

use std::collections::BTreeMap;

use bollard::models::CreateImageInfo;

/// How far a pull is. The totals grow while the engine learns what there is to come.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Layers that are there.
    pub layers_done: usize,
    /// Layers of the image, as far as known.
    pub layers: usize,
    /// Bytes that have come, compressed.
    pub bytes_done: u64,
    /// Bytes of the layers whose size is known.
    pub bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct Layers(BTreeMap<String, Layer>);

#[derive(Debug, Default)]
struct Layer {
    done: bool,
    come: u64,
    size: u64,
}

impl Layers {
    /// Takes what the engine says; `None` if it is not about a layer.
    pub(super) fn take(&mut self, event: &CreateImageInfo) -> Option<Progress> {
        let (id, status) = (event.id.as_deref()?, event.status.as_deref()?);
        let detail = event.progress_detail.as_ref();
        let number = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0);
        // `Pulling from` has the tag for an ID.
        if status.starts_with("Pulling from") {
            return None;
        }
        let layer = self.0.entry(id.to_owned()).or_default();
        match status {
            "Downloading" => {
                layer.come = number(detail.and_then(|detail| detail.current));
                layer.size = number(detail.and_then(|detail| detail.total)).max(layer.come);
            }
            "Download complete" | "Verifying Checksum" | "Extracting" => layer.come = layer.size,
            "Pull complete" | "Already exists" => {
                layer.come = layer.size;
                layer.done = true;
            }
            _ => {}
        }
        Some(self.sum())
    }

    fn sum(&self) -> Progress {
        let layers = self.0.values();
        layers.fold(Progress::default(), |sum, layer| Progress {
            layers_done: sum.layers_done + usize::from(layer.done),
            layers: sum.layers + 1,
            bytes_done: sum.bytes_done.saturating_add(layer.come),
            bytes: sum.bytes.saturating_add(layer.size),
        })
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    fn event(id: &str, status: &str, bytes: Option<(i64, i64)>) -> CreateImageInfo {
        CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: bytes
                .map(|(current, total)| ProgressDetail { current: Some(current), total: Some(total) }),
            ..CreateImageInfo::default()
        }
    }

    #[test]
    fn layers_and_bytes_are_counted() {
        let mut layers = Layers::default();
        assert_eq!(layers.take(&event("latest", "Pulling from library/nginx", None)), None);
        assert_eq!(layers.take(&CreateImageInfo::default()), None);
        layers.take(&event("a", "Pulling fs layer", None));
        layers.take(&event("b", "Already exists", None));
        let half = layers.take(&event("a", "Downloading", Some((50, 100)))).expect("a layer");
        assert_eq!(half, Progress { layers_done: 1, layers: 2, bytes_done: 50, bytes: 100 });
        layers.take(&event("a", "Extracting", Some((10, 100))));
        let all = layers.take(&event("a", "Pull complete", None)).expect("a layer");
        assert_eq!(all, Progress { layers_done: 2, layers: 2, bytes_done: 100, bytes: 100 });
    }
}
