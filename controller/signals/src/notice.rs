//! Notices of decisions: their text, and the form that each kind of receiver understands.

use serde_json::{Value, json};

use crate::RolloutName;

/// Longest text that is sent, in characters: Slack cuts what is longer.
const LONGEST: usize = 2900;
/// The usual text.
const USUAL: &str = "{{namespace}}/{{rollout}}: {{sentence}}";

/// One decision for whoever is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Which Rollout.
    pub rollout: RolloutName,
    /// The number of the decision.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// When, as RFC 3339 has it.
    pub time: String,
    /// What, in one word: `Aborted`.
    pub what: String,
    /// Why, with numbers.
    pub why: String,
    /// Who.
    pub who: String,
    /// Which revision.
    pub revision: Option<String>,
    /// Its share of the traffic in percent.
    pub weight: Option<u8>,
    /// All of it as a sentence.
    pub sentence: String,
    /// Where there is more of it.
    pub link: Option<String>,
}

impl Notice {
    /// Its id: the same whenever and by whomever it is sent.
    pub fn id(&self) -> String {
        let RolloutName { namespace, name } = &self.rollout;
        format!("decision_{namespace}_{name}_{}_{}", self.at, self.number)
    }

    /// Its text by a template. What is filled in goes through `escape`; the template is the reader's own.
    fn text(&self, template: Option<&str>, escape: fn(&str) -> String) -> String {
        let mut text = String::new();
        let mut rest = template.unwrap_or(USUAL);
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((name, after)) = after.split_once("}}") else { break };
            text.push_str(before);
            text.push_str(&escape(&self.value(name.trim())));
            rest = after;
        }
        text.push_str(rest);
        text.chars().take(LONGEST).collect()
    }

    fn value(&self, name: &str) -> String {
        match name {
            "namespace" => self.rollout.namespace.clone(),
            "rollout" => self.rollout.name.clone(),
            "revision" => self.revision.clone().unwrap_or_default(),
            "weight" => self.weight.map(|weight| weight.to_string()).unwrap_or_default(),
            "what" => self.what.clone(),
            "why" => self.why.clone(),
            "who" => self.who.clone(),
            "sentence" => self.sentence.clone(),
            "link" => self.link.clone().unwrap_or_default(),
            _ => String::new(),
        }
    }

    /// For an incoming webhook of Slack.
    pub fn slack(&self, template: Option<&str>) -> Value {
        let text = self.text(template, escaped);
        let link = self.link.as_ref().filter(|_| template.is_none());
        let link = link.map(|link| format!("\n<{}|Look at it>", escaped(link))).unwrap_or_default();
        json!({"text": text + &link})
    }

    /// For a workflow of Microsoft Teams: an adaptive card. Its text is plain: nothing in it is markup.
    pub fn teams(&self, template: Option<&str>) -> Value {
        let text = self.text(template, str::to_owned);
        let open = |link: &String| json!({"type": "Action.OpenUrl", "title": "Look at it", "url": link});
        let actions: Vec<Value> = self.link.iter().map(open).collect();
        let run = json!({"type": "TextRun", "text": text});
        json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": null,
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.4",
                    "body": [{"type": "RichTextBlock", "inlines": [run]}],
                    "actions": actions,
                },
            }],
        })
    }

    /// As CloudEvents 1.0, in the structured form.
    pub fn cloud_event(&self, template: Option<&str>) -> Value {
        let RolloutName { namespace, name } = &self.rollout;
        json!({
            "specversion": "1.0",
            "id": self.id(),
            "source": format!("/namespaces/{namespace}/rollouts/{name}"),
            "type": format!("dev.penstock.rollout.{}", self.what.to_lowercase()),
            "subject": self.revision.clone().unwrap_or_else(|| name.clone()),
            "time": self.time,
            "datacontenttype": "application/json",
            "data": {
                "namespace": namespace,
                "rollout": name,
                "number": self.number,
                "what": self.what,
                "why": self.why,
                "who": self.who,
                "revision": self.revision,
                "weight": self.weight,
                "text": self.text(template, str::to_owned),
                "link": self.link,
            },
        })
    }
}

/// What is markup for Slack is none: a decision may quote the last words of a pod.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice() -> Notice {
        Notice {
            rollout: RolloutName { namespace: "shop".into(), name: "checkout".into() },
            number: 7,
            at: 1_000,
            time: "1970-01-01T00:00:01Z".into(),
            what: "Aborted".into(),
            why: "errors: 20 % failed; last words: <!channel> & {{who}}".into(),
            who: "penstock".into(),
            revision: Some("v2".into()),
            weight: Some(0),
            sentence: "penstock aborted v2: errors: 20 % failed; last words: <!channel> & {{who}}".into(),
            link: Some("https://page/r/shop/checkout".into()),
        }
    }

    #[test]
    fn each_kind_of_receiver_gets_its_form() {
        let told = [notice().slack(None), notice().teams(None), notice().cloud_event(None)];
        insta::assert_json_snapshot!(told);
    }

    #[test]
    fn a_template_is_filled_once_and_what_is_filled_in_is_no_markup() {
        let text = notice().slack(Some("*{{ rollout }}* <https://x|y> {{why}} {{weight}} {{unknown}}{{link"));
        assert_eq!(
            text["text"],
            "*checkout* <https://x|y> errors: 20 % failed; last words: &lt;!channel&gt; &amp; {{who}} 0 {{link"
        );
        let long = Notice { why: "ä".repeat(100_000), ..notice() };
        assert_eq!(
            long.teams(Some("{{why}}"))
                .pointer("/attachments/0/content/body/0/inlines/0/text")
                .unwrap()
                .as_str()
                .unwrap()
                .chars()
                .count(),
            LONGEST
        );
    }
}
