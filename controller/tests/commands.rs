//! The commands as people call them.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

const MINIMAL: &str = include_str!("../../crds/examples/minimal.yaml");

fn penstock(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penstock"));
    command.current_dir(dir).args(args).env_remove("PENSTOCK_DIR");
    // No cluster of the person who runs the tests.
    command.env("HOME", dir).env_remove("KUBECONFIG").env_remove("KUBERNETES_SERVICE_HOST");
    command
}

fn run(dir: &Path, args: &[&str]) -> Output {
    penstock(dir, args).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// What it said, with the folder's name taken out.
fn said(dir: &Path, output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("exit {}\n{out}{err}", code(output)).replace(&dir.display().to_string(), "DIR")
}

fn save(dir: &Path, namespace: &str, name: &str, object: &Value) {
    let state = dir.join(".penstock/state");
    fs::create_dir_all(&state).unwrap();
    let (temporary, file) = (state.join(".new"), state.join(format!("{namespace}.{name}.json")));
    fs::write(&temporary, serde_json::to_vec(object).unwrap()).unwrap();
    fs::rename(temporary, file).unwrap();
}

fn object(namespace: &str, name: &str, weight: i32) -> Value {
    json!({
        "apiVersion": "penstock.dev/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": name, "namespace": namespace, "resourceVersion": "7"},
        "spec": {"selector": {}},
        "status": {
            "phase": "Progressing", "message": "on its way", "machine": {"any": ["thing"]},
            "split": {"weight": weight, "generation": 3, "acknowledged": true},
            "revisions": [{"name": "aa", "role": "stable", "scale": 1, "ready": 1, "weight": 100 - weight}],
        },
    })
}

fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), "shop", "checkout", &object("shop", "checkout", 10));
    dir
}

#[test]
fn one_rollout_is_shown_as_a_tree_and_as_it_was_saved() {
    let dir = folder();
    let tree = run(dir.path(), &["get"]);
    assert_eq!(said(dir.path(), &tree), said(dir.path(), &run(dir.path(), &["get", "shop/checkout"])));
    assert!(said(dir.path(), &tree).contains("aa"));
    let json = run(dir.path(), &["get", "checkout", "-o", "json"]);
    let read: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(read, object("shop", "checkout", 10), "the machine's memory too");
    let yaml = run(dir.path(), &["get", "checkout", "--output", "yaml"]);
    assert_eq!(serde_saphyr::from_slice::<Value>(&yaml.stdout).unwrap(), read);
    let list: Value = serde_json::from_slice(&run(dir.path(), &["get", "-o", "json"]).stdout).unwrap();
    assert_eq!(list["items"], json!([read]));
}

#[test]
fn what_is_not_there_ends_with_3_and_says_what_is() {
    let dir = folder();
    let empty = tempfile::tempdir().unwrap();
    let stories = [
        said(dir.path(), &run(dir.path(), &["get", "cart"])),
        said(dir.path(), &run(dir.path(), &["why", "checkout", "-n", "other"])),
        said(empty.path(), &run(empty.path(), &["get"])).replace("in .:", "in DIR:"),
        said(dir.path(), &run(dir.path(), &["check", "nothing.yaml"])),
    ];
    insta::assert_snapshot!(stories.join("\n"));
}

#[test]
fn a_name_in_two_namespaces_has_to_be_told_apart() {
    let dir = folder();
    save(dir.path(), "test", "checkout", &object("test", "checkout", 20));
    let unclear = run(dir.path(), &["get", "checkout"]);
    assert_eq!(code(&unclear), 1);
    assert!(said(dir.path(), &unclear).contains("--namespace"));
    for args in
        [&["get", "test/checkout", "-o", "json"][..], &["get", "-n", "test", "checkout", "-o", "json"]]
    {
        let read: Value = serde_json::from_slice(&run(dir.path(), args).stdout).unwrap();
        assert_eq!(read["status"]["split"]["weight"], 20);
    }
}

#[test]
fn a_damaged_state_shows_the_version_before() {
    let dir = folder();
    let state = dir.path().join(".penstock/state");
    fs::rename(state.join("shop.checkout.json"), state.join("shop.checkout.json.bak")).unwrap();
    fs::write(state.join("shop.checkout.json"), "{\"kind\": \"Roll").unwrap();
    let told = run(dir.path(), &["get", "checkout"]);
    assert_eq!(code(&told), 0);
    assert!(String::from_utf8_lossy(&told.stderr).contains("version before"));
    fs::write(state.join("shop.checkout.json.bak"), "").unwrap();
    let told = run(dir.path(), &["get", "checkout"]);
    assert_eq!(code(&told), 3);
    assert!(String::from_utf8_lossy(&told.stderr).contains("shop.checkout.json"));
}

