//! Edits to files on disk, made the ways that people and their tools make them, are noticed; all else is not.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::{fs::symlink, net::UnixListener},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use tempfile::TempDir;
use tidegate::reload::watch::{Changed, QUIET, WatchSet, Watcher};

/// A folder with `tidegate.yaml` and `services/shop.yaml`, and a watcher on them.
struct Story {
    root: PathBuf,
    watcher: Watcher,
    /// Every path that was noticed so far.
    seen: BTreeSet<PathBuf>,
    _folder: TempDir,
}

impl Story {
    async fn begin() -> Self {
        Self::of(|root| {
            fs::write(root.join("tidegate.yaml"), "services: services\n").unwrap();
            fs::create_dir(root.join("services")).unwrap();
            fs::write(root.join("services/shop.yaml"), "domains: []\n").unwrap();
            WatchSet::new().file(root.join("tidegate.yaml")).folder(root.join("services"))
        })
        .await
    }

    async fn of(setting: impl FnOnce(&Path) -> WatchSet) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let set = setting(&root);
        let mut story = Self { root, watcher: Watcher::new(set), seen: BTreeSet::new(), _folder: folder };
        story.noticed("the start").await;
        story
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    async fn noticed(&mut self, what: &str) -> Changed {
        let wait = tokio::time::timeout(crate::support::PATIENCE, self.watcher.next_change());
        let changed = wait.await.unwrap_or_else(|_| panic!("not noticed: {what}"));
        self.seen.extend(changed.paths.iter().cloned());
        changed
    }

    /// Notices `what`, and goes on until the event of `path` has come, in case the edit took longer than the quiet time.
    async fn notices(&mut self, what: &str, path: &str) {
        let path = self.path(path);
        while !self.noticed(what).await.paths.contains(&path) {}
    }

    /// That the watches are where they should be: a plain edit of these files is still noticed.
    async fn still_watches(&mut self, names: &[&str]) {
        for name in names {
            let real = self.path(name).canonicalize().unwrap();
            fs::write(&real, format!("# {name}, written again\n")).unwrap();
            while !self.noticed(name).await.paths.contains(&real) {}
        }
    }
}

#[tokio::test]
async fn written_in_place() {
    let mut story = Story::begin().await;
    for _ in 0..3 {
        let mut file = OpenOptions::new().append(true).open(story.path("services/shop.yaml")).unwrap();
        file.write_all(b"# more\n").unwrap();
        story.notices("an append", "services/shop.yaml").await;
    }
    story.still_watches(&["tidegate.yaml", "services/shop.yaml"]).await;
}

#[tokio::test]
async fn renamed_on_save() {
    let mut story = Story::begin().await;
    for name in ["tidegate.yaml", "services/shop.yaml", "tidegate.yaml"] {
        let beside = story.path(name).with_extension("tmp");
        fs::write(&beside, "# new\n").unwrap();
        fs::rename(&beside, story.path(name)).unwrap();
        story.notices("a rename", name).await;
    }
    story.still_watches(&["tidegate.yaml", "services/shop.yaml"]).await;
}

#[tokio::test]
async fn renamed_on_save_while_somebody_reads_the_old_file() {
    let mut story = Story::begin().await;
    let reader = fs::File::open(story.path("tidegate.yaml")).unwrap();
    fs::write(story.path("new"), "# new\n").unwrap();
    fs::rename(story.path("new"), story.path("tidegate.yaml")).unwrap();
    story.notices("the rename", "tidegate.yaml").await;
    // The old inode ends here, later than the watch on the new one begins; a write through another name needs the file's own.
    drop(reader);
    fs::hard_link(story.path("tidegate.yaml"), story.path("other-name")).unwrap();
    while story.noticed("the link").await.paths.is_empty() {}
    fs::write(story.path("other-name"), "# through the other name\n").unwrap();
    story.notices("a write through another name", "tidegate.yaml").await;
}

#[tokio::test]
async fn renamed_away_and_written_anew_as_vim_does_with_backups() {
    let mut story = Story::begin().await;
    for _ in 0..2 {
        fs::rename(story.path("services/shop.yaml"), story.path("services/shop.yaml~")).unwrap();
        fs::write(story.path("services/shop.yaml"), "# new\n").unwrap();
        story.notices("the save", "services/shop.yaml").await;
    }
    story.still_watches(&["services/shop.yaml"]).await;
}

#[tokio::test]
async fn a_service_comes_and_goes() {
    let mut story = Story::begin().await;
    fs::write(story.path("services/blog.yaml"), "domains: []\n").unwrap();
    story.notices("a new service", "services/blog.yaml").await;
    fs::remove_file(story.path("services/shop.yaml")).unwrap();
    story.notices("a deleted service", "services/shop.yaml").await;
    story.still_watches(&["services/blog.yaml"]).await;
}

