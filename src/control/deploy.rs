//! A new version of a service: its number is reserved, its image pulled or built meanwhile, then it is written without traffic, and gets
//! its share when it is up. Each step is an edit of the service's file, so that a deploy that breaks off has changed nothing but what
//! it said.

use std::path::Path;

use super::building::{self, Building, Marker};
use super::edit::{Desk, EditRefused, names};
use super::inherited::{TakenOver, take_over};
use super::traffic::{Moved, Plan};
use crate::config::edit::store::WriteLock;
use crate::config::edit::{Change, Value, apply};
use crate::config::home::{Draft, Home};
use crate::model::name::{MAX_VERSION_NUMBER, VersionName};
use crate::model::service::MAX_VERSIONS;
use crate::model::weight::Weight;

/// What a version is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// An image, as typed.
    Image(String),
    /// An image that is yet to be built; with what it is built from, for people.
    Build(String),
    /// A process: a program and its arguments.
    Command(Vec<String>),
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// The service; made if it is new.
    pub service: String,
    /// What the version is made of.
    pub from: From,
    /// The port that a container listens on; 80 where `None`.
    pub port: Option<u16>,
    /// Names with values, in which `${NAME}` is filled in when it starts.
    pub env: Vec<(String, String)>,
    /// A file with more of them; an absolute path.
    pub env_file: Option<String>,
    /// Cores, such as `0.5`.
    pub cpu: Option<String>,
    /// Such as `256MiB`.
    pub memory: Option<String>,
    /// Instances at least.
    pub min: Option<u32>,
    /// Instances at most.
    pub max: Option<u32>,
    /// By what it scales, and how much of it one instance should have.
    pub scale: Option<(String, Option<u32>)>,
    /// `SOURCE:TARGET[:ro]`, paths absolute.
    pub volumes: Vec<String>,
    /// The user that it runs as.
    pub user: Option<String>,
    /// For people.
    pub remark: Option<String>,
    /// Whether it takes nothing over from the version before.
    pub fresh: bool,
    /// Its share once it is up; where `None`, all for the first version of a service, else nothing.
    pub traffic: Option<Weight>,
}

/// A deploy on its way, with a number of its own.
#[derive(Debug)]
pub struct Deploying<'h> {
    desk: Desk<'h>,
    deployment: Deployment,
    /// The version.
    pub name: VersionName,
    /// What it gets in the end.
    pub traffic: Weight,
    /// What it takes over from the version before, if anything.
    pub taken_over: Option<TakenOver>,
    /// Whether the service has a file already.
    pub is_new_service: bool,
    marker: Option<Marker>,
}

