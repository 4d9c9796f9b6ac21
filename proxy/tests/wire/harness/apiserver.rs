//! An API server that does as told: lists, watches and the faults that no real one makes to order.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::message::Client;

/// What is wrong with the answers about a resource, until told otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Fault {
    #[default]
    None,
    /// Each answer is this error.
    Status(u16),
    /// Each watch, but no list, is answered by this error.
    WatchStatus(u16),
    /// Nothing is answered.
    Silence,
    /// Each watch ends as soon as it has begun.
    ShortWatches,
    /// Lists come in two pages, and the second one does not come.
    HalfList,
    /// Lists come in two pages, and by the second one the first has expired.
    ExpiredList,
}

impl Fault {
    /// The status that a request is answered with, if it is an error.
    fn status(self, asked: &Asked) -> Option<u16> {
        match self {
            Fault::Status(status) => Some(status),
            Fault::WatchStatus(status) => asked.is_watch().then_some(status),
            Fault::ExpiredList => asked.parameter("continue").map(|_| 410),
            Fault::None | Fault::Silence | Fault::ShortWatches | Fault::HalfList => None,
        }
    }
}

/// A request as it came: path and query.
#[derive(Clone, Debug)]
pub struct Asked {
    pub target: String,
    pub at: Instant,
}

impl Asked {
    pub fn is_watch(&self) -> bool {
        self.target.contains("watch=true")
    }

    /// The value of a parameter of the query.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let query = self.target.split_once('?')?.1;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

#[derive(Default)]
struct State {
    version: u64,
    objects: BTreeMap<(String, String), Value>,
    /// Resource, version and event, in order. What is not here has expired.
    events: Vec<(String, u64, Value)>,
    /// Watches from before this version are told that it has expired.
    oldest: u64,
    faults: BTreeMap<String, Fault>,
    asked: Vec<Asked>,
    token: String,
    /// Counts the cuts: connections of earlier ages are closed.
    age: u64,
    stopped: bool,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    news: Condvar,
}

pub struct ApiServer {
    inner: Arc<Inner>,
    port: u16,
    dir: TempDir,
}

impl ApiServer {
    pub fn start() -> ApiServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = ApiServer { inner: Arc::default(), port, dir: tempfile::tempdir().unwrap() };
        server.token("first");
        server.write_token("first");
        server.write_kubeconfig();
        server.accept(listener);
        server
    }

    /// A port on which no API server listens, yet.
    pub fn absent() -> ApiServer {
        let server = ApiServer::start();
        server.stop();
        server
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    fn write_kubeconfig(&self) {
        let (port, token) = (self.port, self.dir.path().join("token"));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
            "users": [{"name": "test", "user": {"tokenFile": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        fs::write(self.kubeconfig(), config.to_string()).unwrap();
    }

    /// From here on, only this token is good.
    pub fn token(&self, token: &str) {
        self.change(|state| state.token = token.into());
    }

    /// What stands in the proxy's token file.
    pub fn write_token(&self, token: &str) {
        fs::write(self.dir.path().join("token"), token).unwrap();
    }

    /// Creates or changes an object. Its kind is found by the resource's name.
    pub fn put(&self, resource: &str, mut object: Value) {
        self.change(|state| {
            state.version += 1;
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            object["metadata"]["namespace"] = "shop".into();
            object["metadata"]["resourceVersion"] = state.version.to_string().into();
            let before = state.objects.insert((resource.into(), name), object.clone());
            let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
            state.events.push((resource.into(), state.version, json!({"type": kind, "object": object})));
        });
    }

    pub fn delete(&self, resource: &str, name: &str) {
        self.change(|state| {
            state.version += 1;
            let mut object = state.objects.remove(&(resource.into(), name.into())).unwrap();
            object["metadata"]["resourceVersion"] = state.version.to_string().into();
            state.events.push((resource.into(), state.version, json!({"type": "DELETED", "object": object})));
        });
    }

    /// Tells watches how far the collection is.
    pub fn bookmark(&self, resource: &str) -> u64 {
        self.change(|state| {
            state.version += 1;
            let object = json!({"apiVersion": "v1", "kind": "Any", "metadata": {"resourceVersion": state.version.to_string()}});
            state.events.push((resource.into(), state.version, json!({"type": "BOOKMARK", "object": object})));
            state.version
        })
    }

    /// Forgets what has happened so far, and tells it to all that watch.
    pub fn expire(&self) {
        self.change(|state| {
            state.version += 1;
            state.oldest = state.version;
            state.events.clear();
        });
    }

    pub fn fault(&self, resource: &str, fault: Fault) {
        self.change(|state| state.faults.insert(resource.into(), fault).unwrap_or_default());
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        self.change(|state| state.age += 1);
    }

    /// Nobody listens any more, and all connections are cut.
    pub fn stop(&self) {
        self.change(|state| (state.stopped, state.age) = (true, state.age + 1));
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            thread::yield_now();
        }
    }

    /// Listens again.
    pub fn start_again(&self) {
        self.change(|state| state.stopped = false);
        self.accept(TcpListener::bind(("127.0.0.1", self.port)).unwrap());
    }

    /// All requests about a resource so far.
    pub fn asked(&self, resource: &str) -> Vec<Asked> {
        let about = |asked: &&Asked| self::resource(&asked.target) == resource;
        self.inner.lock().asked.iter().filter(about).cloned().collect()
    }

    pub fn lists(&self, resource: &str) -> usize {
        self.asked(resource).iter().filter(|asked| !asked.is_watch()).count()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.inner.lock());
        self.inner.news.notify_all();
        changed
    }

    fn accept(&self, listener: TcpListener) {
        let inner = Arc::clone(&self.inner);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if inner.lock().stopped {
                    return;
                }
                let (inner, stream) = (Arc::clone(&inner), stream.unwrap());
                thread::spawn(move || inner.serve(stream));
            }
        });
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        if !self.inner.lock().stopped {
            self.stop();
        }
    }
}

