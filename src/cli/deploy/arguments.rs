//! What is typed for a deploy, and what it means.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};

use crate::cli::home::ConfigArg;
use crate::control::deploy::{Deployment, From, from_here};
use crate::model::image::Reference;
use crate::model::weight::Weight;

/// Deploy the next version of a service; the service is made if it is new.
///
/// The version is pulled or built, written into the service's file, started and waited for, and only then it gets traffic. One that does
/// not come up leaves the traffic as it was, and says why. Without a running tidegate it is written without being tried out.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[group(id = "from", required = true, multiple = false, args = ["image", "build", "command"])]
pub struct DeployArgs {
    /// Such as shop
    pub service: String,
    /// An image: NAME:TAG, or NAME@sha256:DIGEST; its digest is recorded
    #[arg(long, value_name = "REF")]
    pub image: Option<String>,
    /// Build an image from a folder, a zip or a git URL (a branch or tag behind `#`)
    #[arg(long, value_name = "DIR|ZIP|GIT-URL")]
    pub build: Option<String>,
    /// Run a process: the program and its arguments, behind `--`
    #[arg(long, requires = "words")]
    pub command: bool,
    /// The Dockerfile; without it, the one at the root of what is built
    #[arg(long, value_name = "PATH", requires = "build")]
    pub dockerfile: Option<PathBuf>,
    /// The folder of what is built that the build sees; without it, all
    #[arg(long, value_name = "PATH", requires = "build")]
    pub context: Option<PathBuf>,
    /// An argument that the Dockerfile asks for by ARG; may be repeated
    #[arg(long, value_name = "NAME=VALUE", requires = "build")]
    pub build_arg: Vec<String>,
    /// A file with a token for a private repository
    #[arg(long, value_name = "FILE", requires = "build")]
    pub git_token_file: Option<PathBuf>,
    /// The port that the container listens on; 80 when left out
    #[arg(long)]
    pub port: Option<u16>,
    /// A variable; ${NAME} in it is filled in from tidegate's environment, `$$` is `$`; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// A file with more of them, NAME=VALUE lines
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<String>,
    /// Cores that a container may use, such as 0.5
    #[arg(long, value_name = "CORES")]
    pub cpu: Option<String>,
    /// Memory that a container may use, such as 256MiB
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Instances at least; 0 when left out, which lets it sleep
    #[arg(long)]
    pub min: Option<u32>,
    /// Instances at most; 1 when left out
    #[arg(long)]
    pub max: Option<u32>,
    /// When there are more instances, such as concurrency=50, rps=200 or cpu=80
    #[arg(long, value_name = "ON=TARGET")]
    pub scale: Option<String>,
    /// What of the host the container sees, SOURCE:TARGET or SOURCE:TARGET:ro; may be repeated
    #[arg(long, value_name = "VOLUME")]
    pub volume: Vec<String>,
    /// The user that it runs as
    #[arg(long)]
    pub user: Option<String>,
    /// Take nothing over from the version before; without it, what is not said here is as it was there
    #[arg(long)]
    pub fresh: bool,
    /// Free text, for people
    #[arg(long)]
    pub remark: Option<String>,
    /// Its share of the traffic once it is up: 100, 0, or as much as you say, with the others sharing the rest as before. Without it, 100
    /// for the first version of a service, else 0
    #[arg(long, value_name = "PERCENT")]
    pub traffic: Option<String>,
    /// Not supported yet: the traffic moves at once
    #[arg(long, value_name = "TIME", hide = true)]
    pub over: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "it has its own")]
    pub config: ConfigArg,
    /// The program and its arguments, for --command
    #[arg(last = true, value_name = "PROGRAM")]
    pub words: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  tidegate deploy shop --image ghcr.io/me/shop:1.2 --port 8080
  tidegate deploy shop --build . --traffic 10
  tidegate deploy shop --build https://github.com/me/shop.git#v1.2 --git-token-file token
  tidegate deploy shop --command --env MODE=production -- ./shop --serve";

