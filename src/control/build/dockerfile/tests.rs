use std::fs;

use super::super::folder::FolderTree;
use super::*;

fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Tree) {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("below")).expect("made");
        fs::write(path, text).expect("written");
    }
    let tree = Tree::Folder(FolderTree::open(folder.path()).expect("there"));
    (folder, tree)
}

fn found(files: &[(&str, &str)], context: Option<&str>, dockerfile: Option<&str>) -> Result<Plan, String> {
    let (_folder, mut tree) = tree(files);
    plan(&mut tree, context.map(Path::new), dockerfile.map(Path::new), &[]).map_err(|error| error.to_string())
}

#[test]
fn a_dockerfile_is_the_context_s_or_the_one_that_is_named() {
    let files = [
        ("Dockerfile", "FROM root"),
        ("app/Dockerfile", "FROM app"),
        ("app/dev.Dockerfile", "FROM dev"),
        ("docker/x", "FROM x"),
    ];
    let plan = found(&files, None, None).expect("found");
    assert_eq!((plan.dockerfile.to_str(), plan.beside), (Some("Dockerfile"), None));
    let plan = found(&files, Some("app"), None).expect("found");
    assert_eq!((plan.dockerfile.to_str(), plan.context.to_str()), (Some("Dockerfile"), Some("app")));
    // By its path from the root, then from the context.
    let plan = found(&files, Some("./app/"), Some("app/dev.Dockerfile")).expect("found");
    assert_eq!((plan.dockerfile.to_str(), plan.beside), (Some("dev.Dockerfile"), None));
    let plan = found(&files, Some("app"), Some("dev.Dockerfile")).expect("found");
    assert_eq!(plan.dockerfile.to_str(), Some("dev.Dockerfile"));
    // Beside the context it is sent with it.
    let plan = found(&files, Some("app"), Some("docker/x")).expect("found");
    assert_eq!(plan.beside.as_deref(), Some("FROM x".as_bytes()));
    assert!(plan.dockerfile.to_string_lossy().starts_with(".dockerfile."));
}

#[test]
fn a_wrong_path_says_where_it_was_looked_for_and_what_is_there() {
    let files = [("app/Dockerfile", ""), ("app/web/prod.Dockerfile", ""), ("x", "")];
    let error = found(&files, None, None).expect_err("not at the root");
    assert!(error.contains("`Dockerfile`") && error.contains("`app/Dockerfile`, `app/web/prod.Dockerfile`"), "{error}");
    let error = found(&files, Some("app"), Some("prod/Dockerfile")).expect_err("not there");
    assert!(error.contains("`prod/Dockerfile` and `app/prod/Dockerfile`"), "{error}");
    let error = found(&[("x", "")], None, None).expect_err("none at all");
    assert!(error.contains("there is none"), "{error}");
    for (context, dockerfile, said) in [
        (
            None,
            Some("../Dockerfile"),
            "`--dockerfile` should be a path below the root of what is built, not `../Dockerfile`",
        ),
        (None, Some("/etc/passwd"), "`--dockerfile` should be"),
        (Some("../other"), None, "`--context` should be"),
        (Some("none"), None, "no folder `none`"),
        (Some("x"), None, "no folder `x`"),
    ] {
        let error = found(&files, context, dockerfile).expect_err(said);
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn links_are_followed_only_within() {
    let (folder, mut tree) = tree(&[("docker/Dockerfile", "FROM x")]);
    std::os::unix::fs::symlink("docker/Dockerfile", folder.path().join("Dockerfile")).expect("linked");
    assert!(plan(&mut tree, None, None, &[]).is_ok());
    fs::remove_file(folder.path().join("Dockerfile")).expect("ours");
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("Dockerfile")).expect("linked");
    std::os::unix::fs::symlink("/etc", folder.path().join("out")).expect("linked");
    for (context, dockerfile) in [(None, None), (None, Some("out/passwd")), (Some("out"), None)] {
        let error =
            plan(&mut tree, context.map(Path::new), dockerfile.map(Path::new), &[]).expect_err("out").to_string();
        assert!(error.contains("leads out of what is built"), "{error}");
    }
}

#[test]
fn the_dockerfile_s_own_rules_come_first() {
    let files = [
        ("Dockerfile", ""),
        ("dev.Dockerfile", ""),
        (".dockerignore", "a\nDockerfile\n.dockerignore"),
        ("dev.Dockerfile.dockerignore", "b"),
    ];
    let plan = found(&files, None, None).expect("found");
    let has = |plan: &Plan, path: &str| plan.selection.has(Path::new(path));
    assert!(!has(&plan, "a") && has(&plan, "b") && has(&plan, "Dockerfile") && has(&plan, ".dockerignore"));
    let plan = found(&files, None, Some("dev.Dockerfile")).expect("found");
    assert!(has(&plan, "a") && !has(&plan, "b"));
    let error = found(&[("Dockerfile", ""), (".dockerignore", "\n[")], None, None).expect_err("no rule");
    assert!(error.contains("`.dockerignore`: line 2"), "{error}");
}

#[test]
fn registries_of_base_images_are_told() {
    let text = "# FROM no.example/x\nARG BASE=r.example:5000/base\nARG OTHER\nFROM --platform=linux/amd64 ${BASE}:1 AS build\n\
                FROM scratch\nFROM build\nCOPY --from=build /a /a\nCOPY --from=ghcr.io/me/tools /b /b\nfrom $OTHER\nCOPY --from=0 / /\n\
                FROM ${NONE:-quay.io/x}";
    let given = [("OTHER".to_owned(), "localhost:1/x".to_owned())];
    let found: Vec<_> = registries(text, &given).into_iter().collect();
    assert_eq!(found, ["ghcr.io", "localhost:1", "quay.io", "r.example:5000"]);
    let given = [("BASE".to_owned(), "nginx".to_owned())];
    assert!(registries("ARG BASE=r.example/x\nFROM $BASE", &given).into_iter().eq(["docker.io"]));
}
