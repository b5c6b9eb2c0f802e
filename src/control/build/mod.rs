//! x

mod ignore;