impl DeployArgs {
    /// What is meant, as far as that shows without looking at files.
    pub(super) fn deployment(&self) -> anyhow::Result<Deployment> {
        if self.over.is_some() {
            bail!("`--over` is not supported yet: deploy with `--traffic 10`, then move more with `tidegate traffic`");
        }
        let from = match (&self.image, &self.build) {
            (Some(image), _) => {
                Reference::parse(image)?;
                From::Image(image.clone())
            }
            (None, Some(source)) => From::Build(source.clone()),
            (None, None) => From::Command(self.words.iter().enumerate().map(word).collect()),
        };
        if !matches!(from, From::Command(_)) && !self.words.is_empty() {
            bail!("what is behind `--` is for `--command`; an image has its own command");
        }
        if let From::Command(_) = from {
            let only_containers = [
                ("--port", self.port.is_some(), "a process is told its port in PORT"),
                ("--cpu", self.cpu.is_some(), "limit a process by other means"),
                ("--memory", self.memory.is_some(), "limit a process by other means"),
                ("--volume", !self.volume.is_empty(), "a process sees all that its user does"),
            ];
            if let Some((option, _, cure)) = only_containers.into_iter().find(|(_, given, _)| *given) {
                bail!("`{option}` is for containers: {cure}");
            }
        }
        if let (Some(min), Some(max)) = (self.min, self.max)
            && min > max
        {
            bail!("at least {min} and at most {max} instances cannot be: try `--min {min} --max {min}`");
        }
        Ok(Deployment {
            service: self.service.clone(),
            from,
            port: self.port,
            env: self.env.iter().map(|text| variable(text)).collect::<anyhow::Result<_>>()?,
            env_file: self.env_file.as_deref().map(from_here),
            cpu: self.cpu.clone(),
            memory: self.memory.clone(),
            min: self.min,
            max: self.max,
            scale: self.scale.as_deref().map(scale).transpose()?,
            volumes: self.volume.iter().map(|text| volume(text)).collect(),
            user: self.user.clone(),
            remark: self.remark.clone(),
            fresh: self.fresh,
            traffic: self.traffic.as_deref().map(traffic).transpose()?,
        })
    }
}

/// A program's path is relative to where the command is given, and not to the file that it is written into.
fn word((index, word): (usize, &String)) -> String {
    if index == 0 && word.contains('/') { from_here(word) } else { word.clone() }
}

fn variable(text: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = text.split_once('=').with_context(|| {
        format!("`--env {text}` has no value: write `--env {text}=VALUE`, or `--env '{text}=${{{text}}}'` for what tidegate's environment has")
    })?;
    Ok((name.to_owned(), value.to_owned()))
}

/// An argument of a build.
pub(super) fn build_argument(text: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = text
        .split_once('=')
        .with_context(|| format!("`--build-arg {text}` has no value: write `--build-arg {text}=VALUE`"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn scale(text: &str) -> anyhow::Result<(String, Option<u32>)> {
    let (on, target) = text.split_once('=').map_or((text, None), |(on, target)| (on, Some(target)));
    if on == "memory" {
        bail!("scaling on memory is not supported yet: write concurrency=50, rps=200 or cpu=80");
    }
    let target = target.map(|target| target.parse().ok().filter(|target| *target > 0));
    match (on, target) {
        ("concurrency" | "rps" | "cpu", None | Some(Some(_))) => Ok((on.to_owned(), target.flatten())),
        _ => Err(anyhow!("`--scale {text}` is not understood: write concurrency=50, rps=200 or cpu=80")),
    }
}

/// A folder's path is relative to where the command is given.
fn volume(text: &str) -> String {
    match text.split_once(':') {
        Some((source, rest)) if source.starts_with('.') => format!("{}:{rest}", from_here(source)),
        _ => text.to_owned(),
    }
}

fn traffic(text: &str) -> anyhow::Result<Weight> {
    let number: Option<f64> = text.strip_suffix('%').unwrap_or(text).parse().ok();
    number
        .and_then(Weight::from_percent)
        .with_context(|| format!("`--traffic {text}` is not a percentage from 0 to 100 with at most two decimals"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_checked_at_once() {
        assert_eq!(variable("A=b=c").ok(), Some(("A".to_owned(), "b=c".to_owned())));
        assert!(variable("A").expect_err("no value").to_string().contains("--env 'A=${A}'"));
        assert_eq!(scale("rps=5").ok(), Some(("rps".to_owned(), Some(5))));
        assert_eq!(scale("cpu").ok(), Some(("cpu".to_owned(), None)));
        assert!(scale("memory=5").expect_err("later").to_string().contains("not supported yet"));
        for wrong in ["rps=0", "rps=x", "load=3", ""] {
            assert!(scale(wrong).is_err(), "{wrong}");
        }
        assert_eq!(traffic("33.33%").ok().map(Weight::hundredths), Some(3333));
        assert!(traffic("101").is_err() && traffic("1.234").is_err());
        assert_eq!(volume("data:/data"), "data:/data");
        assert!(volume("./x:/y:ro").ends_with("/x:/y:ro") && volume("./x:/y").starts_with('/'));
    }
}
