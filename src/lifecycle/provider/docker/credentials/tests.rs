use std::os::unix::fs::PermissionsExt;

use base64::engine::general_purpose::STANDARD;

use super::*;

fn keychain(text: &str) -> (tempfile::TempDir, Result<Keychain, CredentialsError>) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.json"), text).expect("written");
    let keychain = Keychain::load(|name| (name == "DOCKER_CONFIG").then(|| folder.path().as_os_str().to_owned()));
    (folder, keychain)
}

async fn ask(text: &str, registry: &str) -> Result<Option<Credentials>, CredentialsError> {
    let (_folder, keychain) = keychain(text);
    keychain?.credentials(registry).await
}

fn user(name: &str, password: &str) -> Who {
    Who::User { name: name.to_owned(), password: password.to_owned() }
}

#[tokio::test]
async fn without_a_file_there_are_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let keychain = Keychain::load(|name| (name == "HOME").then(|| folder.path().as_os_str().to_owned()));
    assert_eq!(keychain.expect("no file").credentials("docker.io").await.expect("nothing wrong"), None);
    assert!(Keychain::load(|_| None).is_ok());
    assert_eq!(ask("", "docker.io").await.expect("an empty file"), None);
    assert_eq!(ask(r#"{"auths": {}, "psFormat": "x"}"#, "docker.io").await.expect("others' keys"), None);
}

#[tokio::test]
async fn the_file_in_the_home_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join(".docker")).expect("made");
    let text = format!(r#"{{"auths": {{"r.example": {{"auth": "{}"}}}}}}"#, STANDARD.encode("me:a:b"));
    std::fs::write(folder.path().join(".docker/config.json"), text).expect("written");
    let keychain = Keychain::load(|name| (name == "HOME").then(|| folder.path().as_os_str().to_owned())).expect("read");
    let found = keychain.credentials("r.example").await.expect("right").expect("known");
    assert!(found.who == user("me", "a:b"));
    assert_eq!(keychain.credentials("other.example").await.expect("right"), None);
}

