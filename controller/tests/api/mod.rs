//! A small API server that does what a test's script says: it keeps Rollouts, books versions, and stumbles on demand.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};

const FIRST: u64 = 100;
const ROLLOUTS: &str = "/apis/penstock.dev/v1alpha1/";

/// A request, and what the script may say to it in place of the true answer.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: String,
    pub body: Value,
}

impl Request {
    /// The one name that is asked for.
    fn name(&self) -> Option<&str> {
        self.query.split('&').find_map(|part| part.strip_prefix("fieldSelector=metadata.name%3D"))
    }
}

type Script = dyn Fn(&Request) -> Option<(u16, Value)> + Send + Sync;

/// The server. It ends with the process of the test.
pub struct Api {
    address: SocketAddr,
    kept: Arc<Kept>,
}

struct Kept {
    rollouts: Mutex<BTreeMap<String, Value>>,
    /// Every change with its version, for watches.
    events: Mutex<Vec<(u64, Value)>>,
    asked: Mutex<Vec<Request>>,
    script: Box<Script>,
}

impl Api {
    /// Serves these Rollouts; `script` may answer for it.
    pub fn serve(
        rollouts: &[Value],
        script: impl Fn(&Request) -> Option<(u16, Value)> + Send + Sync + 'static,
    ) -> Api {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Arc::new(Kept {
            rollouts: Mutex::default(),
            events: Mutex::default(),
            asked: Mutex::default(),
            script: Box::new(script),
        });
        rollouts.iter().for_each(|rollout| kept.put(rollout.clone()));
        let shared = kept.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = shared.clone();
                thread::spawn(move || kept.answer(stream));
            }
        });
        Api { address, kept }
    }

    /// Serves these Rollouts, without surprises.
    pub fn with(rollouts: &[Value]) -> Api {
        Api::serve(rollouts, |_| None)
    }

    /// Writes a Rollout, as a controller would.
    pub fn change(&self, key: &str, change: impl FnOnce(&mut Value)) {
        let mut rollout = self.rollout(key);
        change(&mut rollout);
        self.kept.put(rollout);
    }

    pub fn rollout(&self, key: &str) -> Value {
        self.kept.rollouts.lock().unwrap()[key].clone()
    }

    pub fn delete(&self, key: &str) {
        let rollout = self.kept.rollouts.lock().unwrap().remove(key).unwrap();
        self.kept.tell("DELETED", rollout);
    }

    /// What was asked so far, as `METHOD path`.
    pub fn asked(&self) -> Vec<String> {
        let asked = self.kept.asked.lock().unwrap();
        asked.iter().map(|request| format!("{} {}", request.method, request.path)).collect()
    }

    /// A kubeconfig with one context, `test`, of the user `ada` in namespace `shop`.
    pub fn kubeconfig(&self) -> String {
        kubeconfig(&format!("http://{}", self.address))
    }
}

pub fn kubeconfig(server: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": server}}],
        "users": [{"name": "ada", "user": {"token": "secret"}}],
        "contexts": [
            {"name": "test", "context": {"cluster": "test", "user": "ada", "namespace": "shop"}},
            {"name": "bare", "context": {"cluster": "test"}},
        ],
    })
    .to_string()
}

/// A refusal as an API server writes it.
pub fn status(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code});
    (code, status)
}

impl Kept {
    fn put(&self, rollout: Value) {
        let rollout = self.tell("MODIFIED", rollout);
        let part = |name: &str| rollout["metadata"][name].as_str().unwrap().to_owned();
        let key = format!("{}/{}", part("namespace"), part("name"));
        self.rollouts.lock().unwrap().insert(key, rollout);
    }

    /// Books a change, and gives the object its version.
    fn tell(&self, kind: &str, mut rollout: Value) -> Value {
        let mut events = self.events.lock().unwrap();
        let version = FIRST + events.len() as u64;
        rollout["metadata"]["resourceVersion"] = json!(version.to_string());
        events.push((version, json!({"type": kind, "object": rollout})));
        rollout
    }