impl Deployment {
    /// Checks all that can be checked before anything is pulled, and reserves the next number. `seen` is the highest number that was seen
    /// beside the file: on containers. `now` is the time, RFC 3339.
    ///
    /// # Errors
    /// What was asked for makes no sense, the service has as many versions as it may, or its file cannot be edited.
    pub fn begin(self, home: &Home, seen: u32, now: String) -> Result<Deploying<'_>, EditRefused> {
        let desk = Desk::new(home, &self.service)?;
        let lock = WriteLock::take(&home.services)?;
        let is_new_service = !desk.file().exists();
        let mut reserved = None;
        let mut reserve = |text: Option<&str>| {
            let draft = text
                .map(|text| home.understand(&desk.name, text).map_err(|found| EditRefused::broken(&found)))
                .transpose()?;
            let name = self.next(&desk, draft.as_ref(), seen)?;
            let (traffic, taken_over) = self.try_out(&desk, &name, text)?;
            let new = match text {
                Some(text) => {
                    let change = Change::set(["last_version"], Value::number(name.number()));
                    Some(desk.edited(text, &[change])?)
                }
                // A file without a version would be an error.
                None => None,
            };
            reserved = Some((name, traffic, taken_over));
            Ok::<_, EditRefused>(new)
        };
        lock.rewrite(&desk.file(), &mut reserve)?;
        let (name, traffic, taken_over) = reserved.expect("a rewrite asks for the new text at least once");
        let building = Building { version: name.to_string(), what: self.what(), since: now };
        let marker = Marker::set(&lock, &home.services, &building)?;
        Ok(Deploying { desk, deployment: self, name, traffic, taken_over, is_new_service, marker: Some(marker) })
    }

    /// The name of the next version.
    fn next(&self, desk: &Desk<'_>, draft: Option<&Draft>, seen: u32) -> Result<VersionName, EditRefused> {
        let versions = draft.map(|draft| &*draft.service.versions).unwrap_or_default();
        let building = building::of(&desk.home.services, &desk.name);
        let in_making =
            building.iter().filter(|(name, _)| !versions.iter().any(|version| version.name == *name)).count();
        if let Some(draft) = draft.filter(|_| versions.len() + in_making >= MAX_VERSIONS) {
            let unused = (0..versions.len()).filter(|&index| !draft.service.has_traffic(index));
            let unused = names(unused.map(|index| &versions[index].name));
            return Err(EditRefused::Senseless(format!(
                "{} has {MAX_VERSIONS} versions, and no more are allowed: remove one with `tidegate delete VERSION`; without traffic are: {unused}",
                desk.name
            )));
        }
        let listed = versions.iter().map(|version| version.name.number());
        let building = building.iter().map(|(name, _)| name.number());
        let last = draft.and_then(|draft| draft.last_version).unwrap_or(0);
        let number = listed.chain(building).chain([last, seen]).max().unwrap_or(0) + 1;
        if number > MAX_VERSION_NUMBER {
            return Err(EditRefused::Senseless(format!(
                "{} has used up its numbers: deploy another service",
                desk.name
            )));
        }
        Ok(VersionName::numbered(&desk.name, number))
    }

    /// Makes all edits on a text that is thrown away. The share that the version will get, and what it takes over.
    fn try_out(
        &self,
        desk: &Desk<'_>,
        name: &VersionName,
        text: Option<&str>,
    ) -> Result<(Weight, Option<TakenOver>), EditRefused> {
        let image = match &self.from {
            From::Image(image) => Some(image.clone()),
            From::Build(_) => Some(format!("tidegate/{}:{:03}", desk.name, name.number())),
            From::Command(_) => None,
        };
        let (text, is_first, taken_over) = self.written(desk, name, text, image.as_deref())?;
        let traffic = self.traffic.unwrap_or(if is_first { Weight::FULL } else { Weight::ZERO });
        let draft = desk.home.understand(&desk.name, &text).map_err(|found| EditRefused::would_break(&found))?;
        if !traffic.is_zero() {
            let plan = Plan::with(&draft, name.as_str(), traffic)?;
            desk.edited(&text, &plan.changes(&draft))?;
        }
        Ok((traffic, taken_over))
    }

    /// The file's text with the version in it, without traffic; whether it is the first of its service; and what it takes over.
    fn written(
        &self,
        desk: &Desk<'_>,
        name: &VersionName,
        text: Option<&str>,
        image: Option<&str>,
    ) -> Result<(String, bool, Option<TakenOver>), EditRefused> {
        let version = name.as_str();
        let draft = text
            .map(|text| desk.home.understand(&desk.name, text).map_err(|found| EditRefused::broken(&found)))
            .transpose()?;
        let mut weights = Vec::new();
        let mut last = name.number();
        if let Some(draft) = &draft {
            last = last.max(draft.last_version.unwrap_or(0));
            // What was in effect without being written is written now.
            if draft.weighted.is_none() {
                weights.extend(draft.weights().map(|(name, weight)| (name.to_string(), weight)));
            }
        }
        weights.push((version.to_owned(), Weight::ZERO));
        let mut changes: Vec<_> =
            weights.iter().map(|(name, weight)| Change::set(["weights", name], Value::number(weight))).collect();
        changes.push(Change::set(["last_version"], Value::number(last)));
        let (value, taken_over) = match (text, &draft) {
            (Some(text), Some(draft)) if !self.fresh => take_over(&desk.file(), text, draft, self.value(image)),
            _ => (self.value(image), None),
        };
        changes.push(Change::set(["versions", version], value));
        let new = apply(&desk.file(), text.unwrap_or_default(), &changes)?;
        desk.home.understand(&desk.name, &new).map_err(|found| EditRefused::would_break(&found))?;
        Ok((new, draft.is_none_or(|draft| draft.service.versions.is_empty()), taken_over))
    }

    /// What is written of the version.
    fn value(&self, image: Option<&str>) -> Value {
        let mut entries: Vec<(&str, Value)> = Vec::new();
        let mut put = |key, value: Option<Value>| entries.extend(value.map(|value| (key, value)));
        let text = |text: &String| Value::text(text);
        put("image", image.map(Value::text));
        if let From::Command(command) = &self.from {
            put("command", Some(Value::texts(command)));
        }
        put("port", self.port.map(Value::number));
        let env = self.env.iter().map(|(name, value)| (name, Value::text(value)));
        put("env", (!self.env.is_empty()).then(|| Value::map(env)));
        put("env_file", self.env_file.as_ref().map(text));
        put("volumes", (!self.volumes.is_empty()).then(|| Value::texts(&self.volumes)));
        let cpu = self.cpu.as_ref().map(|cpu| ("cpu", number_or_text(cpu)));
        let memory = self.memory.as_ref().map(|memory| ("memory", number_or_text(memory)));
        put("resources", (cpu.is_some() || memory.is_some()).then(|| Value::map(cpu.into_iter().chain(memory))));
        put("user", self.user.as_ref().map(|user| number_or_text(user)));
        let min = self.min.map(|min| ("min", Value::number(min)));
        // A minimum above the usual maximum is meant as a maximum, too.
        let max = self.max.or(self.min.filter(|min| *min > 1)).map(|max| ("max", Value::number(max)));
        put("replicas", (min.is_some() || max.is_some()).then(|| Value::map(min.into_iter().chain(max))));
        put(
            "scale",
            self.scale.as_ref().map(|(on, target)| {
                let target = target.map(|target| ("target", Value::number(target)));
                Value::map([("on", Value::text(on))].into_iter().chain(target))
            }),
        );
        put("remark", self.remark.as_ref().map(text));
        Value::map(entries)
    }

    fn what(&self) -> String {
        match &self.from {
            From::Image(what) | From::Build(what) => what.clone(),
            From::Command(command) => command.join(" "),
        }
    }
}

