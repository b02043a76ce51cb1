//! `meshdrive serve`

#[derive(Debug, clap::Args)]
pub(crate) struct Args {}
pub(crate) fn run(_app: &super::App, _args: Args) -> crate::failure::Outcome {
    Ok(())
}