#[test]
fn watching_prints_a_block_for_each_change() {
    let dir = folder();
    let mut child = penstock(dir.path(), &["get", "-w"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut until = |text: &str| lines.by_ref().map(Result::unwrap).find(|line| line.contains(text)).unwrap();
    until("90 %");
    save(dir.path(), "shop", "checkout", &object("shop", "checkout", 25));
    until("75 %");
    save(dir.path(), "shop", "checkout", &object("shop", "checkout", 50));
    until("50 %");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let dir = folder();
    let mut child = penstock(dir.path(), &["get", "-o", "json"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_good_file_is_well() {
    let dir = tempfile::tempdir().unwrap();
    let more = format!("{MINIMAL}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\n");
    fs::write(dir.path().join("app.yaml"), more).unwrap();
    insta::assert_snapshot!(said(dir.path(), &run(dir.path(), &["check", "app.yaml"])));
    assert_eq!(code(&run(dir.path(), &["check", "."])), 0, "a folder");
    let mut child =
        penstock(dir.path(), &["check", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(MINIMAL.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "the standard input");
}

#[test]
fn a_bad_file_is_told_all_that_is_wrong_line_by_line() {
    let dir = tempfile::tempdir().unwrap();
    let bad = "\
apiVersion: penstock.dev/v1alpha1
kind: Rollout
metadata: {name: checkout}
spec:
  replica: 3
  selector: {matchLabels: {app: checkout}}
  template:
    metadata: {labels: {app: cart}}
    spec: {containers: [{name: web, imag: x}]}
  strategy:
    canary:
      steps:
        - setWeight: 50
        - setWeight: 140
        - pause: {duration: 5}
  analysis:
    metrics:
      - name: slow
        latency: {quantile: \"99\", max: 500ms}
";
    fs::write(dir.path().join("bad.yaml"), bad).unwrap();
    fs::write(
        dir.path().join("twice.yaml"),
        format!("{MINIMAL}---\n{}", MINIMAL.replace("name: checkout\nspec", "name: other\nspec")),
    )
    .unwrap();
    fs::write(dir.path().join("syntax.yaml"), "a: [1\nb: 2\n").unwrap();
    fs::write(
        dir.path().join("other.yaml"),
        "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: a}\n",
    )
    .unwrap();
    let files = ["bad.yaml", "twice.yaml", "syntax.yaml", "other.yaml"];
    let told: Vec<_> =
        files.iter().map(|file| said(dir.path(), &run(dir.path(), &["check", file]))).collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_misspelt_command_is_told_which_was_meant() {
    let dir = tempfile::tempdir().unwrap();
    let told = run(dir.path(), &["chekc", "x.yaml"]);
    assert_eq!(code(&told), 2);
    assert!(said(dir.path(), &told).contains("'check'"), "{}", said(dir.path(), &told));
    assert_eq!(code(&run(dir.path(), &[])), 2);
}

#[test]
fn help_names_the_exit_codes_and_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let help = said(dir.path(), &run(dir.path(), &["--help"]));
    for word in ["get", "why", "check", "version", "completions", "--dir", "PENSTOCK_DIR", "Exit codes", "3 "]
    {
        assert!(help.contains(word), "{word} in {help}");
    }
    assert!(said(dir.path(), &run(dir.path(), &["version"])).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn every_shell_gets_its_completions() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(dir.path(), &["completions", shell]);
        assert_eq!(code(&script), 0);
        assert!(String::from_utf8_lossy(&script.stdout).contains("PENSTOCK_COMPLETE"), "{shell}");
    }
}

/// What bash is offered for the last of these words.
fn offered(dir: &Path, words: &[&str]) -> String {
    let mut command = penstock(dir, &[&["--", "penstock"], words].concat());
    command.env("PENSTOCK_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", words.len().to_string());
    command.env("_CLAP_COMPLETE_COMP_TYPE", "9").env("_CLAP_COMPLETE_SPACE", "true").env("_CLAP_IFS", "\n");
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

#[test]
fn a_shell_is_offered_commands_and_nothing_where_nothing_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let commands = offered(dir.path(), &["hist"]);
    assert_eq!(commands.trim(), "history");
    assert_eq!(offered(dir.path(), &["promote", "--dir", "nowhere", "check"]).trim(), "");
}
