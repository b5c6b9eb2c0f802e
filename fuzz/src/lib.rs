//! What must hold, whatever comes: the checks behind the fuzz targets. `tests/it` runs them too, with inputs made from seeds.

pub mod request;
pub mod response;