fn resource(target: &str) -> &str {
    target.split('?').next().unwrap_or_default().rsplit('/').next().unwrap_or_default()
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Serves one connection, one request after another.
    fn serve(&self, stream: TcpStream) {
        let age = self.lock().age;
        let mut client = Client::over(stream.try_clone().unwrap());
        while let Some(request) = client.try_read(true) {
            let asked = Asked { target: request.word(1).to_owned(), at: Instant::now() };
            let authorised = {
                let mut state = self.lock();
                state.asked.push(asked.clone());
                request.header("authorization") == Some(&format!("Bearer {}", state.token))
            };
            let fault = self.lock().faults.get(resource(&asked.target)).copied().unwrap_or_default();
            let status = fault.status(&asked).filter(|_| authorised).or((!authorised).then_some(401));
            let silent =
                fault == Fault::Silence || fault == Fault::HalfList && asked.parameter("continue").is_some();
            let fault = if silent { Fault::None } else { fault };
            if silent && !self.silence(&asked, age) {
                break;
            }
            if let Some(status) = status {
                answer(&mut client, status, &refusal(status));
            } else if asked.is_watch() {
                self.watch(&mut client, &asked, age, fault);
                break;
            } else {
                answer(&mut client, 200, &self.list(&asked, fault));
            }
        }
        stream.shutdown(std::net::Shutdown::Both).ok();
    }

    /// Waits until the fault is over. Whether the connection is still there.
    fn silence(&self, asked: &Asked, age: u64) -> bool {
        let fault = |state: &State| state.faults.get(resource(&asked.target)).copied();
        let begun = fault(&self.lock());
        self.wait(|state| state.age != age || fault(state) != begun).age == age
    }

    fn list(&self, asked: &Asked, fault: Fault) -> Value {
        let state = self.lock();
        let ours = state.objects.iter().filter(|((of, _), _)| of == resource(&asked.target));
        let items: Vec<&Value> = ours.map(|(_, object)| object).filter(|o| is_selected(o, asked)).collect();
        let halved = matches!(fault, Fault::HalfList | Fault::ExpiredList);
        let (items, more) = if halved { (&items[..1.min(items.len())], "more") } else { (&items[..], "") };
        json!({
            "apiVersion": "v1", "kind": "List", "items": items,
            "metadata": {"resourceVersion": state.version.to_string(), "continue": more},
        })
    }

    fn watch(&self, client: &mut Client, asked: &Asked, age: u64, fault: Fault) {
        let mut sent: u64 = asked.parameter("resourceVersion").unwrap().parse().unwrap();
        client
            .send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n");
        if fault == Fault::ShortWatches {
            return client.send("0\r\n\r\n");
        }
        let resource = resource(&asked.target).to_owned();
        loop {
            let (events, expired) = {
                let state = self.wait(|state| state.age != age || state.version > sent);
                if state.age != age {
                    return;
                }
                let new = state.events.iter().filter(|(of, version, _)| *of == resource && *version > sent);
                let expired = sent < state.oldest;
                let events: Vec<Value> = new.map(|(_, _, event)| event.clone()).collect();
                sent = state.version;
                (events, expired)
            };
            let expired = expired.then(|| json!({"type": "ERROR", "object": refusal(410)}));
            for event in expired.iter().chain(events.iter().filter(|e| is_selected(&e["object"], asked))) {
                if !chunk(client, event) {
                    return;
                }
            }
            if expired.is_some() {
                return client.send("0\r\n\r\n");
            }
        }
    }

    fn wait(&self, until: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while !until(&state) {
            state = self.news.wait_timeout(state, Duration::from_secs(1)).unwrap().0;
        }
        state
    }
}

fn is_selected(object: &Value, asked: &Asked) -> bool {
    let bookmark = object["kind"] == "Any";
    let Some(label) = asked.parameter("labelSelector").filter(|_| !bookmark) else { return true };
    object["metadata"]["labels"].get(label.replace("%2F", "/")).is_some()
}

fn refusal(status: u16) -> Value {
    let message = format!("the test says {status}");
    json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": status, "reason": "Test", "message": message})
}

fn answer(client: &mut Client, status: u16, body: &Value) {
    let text = body.to_string();
    let length = text.len();
    let head = format!(
        "HTTP/1.1 {status} Any\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    client.stream.write_all((head + &text).as_bytes()).ok();
}

fn chunk(client: &mut Client, event: &Value) -> bool {
    let line = format!("{event}\n");
    client.stream.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes()).is_ok()
}