#[tokio::test]
async fn entries_are_found_by_docker_s_names() {
    let auth = STANDARD.encode("me:secret");
    for (key, registry) in [
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("docker.io", "docker.io"),
        ("r.example:5000", "r.example:5000"),
        ("https://r.example/v2/", "r.example"),
        ("http://r.example", "r.example"),
    ] {
        let found = ask(&format!(r#"{{"auths": {{"{key}": {{"auth": "{auth}"}}}}}}"#), registry).await;
        assert!(found.expect("right").expect(key).who == user("me", "secret"));
    }
    let token = ask(r#"{"auths": {"r.example": {"auth": "eDo=", "identitytoken": "tok"}}}"#, "r.example").await;
    assert!(token.expect("right").expect("known").who == Who::IdentityToken("tok".to_owned()));
    let plain = ask(r#"{"auths": {"r.example": {"username": "u", "password": "p"}}}"#, "r.example").await;
    assert!(plain.expect("right").expect("known").who == user("u", "p"));
}

#[tokio::test]
async fn secrets_are_not_shown() {
    let auth = STANDARD.encode("me:secret");
    let (_folder, keychain) = keychain(&format!(r#"{{"auths": {{"r.example": {{"auth": "{auth}"}}}}}}"#));
    let keychain = keychain.expect("read");
    let found = keychain.credentials("r.example").await.expect("right").expect("known");
    for shown in [format!("{keychain:?}"), format!("{found:?}")] {
        assert!(shown.contains("r.example") && !shown.contains("secret") && !shown.contains(&auth), "{shown}");
    }
}

#[tokio::test]
async fn the_header_is_in_the_url_safe_alphabet() {
    let found = Credentials { server: "r.example".to_owned(), who: user("me", "??>>~~ü") };
    let header = found.header();
    assert!(!header.contains(['+', '/']), "{header}");
    let json: Value = serde_json::from_slice(&URL_SAFE.decode(header).expect("base64")).expect("JSON");
    assert_eq!(json, json!({"username": "me", "password": "??>>~~ü", "serveraddress": "r.example"}));
}

#[tokio::test]
async fn a_broken_file_says_which_and_keeps_what_it_holds() {
    for (text, said) in [
        (r#"{"auths": {"r.example": "hunter2"}}"#, "line 1, column"),
        (r#"{"auths": "#, "run `docker login` again"),
        (r#"{"auths": {"r.example": {"auth": "hunter2 is no base64"}}}"#, "run `docker login r.example` again"),
        (r#"{"auths": {"r.example": {"auth": "aHVudGVyMg=="}}}"#, "run `docker login r.example` again"),
    ] {
        let error = ask(text, "r.example").await.expect_err(text).to_string();
        assert!(error.contains(said) && error.contains("config.json") && !error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn a_helper_that_is_missing_says_so() {
    for (text, said) in [
        (r#"{"credsStore": "tidegate-nobody-has-this"}"#, "`docker-credential-tidegate-nobody-has-this`"),
        (r#"{"credHelpers": {"r.example": "tidegate-nobody-has-this"}}"#, "was not found in the directories of PATH"),
        (r#"{"credsStore": "../../evil"}"#, "may not have a `/`"),
    ] {
        let error = ask(text, "r.example").await.expect_err(text).to_string();
        assert!(error.contains(said) && error.contains("config.json"), "{error}");
    }
    let elsewhere = ask(r#"{"credHelpers": {"r.example": "tidegate-nobody-has-this"}}"#, "other.example").await;
    assert_eq!(elsewhere.expect("another registry"), None);
}

/// A helper that is this script, asked for `r.example`.
async fn ask_script(script: &str) -> Result<Option<Credentials>, CredentialsError> {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("docker-credential-mine");
    let text = folder.path().join("script");
    std::fs::write(&text, format!("#!/bin/sh\n{script}\n")).expect("written");
    // By a process of its own: a file that any process has open for writing cannot be executed.
    let copied = std::process::Command::new("cp").args([&text, &program]).status().expect("cp runs");
    assert!(copied.success());
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("ours");
    std::fs::write(folder.path().join("config.json"), r#"{"credHelpers": {"r.example": "mine"}}"#).expect("written");
    let own = folder.path().as_os_str().to_owned();
    let mut path = own.clone();
    path.push(":/usr/bin:/bin");
    let keychain = Keychain::load(|name| match name {
        "DOCKER_CONFIG" => Some(own.clone()),
        "PATH" => Some(path.clone()),
        _ => None,
    });
    keychain.expect("read").credentials("r.example").await
}

#[tokio::test]
async fn a_helper_is_told_the_server_and_believed() {
    let script = r#"[ "$1" = get ] && server=$(cat) && printf '{"ServerURL": "%s", "Username": "me", "Secret": "s:%s"}' "$server" "$server""#;
    let found = ask_script(script).await.expect("right").expect("known");
    assert!(found.who == user("me", "s:r.example"));
    let token = ask_script(r#"echo '{"Username": "<token>", "Secret": "tok"}'"#).await.expect("right").expect("known");
    assert!(token.who == Who::IdentityToken("tok".to_owned()));
    let unknown = ask_script("echo credentials not found in native keychain; exit 1").await;
    assert_eq!(unknown.expect("not an error"), None);
}

#[tokio::test]
async fn a_helper_that_fails_is_named_and_its_secrets_are_kept() {
    for (script, said) in [
        ("echo the key ring is locked; exit 3", "exit status: 3 (`the key ring is locked`)"),
        (r#"echo '{"Username": "me", "Secret": "hunter2"}'; exit 1"#, "exit status: 1: does"),
        (r#"echo '{"Username": "me", "Secret": ["hunter2"]}'"#, "did not answer as helpers do"),
        ("echo hunter2", "did not answer as helpers do"),
    ] {
        let error = ask_script(script).await.expect_err(script).to_string();
        assert!(error.contains(said) && error.contains("`docker-credential-mine`"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