#[tokio::test]
async fn a_config_map_swaps_its_data_link() {
    let mut story = Story::of(|root| {
        fs::create_dir_all(root.join("..2026_01/services")).unwrap();
        fs::write(root.join("..2026_01/tidegate.yaml"), "# 1\n").unwrap();
        fs::write(root.join("..2026_01/shop.yaml"), "# 1\n").unwrap();
        symlink("..2026_01", root.join("..data")).unwrap();
        symlink("..data/tidegate.yaml", root.join("tidegate.yaml")).unwrap();
        fs::create_dir(root.join("services")).unwrap();
        symlink("../..data/shop.yaml", root.join("services/shop.yaml")).unwrap();
        WatchSet::new().file(root.join("tidegate.yaml")).folder(root.join("services"))
    })
    .await;
    for day in ["..2026_02", "..2026_03"] {
        let old = fs::read_link(story.path("..data")).unwrap();
        fs::create_dir(story.path(day)).unwrap();
        fs::write(story.path(day).join("tidegate.yaml"), "# 2\n").unwrap();
        fs::write(story.path(day).join("shop.yaml"), "# 2\n").unwrap();
        symlink(day, story.path("..data_tmp")).unwrap();
        fs::rename(story.path("..data_tmp"), story.path("..data")).unwrap();
        fs::remove_dir_all(story.path(old.to_str().unwrap())).unwrap();
        story.notices("the swap", "..data").await;
    }
    story.still_watches(&["tidegate.yaml", "services/shop.yaml"]).await;
}

#[tokio::test]
async fn the_release_that_a_link_points_at_is_changed() {
    let mut story = Story::of(|root| {
        for release in ["releases/1", "releases/2"] {
            fs::create_dir_all(root.join(release)).unwrap();
            fs::write(root.join(release).join("tidegate.yaml"), release).unwrap();
        }
        symlink("releases/1", root.join("current")).unwrap();
        WatchSet::new().file(root.join("current/tidegate.yaml"))
    })
    .await;
    symlink("releases/2", story.path("next")).unwrap();
    fs::rename(story.path("next"), story.path("current")).unwrap();
    story.notices("the new release", "current").await;
    story.still_watches(&["releases/2/tidegate.yaml"]).await;
}

#[tokio::test]
async fn git_checks_out_another_branch_and_back() {
    if Command::new("git").arg("--version").output().is_err() {
        crate::support::skip("git", "install git");
        return;
    }
    let mut story = Story::begin().await;
    let root = story.root.clone();
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"];
        let done = Command::new("git").current_dir(&root).args(identity).args(args).output().unwrap();
        assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message=with a shop"]);
    git(&["checkout", "--quiet", "-b", "bare"]);
    git(&["rm", "--quiet", "-r", "services"]);
    story.notices("git rm of all services", "services/shop.yaml").await;
    git(&["commit", "--quiet", "--message=without"]);
    for _ in 0..2 {
        git(&["checkout", "--quiet", "main"]);
        assert!(root.join("services/shop.yaml").exists());
        story.notices("the services folder is back", "services").await;
        git(&["checkout", "--quiet", "bare"]);
        assert!(!root.join("services").exists());
        story.notices("the services folder is gone", "services/shop.yaml").await;
    }
    git(&["checkout", "--quiet", "main"]);
    story.notices("the services folder is back for good", "services").await;
    story.still_watches(&["tidegate.yaml", "services/shop.yaml"]).await;
}

#[tokio::test]
async fn the_services_folder_is_moved_away_and_another_put_in_its_place() {
    let mut story = Story::begin().await;
    fs::create_dir(story.path("new")).unwrap();
    fs::write(story.path("new/shop.yaml"), "# new\n").unwrap();
    fs::rename(story.path("services"), story.path("old")).unwrap();
    fs::rename(story.path("new"), story.path("services")).unwrap();
    story.notices("the other folder", "services").await;
    story.still_watches(&["services/shop.yaml"]).await;
    assert_unnoticed(&mut story, |root| fs::write(root.join("old/shop.yaml"), "# stale\n").unwrap()).await;
}

#[tokio::test]
async fn the_whole_config_folder_goes_and_comes_back() {
    let mut story = Story::of(|root| {
        fs::create_dir_all(root.join("config/services")).unwrap();
        fs::write(root.join("config/tidegate.yaml"), "").unwrap();
        WatchSet::new().file(root.join("config/tidegate.yaml")).folder(root.join("config/services"))
    })
    .await;
    for _ in 0..2 {
        fs::remove_dir_all(story.path("config")).unwrap();
        story.noticed("all gone").await;
        fs::create_dir_all(story.path("config/services")).unwrap();
        fs::write(story.path("config/tidegate.yaml"), "").unwrap();
        story.noticed("all back").await;
    }
    fs::write(story.path("config/services/shop.yaml"), "").unwrap();
    story.notices("a service", "config/services/shop.yaml").await;
    story.still_watches(&["config/tidegate.yaml", "config/services/shop.yaml"]).await;
}

