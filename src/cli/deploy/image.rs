//! The image of a version: pulled or built, and pinned.

use std::ffi::OsString;

use anyhow::anyhow;

use super::arguments::{DeployArgs, build_argument};
use crate::cli::block_on;
use crate::cli::progress::Progress;
use crate::control::build::{BuildRequest, Source, build};
use crate::control::deploy::{Deployment, From};
use crate::lifecycle::provider::docker::credentials::Keychain;
use crate::lifecycle::provider::docker::engine::Engine;
use crate::lifecycle::provider::docker::image;
use crate::model::image::Reference;
use crate::model::name::VersionName;

/// The image as the version records it; `None` for a process. Ctrl-C ends it like any failure, so that a build leaves nothing behind.
pub(super) fn get(
    args: &DeployArgs,
    deployment: &Deployment,
    version: &VersionName,
    engine: &Engine,
    progress: &mut Progress,
) -> anyhow::Result<Option<String>> {
    let work = async {
        match &deployment.from {
            From::Command(_) => Ok(None),
            From::Image(text) => pull(engine, &Reference::parse(text)?, progress).await.map(Some),
            From::Build(source) => built(args, source, version, engine, progress).await.map(Some),
        }
    };
    block_on(async {
        tokio::select! {
            done = work => done,
            _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
        }
    })?
}

async fn pull(engine: &Engine, reference: &Reference, progress: &mut Progress) -> anyhow::Result<String> {
    let client = engine.client().await?;
    let local = image::resolve(&client, reference).await?;
    let is_pinned = match reference {
        Reference::Id(_) => true,
        Reference::Named(named) => named.digest.is_some(),
    };
    // What never changes need not be asked for.
    if let Some(local) = local.as_ref().filter(|_| is_pinned) {
        return Ok(image::pin(reference, local).to_string());
    }
    let registry = match reference {
        Reference::Named(named) => named.registry.to_string(),
        Reference::Id(_) => String::new(),
    };
    progress.line(&format!("pulling {reference}"));
    let credentials = keychain()?.credentials(&registry).await?;
    let told = |now: image::Progress| {
        let mib = |bytes: u64| bytes as f64 / (1024.0 * 1024.0);
        let (done, all) = (mib(now.bytes_done), mib(now.bytes));
        progress.step(&format!("pulling: {} of {} layers, {done:.1} of {all:.1} MiB", now.layers_done, now.layers));
    };
    match (image::pull(&client, reference, credentials.as_ref(), told).await, local) {
        (Ok(pulled), _) => Ok(image::pin(reference, &pulled).to_string()),
        (Err(error), Some(local)) => {
            progress.line(&format!("could not be pulled, so the image that is here is taken: {error}"));
            Ok(image::pin(reference, &local).to_string())
        }
        (Err(error), None) => Err(error.into()),
    }
}

async fn built(
    args: &DeployArgs,
    source: &str,
    version: &VersionName,
    engine: &Engine,
    progress: &mut Progress,
) -> anyhow::Result<String> {
    let mut request = BuildRequest::new(Source::parse(source)?, version.clone());
    request.context.clone_from(&args.context);
    request.dockerfile.clone_from(&args.dockerfile);
    request.arguments =
        args.build_arg.iter().map(|argument| build_argument(argument)).collect::<anyhow::Result<_>>()?;
    request.token_file.clone_from(&args.git_token_file);
    request.keychain = keychain()?;
    let client = engine.client().await?;
    let built = build(&client, request, &mut |line| progress.line(&line.to_string())).await?;
    Ok(built.image.to_string())
}

fn keychain() -> anyhow::Result<Keychain> {
    Ok(Keychain::load(|name| -> Option<OsString> { std::env::var_os(name) })?)
}
