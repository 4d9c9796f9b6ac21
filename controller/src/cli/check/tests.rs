use super::report::{Finding, Report, Section};
use super::*;

fn report() -> Report {
    let kubernetes = vec![
        Finding::good("the API server answers at https://10.0.0.1:6443"),
        Finding::good("Kubernetes v1.34.1 is 1.29 or newer"),
    ];
    let metrics = vec![Finding::bad(
        "Prometheus http://prometheus.monitoring:9090 scrapes 0 of 2 routers",
        "have it scrape\nthe pods",
    )];
    let rollouts =
        vec![Finding::warning("shop/checkout is Aborted: errors\x1b[2J", "penstock why checkout -n shop")];
    Report {
        sections: vec![
            Section::new("Kubernetes", kubernetes),
            Section::new("Nothing", Vec::new()),
            Section::new("Metrics", metrics),
            Section::new("Rollouts", rollouts),
        ],
    }
}

#[test]
fn each_line_has_its_mark_and_what_to_do_below_it() {
    insta::assert_snapshot!(report().text(Paint::default()));
}

#[test]
fn pipelines_read_it_as_json() {
    insta::assert_json_snapshot!(report().json());
}

#[test]
fn warnings_alone_are_no_failure() {
    let mut report = report();
    assert_eq!(report.worst(), Mark::Bad);
    report.sections.remove(2);
    assert_eq!((report.worst(), report.json()["success"].as_bool()), (Mark::Warning, Some(true)));
    assert!(report.text(Paint::default()).ends_with("nothing is wrong; 1 warning\n"));
}

#[test]
fn what_could_be_a_file_is_one_and_other_words_are_names() {
    let files = ["-", "checkout.yaml", "./checkout", "/tmp/x", "shop/", "a.json", "src"];
    assert!(files.iter().all(|file| is_file(file)));
    let names = ["checkout", "shop/checkout", "rollout/src", "rollout.penstock.dev/checkout"];
    assert!(names.iter().all(|name| !is_file(name)));
    assert_eq!(named("rollout/src"), "src");
}