#[tokio::test]
async fn a_parent_of_the_folder_is_swapped() {
    let mut story = Story::of(|root| {
        for site in ["site", "site.new"] {
            fs::create_dir_all(root.join(site).join("config")).unwrap();
            fs::write(root.join(site).join("config/tidegate.yaml"), site).unwrap();
        }
        WatchSet::new().file(root.join("site/config/tidegate.yaml"))
    })
    .await;
    fs::rename(story.path("site"), story.path("site.old")).unwrap();
    fs::rename(story.path("site.new"), story.path("site")).unwrap();
    story.noticed("by the look at the inodes").await;
    story.still_watches(&["site/config/tidegate.yaml"]).await;
}

#[tokio::test]
async fn a_certificate_that_does_not_exist_yet() {
    let mut story = Story::of(|root| WatchSet::new().file(root.join("certs/live/shop.pem"))).await;
    fs::create_dir_all(story.path("certs/live")).unwrap();
    fs::write(story.path("certs/live/shop.pem"), "pem").unwrap();
    story.noticed("it came, with its folders").await;
    story.still_watches(&["certs/live/shop.pem"]).await;
}

#[tokio::test]
async fn a_file_that_a_new_config_names_may_have_changed_before_it_was_watched() {
    let mut story = Story::begin().await;
    let set = || {
        let set = WatchSet::new().file(story.path("tidegate.yaml")).folder(story.path("services"));
        set.file(story.path("shop.pem"))
    };
    let (first, again) = (set(), set());
    story.watcher.set_paths(first);
    assert_eq!(story.noticed("the set is another").await, Changed::default());
    story.watcher.set_paths(again);
    assert_unnoticed(&mut story, |_| {}).await;
    fs::write(story.path("shop.pem"), "pem").unwrap();
    story.notices("the certificate", "shop.pem").await;
}

#[tokio::test]
async fn what_is_not_in_the_set_is_not_noticed() {
    let mut story = Story::begin().await;
    assert_unnoticed(&mut story, |root| {
        drop(UnixListener::bind(root.join("tidegate.sock")).unwrap());
        fs::remove_file(root.join("tidegate.sock")).unwrap();
        fs::write(root.join("access.log"), "line\n").unwrap();
        fs::write(root.join("services/.shop.yaml.swp"), "").unwrap();
        fs::write(root.join("services/4913"), "").unwrap();
        fs::create_dir(root.join("services/nested")).unwrap();
        for _ in 0..10 {
            fs::read_to_string(root.join("services/shop.yaml")).unwrap();
            fs::read_dir(root.join("services")).unwrap().for_each(drop);
        }
    })
    .await;
}

#[tokio::test]
async fn a_burst_of_writes_is_one_change() {
    let mut story = Story::begin().await;
    let began = Instant::now();
    for n in 0..10 {
        fs::write(story.path(&format!("services/s{n}.yaml")), "domains: []\n").unwrap();
    }
    let written = began.elapsed();
    let mut changes = 0;
    while story.seen.len() < 10 {
        story.noticed("the burst").await;
        changes += 1;
    }
    // One; more on a machine with better things to do than to write ten files in the quiet time.
    let at_most = 2 + written.div_duration_f64(QUIET) as u32;
    assert!(changes <= at_most, "{changes} for what took {written:?} to write");
}

/// The events come in order, so whatever `act` caused would show beside, or before, that of the fence.
async fn assert_unnoticed(story: &mut Story, act: impl FnOnce(&Path)) {
    let before = story.seen.clone();
    act(&story.root);
    let fence = story.path("services/fence.yaml");
    fs::write(&fence, "").unwrap();
    while !story.noticed("the fence").await.paths.contains(&fence) {}
    let noticed: Vec<_> = story.seen.difference(&before).collect();
    assert_eq!(noticed, [&fence]);
}

#[tokio::test]
async fn edits_of_service_files_alone_are_told_apart() {
    let mut story = Story::begin().await;
    for name in ["services/shop.yaml", "services/shop.yaml", "services/blog.yaml", "services/blog.yaml"] {
        let is_new = !story.path(name).exists();
        fs::write(story.path("new"), "# new\n").unwrap();
        fs::rename(story.path("new"), story.path(name)).unwrap();
        // On a busy machine the events of one save may come as two changes.
        let first = story.noticed("a save").await;
        assert_eq!(first.is_all, !is_new, "{name}: {first:?}");
        story.still_watches(&[name]).await;
    }
    fs::write(story.path("tidegate.yaml"), "# new\n").unwrap();
    assert!(!story.noticed("an edit of the settings").await.is_all);
    fs::hard_link(story.path("services/shop.yaml"), story.path("services/twin.yaml")).unwrap();
    assert!(!story.noticed("a link").await.is_all);
    fs::write(story.path("services/shop.yaml"), "# of two services\n").unwrap();
    assert!(!story.noticed("an edit of two services at once").await.is_all);
}
