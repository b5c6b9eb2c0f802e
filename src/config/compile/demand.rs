//! How many instances a version has, and when it sleeps.

use http::StatusCode;

use super::Check;
use crate::config::file::{
    IgnoreFile, MAX_REPLICAS, ReplicasFile, ReplicasForm, ScaleFile, ScaleOnFile, SleepFile, TimeOrOff, VersionFile,
    Word,
};
use crate::config::spanned::Spanned;
use crate::model::glob::Pattern;
use crate::model::name::VersionName;
use crate::model::version::{Backend, Ignore, Replicas, Scale, ScaleOn, Sleep};

impl Check {
    /// What the file says over the default; the default where that makes no sense.
    pub(super) fn replicas(&mut self, file: Option<&Spanned<ReplicasForm>>, default: Replicas) -> Replicas {
        let Some(file) = file else { return default };
        let (min, max) = match &file.value {
            ReplicasForm::Fixed(count) => {
                let count = Spanned { value: *count, span: file.span };
                (Some(count.clone()), Some(count))
            }
            ReplicasForm::Range(ReplicasFile { min, max }) => (min.clone(), max.clone()),
        };
        if let Some(max) = max.as_ref().filter(|max| !(1..=MAX_REPLICAS).contains(&max.value)) {
            let message = match max.value {
                0 => "with 0 instances at most, nothing would be served".to_owned(),
                more => format!("{more} instances are more than a version can have"),
            };
            self.error(max.span, message, format!("write a number from 1 to {MAX_REPLICAS}"));
            return default;
        }
        let (least, most) =
            (min.as_ref().map_or(default.min, |min| min.value), max.as_ref().map_or(default.max, |max| max.value));
        if let Some(min) = min.as_ref().filter(|min| min.value > MAX_REPLICAS) {
            let message = format!("{least} instances are more than a version can have");
            self.error(min.span, message, format!("write a number from 0 to {MAX_REPLICAS}"));
            return default;
        }
        // What a range lacks because it was noted says nothing of the rest.
        if least > most && !self.has_error_within(file.span) {
            let (span, message, cure) = match (&min, &max) {
                (Some(min), None) => (
                    min.span,
                    format!("`min` is {least}, and `max` is {most} unless you say otherwise"),
                    format!("write `max` as well: `{{min: {least}, max: {least}}}`"),
                ),
                (None, Some(max)) => (
                    max.span,
                    format!("`max` is {most}, and `min` is {least} by `defaults`"),
                    format!("write `min` as well: `{{min: {most}, max: {most}}}`"),
                ),
                _ => (
                    min.as_ref().map_or(file.span, |min| min.span),
                    format!("`min` is {least}, and `max` only {most}"),
                    format!("write `{{min: {most}, max: {least}}}`"),
                ),
            };
            self.error(span, message, cure);
        }
        if least > most { default } else { Replicas { min: least, max: most } }
    }

    /// The addresses of a hook come up together: as instances they are one.
    pub(super) fn replicas_of_hook(&mut self, file: Option<&Spanned<ReplicasForm>>, default: Replicas) -> Replicas {
        let default = Replicas { min: default.min.min(1), max: 1 };
        let most = file.map_or(0, |file| most(&file.value));
        match file {
            Some(file) if most > 1 => {
                let cure = "write `{min: 0, max: 1}`, or 1 if it should always run";
                self.error(file.span, "the `urls` of a hook come up together, so there is one instance of it", cure);
                default
            }
            _ => self.replicas(file, default),
        }
    }

    /// A container that is there is one instance, however many Compose has made of it.
    pub(super) fn replicas_of_found(&mut self, file: Option<&Spanned<ReplicasForm>>, default: Replicas) -> Replicas {
        let most = file.map_or(0, |file| most(&file.value));
        let default = Replicas { min: default.min.min(1), max: 1 };
        match file {
            Some(file) if most > 1 => {
                let cure =
                    "write `{min: 0, max: 1}`, or 1 if it should always run; or `image`, of which tidegate makes more";
                self.error(file.span, "tidegate makes no more of a container that is somebody else's", cure);
                default
            }
            _ => self.replicas(file, default),
        }
    }

    /// Pausing, and scaling by processor time: refused where it is said of others than containers, dropped where it is only a default.
    pub(super) fn for_containers_only(
        &mut self,
        backend: &Backend,
        file: &VersionFile,
        (sleep, scale): (&mut Sleep, &mut Scale),
    ) {
        let said = file.sleep.as_ref().and_then(|sleep| sleep.pause_after.as_ref());
        if !backend.is_container() {
            if let Some(pause) = said.filter(|pause| pause.value.0.is_some()) {
                let cure = "write `stop_after`, which stops it";
                self.error(pause.span, "only containers can be paused: `pause_after` is not for this version", cure);
            }
            sleep.pause_after = None;
            if let Some(on) = file.scale.as_ref().filter(|scale| scale.on == Some(ScaleOnFile::Cpu)) {
                let cure = "write `on: concurrency` or `on: rps`";
                self.error(on.span, "only of containers is the processor time known", cure);
            } else if scale.on == ScaleOn::Cpu {
                *scale = Scale::default();
            }
        }
        if let (Some(pause), Some(stop)) = (sleep.pause_after, sleep.stop_after)
            && pause >= stop
        {
            let stop_after = file.sleep.as_ref().and_then(|sleep| sleep.stop_after.as_ref().map(|stop| stop.span));
            let span = said.map(|pause| pause.span).or(stop_after);
            if let (Some(span), Some(_)) = (span, said) {
                let cure = "write a shorter one, like `{pause_after: 5m, stop_after: 1h}`, or take it out";
                self.error(span, "`pause_after` is not shorter than `stop_after`, so it would never be paused", cure);
            }
            sleep.pause_after = None;
        }
    }

