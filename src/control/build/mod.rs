//! x

mod folder;
mod ignore;
mod pack;
mod selection;
mod tree;
mod zip;