impl Deploying<'_> {
    /// Writes the version into the file, without traffic. `image` is what was pulled or built. It is not building any more.
    ///
    /// # Errors
    /// The file cannot be edited, or has become one in which the version has no place.
    pub fn write(&mut self, image: Option<&str>) -> Result<(), EditRefused> {
        let lock = WriteLock::take(&self.desk.home.services)?;
        lock.rewrite(&self.desk.file(), |text| {
            self.deployment.written(&self.desk, &self.name, text, image).map(|(text, ..)| Some(text))
        })?;
        self.marker = None;
        Ok(())
    }

    /// Gives the version its share.
    ///
    /// # Errors
    /// The file cannot be edited.
    pub fn shift(&self) -> Result<Vec<Moved>, EditRefused> {
        self.desk.edit(|draft| {
            self.desk.version(draft, self.name.as_str())?;
            let plan = Plan::with(draft, self.name.as_str(), self.traffic)?;
            Ok((plan.changes(draft), plan.moved(draft)))
        })
    }

    /// The service's file.
    #[must_use]
    pub fn file(&self) -> std::path::PathBuf {
        self.desk.file()
    }
}

/// A path as it was typed in a shell, as a file elsewhere can name it.
#[must_use]
pub fn from_here(path: &str) -> String {
    std::path::absolute(Path::new(path)).map_or_else(|_| path.to_owned(), |path| path.to_string_lossy().into_owned())
}

fn number_or_text(text: &str) -> Value {
    if text.parse::<f64>().is_ok_and(f64::is_finite) { Value::number(text) } else { Value::text(text) }
}
