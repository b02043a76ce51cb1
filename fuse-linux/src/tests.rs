mod convert;
mod errors;
mod listing;
mod mount;
mod real;
