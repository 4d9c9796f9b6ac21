//! The documents are true: links lead somewhere, commands are understood, Rollouts are taken.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use penstock_tests::server::binary;

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All documents, by their path in the tree.
fn documents() -> BTreeMap<PathBuf, String> {
    let pages = fs::read_dir(tree().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let roots = ["README.md", "ARCHITECTURE.md"].map(|name| tree().join(name));
    pages.chain(roots).map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// A document without its code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

fn links(text: &str) -> Vec<String> {
    let ends = prose(text).flat_map(|line| line.split("](").skip(1));
    ends.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// What GitHub makes of the headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let heads =
        prose(text).filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |head: &str| -> String {
        let kept = head.to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    heads.map(anchor).collect()
}

#[test]
fn no_link_leads_nowhere() {
    let documents = documents();
    let mut broken = Vec::new();
    let mut seen = 0;
    for (file, text) in &documents {
        let own = links(text);
        for link in own.iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            seen += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { file.clone() } else { file.parent().unwrap().join(path) };
            let Ok(target) = target.canonicalize() else {
                broken.push(format!("{}: {link}", file.display()));
                continue;
            };
            let known = documents.get(&target).is_none_or(|text| anchors(text).contains(anchor));
            if !anchor.is_empty() && !known {
                broken.push(format!("{}: {link}: no such heading", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(seen > 50, "only {seen} links were found: the reader of this test is wrong");
}

#[test]
fn every_page_is_linked_from_the_readme() {
    let readme = links(&fs::read_to_string(tree().join("README.md")).unwrap());
    let pages = documents().into_keys().filter(|path| path.parent().unwrap().ends_with("docs"));
    let missing: Vec<_> = pages
        .map(|path| format!("docs/{}", path.file_name().unwrap().to_str().unwrap()))
        .filter(|page| !readme.iter().any(|link| link.split('#').next() == Some(page)))
        .collect();
    assert!(missing.is_empty(), "README.md does not lead to {missing:?}");
}

#[test]
fn every_alert_and_every_state_has_its_place_in_the_runbook() {
    let text = fs::read_to_string(tree().join("docs/runbook.md")).unwrap();
    let states =
        ["Pending", "Deploying", "Stable", "Progressing", "Held", "Paused", "Aborted", "Stalled", "Invalid"];
    for state in states {
        assert!(text.contains(&format!("| `{state}` |")), "{state} is missing");
    }
    let alerts = fs::read_to_string(tree().join("dashboards/alerts.yaml")).unwrap();
    let heads = anchors(&text);
    let names: Vec<_> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(!names.is_empty());
    for name in names {
        assert!(heads.contains(&name.to_lowercase()), "{name} has no section");
    }
}

/// Commands of ours that a document shows, in its code and between its words.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let whole = text.replace("\\\n", " ");
    let mut code = false;
    for line in whole.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        } else if code {
            found.push(line.trim().to_owned());
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    let ours = |text: &String| {
        let text = text.trim_start_matches("kubectl ");
        text.strip_prefix("penstock ")
            .or(text.strip_prefix("penstock-proxy "))
            .is_some_and(|rest| !rest.contains('…'))
    };
    found.retain(ours);
    found
}

/// The words of a command up to what a shell takes for itself.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in command.chars() {
        match (c, quote) {
            (_, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            ('|' | '>' | '#' | ';' | '&', None) if word.is_none() => break,
            (' ', None) => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[test]
fn every_command_that_is_shown_is_one_that_is_understood() {
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for (file, text) in documents() {
        for command in commands(&text) {
            let words = words(command.trim_start_matches("kubectl "));
            // What stands behind it is read before help is given.
            let output =
                Command::new(binary(&words[0]).unwrap()).args(&words[1..]).arg("--help").output().unwrap();
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                wrong.push(format!("{}: {command}: {said}", file.display()));
            }
            seen.insert(command);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen.len() > 40, "only {seen:#?} were found: the reader of this test is wrong");
}

/// Manifests of Rollouts that a document shows.
fn manifests(text: &str) -> impl Iterator<Item = String> {
    let blocks =
        text.split("```yaml\n").skip(1).filter_map(|rest| Some(rest.split_once("\n```")?.0.to_owned()));
    blocks.filter(|block| block.contains("\nkind: Rollout\n"))
}

#[test]
fn every_rollout_that_is_shown_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shown.yaml");
    let (mut seen, mut wrong) = (0, Vec::new());
    for (file, text) in documents() {
        for manifest in manifests(&text) {
            fs::write(&path, &manifest).unwrap();
            let output = Command::new(binary("penstock").unwrap()).arg("check").arg(&path).output().unwrap();
            if !output.status.success() {
                wrong.push(format!("{}: {}", file.display(), String::from_utf8_lossy(&output.stderr)));
            }
            seen += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen >= 4, "only {seen} were found: the reader of this test is wrong");
}
