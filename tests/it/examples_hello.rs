//! `config/examples/hello/`: servers in five languages. Two are built on bases of this host and run behind tidegate; the others are looked
//! through by what is installed of their languages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bollard::query_parameters::StopContainerOptionsBuilder;
use tidegate::model::name::{ServiceName, VersionName};

use crate::support::docker::Containers;
use crate::support::engine::{Images, unique};
use crate::support::site::{Site, tidegate};
use crate::support::{local_base, skip};

const LANGUAGES: [&str; 5] = ["go", "java", "node", "php", "python"];

fn example(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/hello").join(language)
}

/// Builds an example on this base, runs it behind tidegate, and has it end by SIGTERM.
fn answers(language: &str, base: Option<Vec<u8>>, cure: &str, hello: &str) {
    let Some(containers) = Containers::new() else { return };
    let Some(base) = base else {
        skip("docker", cure);
        return;
    };
    let service = ServiceName::new(containers.name()).expect("a name");
    let version = VersionName::numbered(&service, 1);
    // Kept until the containers are gone.
    let mut kept = None;
    let name = unique(language);
    containers.ask(async |docker| {
        let images = kept.insert(Images::new(docker));
        images.import_tar(&name, "1", base, &[]).await;
        images.own(&format!("tidegate/{service}:001"));
    });
    let site = Site::new().start();
    let said = tidegate()
        .args(["deploy", containers.name(), "--build"])
        .arg(example(language))
        .args(["--build-arg", &format!("BASE={name}:1"), "--config"])
        .arg(site.root())
        .output()
        .expect("runs");
    assert!(said.status.success(), "{}\n{}", String::from_utf8_lossy(&said.stderr), site.log());
    let yaml = fs::read_to_string(site.service(containers.name())).expect("the service's file");
    assert!(yaml.contains(&format!("image: tidegate/{service}:001@sha256:")), "{yaml}");
    let answer = site.get(&containers.host(), "/");
    assert_eq!((answer.status(), answer.text().as_str()), (200, hello), "{}", site.log());
    // The signal that the image names, or SIGTERM; KILL would come after 10 s.
    let began = Instant::now();
    containers.ask(async |docker| {
        let options = StopContainerOptionsBuilder::default().t(10).build();
        docker.stop_container(&format!("{version}-1"), Some(options)).await.expect("stopped");
    });
    assert!(began.elapsed() < Duration::from_secs(5), "SIGTERM was not heard: {:?}", began.elapsed());
    drop(site);
    drop(containers);
    drop(kept);
}

#[test]
fn python_answers() {
    answers("python", local_base::python(), "`apt-get install python3`", "Hello from Python\n");
}

#[test]
fn node_answers() {
    answers("node", local_base::node(), "`apt-get install nodejs`", "Hello from Node.js\n");
}

#[test]
fn every_example_has_a_dockerfile_with_a_base_to_choose_and_runs_as_nobody() {
    for language in LANGUAGES {
        let folder = example(language);
        let read = |name: &str| fs::read_to_string(folder.join(name)).expect(name);
        let (dockerfile, readme) = (read("Dockerfile"), read("README.md"));
        let known = ["ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV", "EXPOSE", "USER", "CMD", "ENTRYPOINT"];
        let instructions: Vec<(&str, &str)> = dockerfile
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| line.split_once(' ').expect("an instruction and what it is told"))
            .collect();
        for (word, _) in &instructions {
            assert!(known.contains(word), "{language}: {word}");
        }
        let has = |word: &str, rest: &str| instructions.iter().any(|(w, r)| *w == word && r.starts_with(rest));
        assert!(has("ARG", "BASE=") && has("FROM", "${BASE}") && has("USER", "65534:65534"), "{language}");
        assert!(has("EXPOSE", "80") && dockerfile.contains("PORT=80"), "{language}");
        // In the form that no shell stands before.
        let run = instructions.iter().find(|(word, _)| matches!(*word, "CMD" | "ENTRYPOINT")).expect("a command").1;
        assert!(serde_json::from_str::<Vec<String>>(run).is_ok(), "{language}: {run}");
        // What is copied from the context is there.
        for (_, rest) in instructions.iter().filter(|(word, rest)| *word == "COPY" && !rest.contains("--from")) {
            let mut words: Vec<&str> = rest.split(' ').collect();
            words.pop();
            for name in words.iter().filter(|name| !name.contains('*')) {
                assert!(folder.join(name).is_file(), "{language}: {name}");
            }
        }
        assert!(
            readme.contains(&format!("tidegate deploy hello --build config/examples/hello/{language}")),
            "{language}"
        );
        assert!(folder.join(".dockerignore").is_file(), "{language}");
    }
}

#[test]
fn what_is_installed_takes_its_language_s_example() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().to_string_lossy().into_owned();
    for (language, program, arguments) in [
        ("go", "gofmt", vec!["-l", "-e", "main.go"]),
        ("go", "go", vec!["vet", "."]),
        ("node", "node", vec!["--check", "server.js"]),
        ("python", "python3", vec!["-I", "-c", "import ast; ast.parse(open('server.py').read())"]),
        ("php", "php", vec!["-l", "index.php"]),
        ("php", "sh", vec!["-n", "serve.sh"]),
        ("java", "javac", vec!["-d", &out, "Hello.java"]),
    ] {
        let mut command = Command::new(program);
        command.args(&arguments).current_dir(example(language));
        // Go keeps what it has compiled.
        command.env("GOCACHE", &out).env("GOFLAGS", "-mod=mod").env("GOTOOLCHAIN", "local");
        match command.output() {
            Ok(output) => {
                let said =
                    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{program} {arguments:?}: {said}");
                // gofmt names what it would change.
                assert!(program != "gofmt" || said.is_empty(), "{said}");
            }
            Err(_) => skip(program, &format!("install it to check config/examples/hello/{language}")),
        }
    }
}