    fn answer(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let Some(request) = read(&mut reader) else { return };
        self.asked.lock().unwrap().push(request.clone());
        if request.query.contains("watch=true") && (self.script)(&request).is_none() {
            return self.watch(&request, stream);
        }
        let (code, body) = (self.script)(&request).unwrap_or_else(|| self.truth(&request));
        write(&stream, code, &body.to_string());
    }

    fn truth(&self, request: &Request) -> (u16, Value) {
        let Some(rest) = request.path.strip_prefix(ROLLOUTS) else {
            return status(404, "NotFound", "404 page not found");
        };
        let parts: Vec<&str> = rest.split('/').collect();
        match (request.method.as_str(), &parts[..]) {
            ("GET", ["rollouts"]) => self.list("", request.name()),
            ("GET", ["namespaces", namespace, "rollouts"]) => {
                self.list(&format!("{namespace}/"), request.name())
            }
            ("GET", ["namespaces", namespace, "rollouts", name]) => self.one(namespace, name),
            ("PATCH", ["namespaces", namespace, "rollouts", name]) => {
                self.patch(namespace, name, &request.body, request.query.contains("dryRun=All"))
            }
            _ => status(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
            ),
        }
    }

    fn one(&self, namespace: &str, name: &str) -> (u16, Value) {
        match self.rollouts.lock().unwrap().get(&format!("{namespace}/{name}")) {
            Some(rollout) => (200, rollout.clone()),
            None => status(404, "NotFound", &format!("rollouts.penstock.dev \"{name}\" not found")),
        }
    }

    fn list(&self, prefix: &str, name: Option<&str>) -> (u16, Value) {
        let version = (FIRST + self.events.lock().unwrap().len() as u64 - 1).to_string();
        let rollouts = self.rollouts.lock().unwrap();
        let wanted =
            |key: &str| key.starts_with(prefix) && name.is_none_or(|name| key.ends_with(&format!("/{name}")));
        let items: Vec<&Value> =
            rollouts.iter().filter(|(key, _)| wanted(key)).map(|(_, rollout)| rollout).collect();
        let metadata = json!({"resourceVersion": version});
        (
            200,
            json!({"apiVersion": "penstock.dev/v1alpha1", "kind": "RolloutList", "metadata": metadata, "items": items}),
        )
    }

    fn patch(&self, namespace: &str, name: &str, patch: &Value, dry_run: bool) -> (u16, Value) {
        let (code, mut rollout) = self.one(namespace, name);
        if code != 200 && dry_run {
            return (200, patch.clone());
        }
        if code != 200 {
            return (code, rollout);
        }
        let wanted = &patch["metadata"]["resourceVersion"];
        if !wanted.is_null() && *wanted != rollout["metadata"]["resourceVersion"] {
            return status(409, "Conflict", "the object has been modified");
        }
        merge(&mut rollout, patch);
        if dry_run {
            return (200, rollout);
        }
        self.put(rollout);
        self.one(namespace, name)
    }

    /// Changes after the version that is asked for, until the other side leaves.
    fn watch(&self, request: &Request, mut stream: TcpStream) {
        let asked = request.query.split('&').find_map(|part| part.strip_prefix("resourceVersion="));
        let mut seen: u64 = asked.unwrap().parse().unwrap();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
        let mut open = stream.write_all(head.as_bytes()).is_ok();
        while open {
            let wanted =
                |event: &Value| request.name().is_none_or(|name| event["object"]["metadata"]["name"] == name);
            let events = self.events.lock().unwrap().clone();
            for (version, event) in events.into_iter().filter(|(_, event)| wanted(event)) {
                if version > seen {
                    open &= stream.write_all(format!("{event}\n").as_bytes()).is_ok();
                    seen = version;
                }
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Some(Request { method, path: path.to_owned(), query: query.to_owned(), body })
}

fn write(mut stream: &TcpStream, code: u16, body: &str) {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {code} Word\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let fields = target.as_object_mut().unwrap();
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}