    /// Refuses what is said of starting and stopping what tidegate neither starts nor stops.
    pub(super) fn not_ours(&mut self, file: &VersionFile) {
        let stop_after = file.sleep.as_ref().and_then(|sleep| sleep.stop_after.as_ref());
        let keys = [
            ("replicas", file.replicas.as_ref().map(|value| value.span)),
            ("scale", file.scale.as_ref().map(|value| value.span)),
            ("keep", file.keep.as_ref().map(|value| value.span)),
            ("sleep.stop_after", stop_after.map(|value| value.span)),
        ];
        for (key, span) in keys {
            if let Some(span) = span {
                let message = format!(
                    "`{key}` does not go with `urls` alone: what runs there is not tidegate's to start or stop"
                );
                self.error(span, message, "take it out, or say with `hook` how it is started and stopped");
            }
        }
    }

    /// Warns where what the version says of its sleep never comes about. `replicas` are what came of it.
    pub(super) fn sleepless(&mut self, name: &VersionName, file: &VersionFile, replicas: Replicas) {
        let stop_after = file.sleep.as_ref().and_then(|sleep| sleep.stop_after.as_ref());
        let Some(stop_after) = stop_after.filter(|time| time.value.0.is_some()) else { return };
        if file.keep.as_ref().is_some_and(|keep| keep.value) {
            let message = format!("`stop_after` changes nothing: {name} never sleeps, for it has `keep: true`");
            self.warning(stop_after.span, message, "take one of them out");
        } else if replicas.min > 0 {
            let min = replicas.min;
            let message = format!("{name} does not sleep while it has weight or a rule: its `min` is {min}");
            self.warning(
                stop_after.span,
                message,
                "write `replicas: {min: 0}` to let it sleep, or take `stop_after` out",
            );
        }
    }

    pub(super) fn scale(&mut self, file: Option<&ScaleFile>, default: Scale) -> Scale {
        let Some(file) = file else { return default };
        let on = file.on.map_or(default.on, |on| match on {
            ScaleOnFile::Concurrency => ScaleOn::Concurrency,
            ScaleOnFile::Rps => ScaleOn::Rps,
            ScaleOnFile::Cpu => ScaleOn::Cpu,
        });
        let target = match &file.target {
            Some(target) if target.value == 0 => {
                self.error(target.span, "with a target of 0 there could never be enough instances", "write 1 or more");
                None
            }
            Some(target) => Some(target.value),
            // A default for requests at a time says nothing of requests per second.
            None => default.target.filter(|_| on == default.on),
        };
        Scale { on, target }
    }

    pub(super) fn sleep(&mut self, file: Option<&SleepFile>, default: &Sleep) -> Sleep {
        let Some(file) = file else { return default.clone() };
        let stop_after = file.stop_after.as_ref().map_or(default.stop_after, |time| {
            let TimeOrOff(time) = time.value;
            time
        });
        let pause_after = file.pause_after.as_ref().map_or(default.pause_after, |time| {
            let TimeOrOff(time) = time.value;
            time
        });
        let ignore =
            file.ignore.as_ref().map_or_else(|| default.ignore.clone(), |file| self.ignore(file, &default.ignore));
        Sleep { pause_after, stop_after, ignore }
    }

    fn ignore(&mut self, file: &IgnoreFile, default: &Ignore) -> Ignore {
        let patterns = |list: &Option<Vec<Spanned<Word>>>, default: &[Pattern]| match list {
            Some(list) => list.iter().map(|pattern| Pattern::new(pattern.as_str())).collect(),
            None => default.into(),
        };
        for path in file.paths.iter().flatten() {
            self.path_pattern(path);
        }
        for agent in file.user_agents.iter().flatten().filter(|agent| agent.as_str().is_empty()) {
            self.error(
                agent.span,
                "an empty pattern fits no user agent",
                "write a part of it with `*`, like `\"*UptimeRobot*\"`",
            );
        }
        let status = file.status.as_ref().map_or(default.status, |status| match StatusCode::from_u16(status.value) {
            Ok(code) if (200..=599).contains(&status.value) => code,
            _ => {
                let message = format!("{} is not the status of an answer", status.value);
                self.error(status.span, message, "write one from 200 to 599, like `503`");
                default.status
            }
        });
        Ignore {
            paths: patterns(&file.paths, &default.paths),
            user_agents: patterns(&file.user_agents, &default.user_agents),
            status,
        }
    }
}

/// The larger number that is written.
fn most(file: &ReplicasForm) -> u32 {
    match file {
        ReplicasForm::Fixed(count) => *count,
        ReplicasForm::Range(ReplicasFile { min, max }) => {
            let value = |count: &Option<Spanned<u32>>| count.as_ref().map_or(0, |count| count.value);
            value(min).max(value(max))
        }
    }
}
