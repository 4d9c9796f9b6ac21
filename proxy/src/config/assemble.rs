//! Puts routes, Services and slices together, and remembers what was good last.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_api::httproutes::HttpRoute;

use super::backend::{self, Reach, Services};
use super::contents::{ByName, Contents, file_name, place};
use super::object::{Id, Object};
use super::route::{Route, translate};

/// How long a route is served after its object has vanished: long enough to write it again without a lost request.
/// After that it is gone for good, and its generation with it.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// What the data plane should do for one Rollout.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) id: Arc<Id>,
    pub(crate) file: Arc<str>,
    pub(crate) port: u16,
    pub(crate) route: Arc<Route>,
    /// Where each of the route's backends can be reached.
    pub(crate) reach: Vec<Reach>,
    /// What the route was translated from.
    source: Arc<HttpRoute>,
}

impl Draft {
    /// Whether both lead to the same table.
    pub(crate) fn same_table(&self, other: &Draft) -> bool {
        same(&self.source, &other.source) && self.reach == other.reach
    }

    /// The name of the Rollout: namespace and name.
    pub(crate) fn key(&self) -> &(String, String) {
        &self.route.rollout
    }

    /// What messages about the whole route begin with.
    pub(crate) fn place(&self) -> String {
        place(&self.file, &self.id)
    }
}

/// Whether both say the same. They are nearly always one.
fn same(one: &Arc<HttpRoute>, other: &Arc<HttpRoute>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

/// The routes in effect.
#[derive(Debug, Default)]
pub(crate) struct Memory(ByName<Arc<Id>, Kept>);

#[derive(Debug)]
struct Kept {
    source: Arc<HttpRoute>,
    route: Arc<Route>,
    /// What of it is left out.
    notes: Vec<String>,
    file: Arc<str>,
    /// It was there when this was last looked for.
    there: bool,
    gone: Option<Instant>,
}

impl Memory {
    /// All Rollouts to be served, in the order of their files, and what can't be used.
    pub(crate) fn assemble(&mut self, contents: &Contents<'_>, now: Instant) -> (Vec<Draft>, Vec<String>) {
        let mut problems = contents.problems.clone();
        let services = Services::new(contents, &mut problems);
        self.0.values_mut().for_each(|kept| kept.there = false);
        for (id, path, object) in &contents.objects {
            if let Object::Route(route) = object {
                self.take(id, path, route, &mut problems);
            }
        }
        self.forget(now);
        let mut drafts: Vec<Draft> = Vec::new();
        for (id, kept) in self.in_order(contents) {
            match kept.draft(id, &services, &mut problems) {
                Ok(draft) => drafts.push(draft),
                Err(problem) => problems.push(format!("{}: {problem}", place(&kept.file, id))),
            }
        }
        (drafts, problems)
    }

    /// All routes in the order of files. One that has vanished keeps its place: its file may be about to come back.
    fn in_order(&self, contents: &Contents<'_>) -> Vec<(&Arc<Id>, &Kept)> {
        let mut all = Vec::with_capacity(self.0.len());
        let routes = contents.objects.iter().filter(|(.., object)| matches!(object, Object::Route(_)));
        all.extend(routes.filter_map(|(id, ..)| self.0.get_key_value(*id)));
        if all.len() < self.0.len() {
            for (id, kept) in &self.0 {
                if !kept.there {
                    all.push((id, kept));
                }
            }
        }
        // Mostly they are in order by now, which costs next to nothing.
        all.sort_by_key(|(id, kept)| (&kept.file, *id));
        all
    }

    /// Whether a route has vanished and is still served.
    pub(crate) fn is_waiting(&self) -> bool {
        self.0.values().any(|kept| kept.gone.is_some())
    }

    /// Puts a route into effect, unless it is broken or its generation is a lower one than that in effect.
    fn take(&mut self, id: &Id, path: &Path, source: &Arc<HttpRoute>, problems: &mut Vec<String>) {
        let file = file_name(path);
        if let Some(kept) = self.0.get_mut(id).filter(|kept| same(&kept.source, source)) {
            return kept.is_in(&file, id, problems);
        }
        match self.translate(id, &file, source, problems) {
            Ok(kept) => drop(self.0.insert(Arc::new(id.clone()), kept)),
            Err(problem) => problems.push(format!("{}: {problem}; {}", place(&file, id), self.rest(id))),
        }
        if let Some(kept) = self.0.get_mut(id) {
            kept.is_in(&file, id, problems);
        }
    }

    fn translate(
        &self,
        id: &Id,
        file: &str,
        source: &Arc<HttpRoute>,
        problems: &mut Vec<String>,
    ) -> Result<Kept, String> {
        let mut notes = Vec::new();
        let route =
            translate(source, &id.namespace, &mut notes).and_then(|r| self.refuse_older(id, source, r));
        let route = route.inspect_err(|_| {
            problems.extend(notes.iter().map(|note| format!("{}: {note}", place(file, id))))
        })?;
        let (source, route) = (Arc::clone(source), Arc::new(route));
        Ok(Kept { source, route, notes, file: file.into(), there: true, gone: None })
    }

    fn rest(&self, id: &Id) -> &'static str {
        if self.0.contains_key(id) { "its last good state stays in effect" } else { "it is not served" }
    }

    fn refuse_older(&self, id: &Id, source: &HttpRoute, route: Route) -> Result<Route, String> {
        let Some(kept) = self.0.get(id).filter(|kept| kept.source.metadata.uid == source.metadata.uid) else {
            return Ok(route);
        };
        let (new, old) = (route.generation, kept.route.generation);
        if new >= old {
            return Ok(route);
        }
        let name = penstock_proxy_api::object::GENERATION;
        Err(format!(
            "metadata.annotations[{name}]: {new} is older than {old}, which is in effect; write {old} or more"
        ))
    }

    fn forget(&mut self, now: Instant) {
        self.0.retain(|_, kept| kept.there || now.duration_since(*kept.gone.get_or_insert(now)) < GRACE);
    }
}

impl Kept {
    /// The route stands in this file.
    fn is_in(&mut self, file: &str, id: &Id, problems: &mut Vec<String>) {
        problems.extend(self.notes.iter().map(|note| format!("{}: {note}", place(file, id))));
        if *self.file != *file {
            self.file = file.into();
        }
        (self.there, self.gone) = (true, None);
    }

    fn draft(
        &self,
        id: &Arc<Id>,
        services: &Services<'_>,
        problems: &mut Vec<String>,
    ) -> Result<Draft, String> {
        let port = self.port(services)?;
        let (namespace, _) = &self.route.rollout;
        let reach = self.route.backends.iter().map(|b| backend::reach(services, namespace, b, problems));
        let (reach, route) = (reach.collect(), Arc::clone(&self.route));
        Ok(Draft {
            id: Arc::clone(id),
            file: Arc::clone(&self.file),
            port,
            route,
            reach,
            source: Arc::clone(&self.source),
        })
    }

    /// The port to listen on: what the route's annotation says, else the target of the parent Service's port if that
    /// Service is known, else the parent's port itself.
    fn port(&self, services: &Services<'_>) -> Result<u16, String> {
        if let Some(port) = self.route.listen {
            return Ok(port);
        }
        let parent = &self.route.parent;
        let number = match services.get(&self.route.rollout.0, &parent.name) {
            Some(service) => {
                let port = backend::service_port(service, parent.port).ok_or_else(|| {
                    format!(
                        "spec.parentRefs[0].port: Service {} has no such port; name one of its ports",
                        parent.name
                    )
                })?;
                backend::target_port(port).ok_or_else(|| {
                    format!(
                        "spec.parentRefs[0]: the targetPort in Service {} is a name; write a number",
                        parent.name
                    )
                })?
            }
            None => parent.port.ok_or("spec.parentRefs[0].port: is missing; write the port to listen on")?,
        };
        let port = u16::try_from(number).ok().filter(|port| *port > 0);
        port.ok_or_else(|| format!("spec.parentRefs[0].port: {number} is no port; write 1 to 65535"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::object::{Parsed, parse};

    fn route(generation: u64, extra: &str) -> String {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
             metadata: {{name: shop, annotations: {{penstock.dev/generation: '{generation}'}}}}\n\
             spec:\n  parentRefs: [{{group: '', kind: Service, name: shop, port: 80}}]\n  rules:\n\
             \x20 - backendRefs: [{{name: shop-v1, port: 80, weight: 90}}, {{name: shop-v2, port: 80, weight: 10}}]\n{extra}\n---\n"
        )
    }

    fn assemble(memory: &mut Memory, yaml: &str, now: Instant) -> (Vec<Draft>, Vec<String>) {
        let parsed = if yaml.is_empty() { Parsed::default() } else { parse(yaml).unwrap() };
        let objects = parsed.objects.iter().map(|(id, o)| (id, Path::new("f.yaml"), o)).collect();
        memory.assemble(&Contents { objects, problems: parsed.problems.clone() }, now)
    }

    fn generations(drafts: &[Draft]) -> Vec<u64> {
        drafts.iter().map(|d| d.route.generation).collect()
    }

    #[test]
    fn an_older_generation_is_refused_until_the_route_is_gone_for_good() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        assemble(&mut memory, &route(7, ""), start);
        let (drafts, problems) = assemble(&mut memory, &route(6, ""), start);
        assert_eq!(generations(&drafts), [7]);
        assert!(problems[0].contains("6 is older than 7, which is in effect"), "{problems:?}");
        let (drafts, problems) = assemble(&mut memory, "", start);
        assert_eq!(
            (generations(&drafts), problems.len()),
            (vec![7], 0),
            "a vanished route is served for a while"
        );
        let (drafts, _) = assemble(&mut memory, &route(6, ""), start + GRACE / 2);
        assert_eq!(generations(&drafts), [7], "written again, it is no younger");
        assemble(&mut memory, "", start + GRACE);
        assert!(assemble(&mut memory, "", start + GRACE * 2).0.is_empty());
        assert_eq!(generations(&assemble(&mut memory, &route(1, ""), start + GRACE * 3).0), [1]);
    }

    #[test]
    fn another_object_of_the_same_name_begins_anew() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let named = |uid, generation| {
            route(generation, "").replace("{name: shop, ", &format!("{{name: shop, uid: {uid}, "))
        };
        assemble(&mut memory, &named("a", 7), now);
        assert_eq!(generations(&assemble(&mut memory, &named("b", 1), now).0), [1]);
    }

    #[test]
    fn a_broken_route_keeps_its_last_good_state() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let broken = "  - matches: [{path: {type: RegularExpression, value: '('}}]";
        let (drafts, problems) = assemble(&mut memory, &route(1, broken), now);
        assert!(drafts.is_empty());
        assert!(problems.last().unwrap().ends_with("it is not served"), "{problems:?}");
        assemble(&mut memory, &route(1, ""), now);
        for (broken, field) in [
            (route(2, broken), "spec.rules[1].matches[0].path.value: \"(\""),
            (
                route(2, "").replace("weight: 10", "weight: -1"),
                "spec.rules[0].backendRefs[1].weight: is outside",
            ),
            (route(2, "").replace("'2'", "two"), "metadata.annotations[penstock.dev/generation]: \"two\""),
            (route(2, "  - timeouts: {request: '10'}"), "spec.rules[1].timeouts.request: "),
            (
                route(2, "").replace("[{group: '', kind: Service, name: shop, port: 80}]", "[]"),
                "spec.parentRefs: is empty",
            ),
        ] {
            let (drafts, problems) = assemble(&mut memory, &broken, now);
            assert_eq!(generations(&drafts), [1], "{field}");
            assert!(problems.iter().any(|p| p.contains(field)), "{field}: {problems:?}");
        }
    }

    #[test]
    fn filters_are_named_and_the_rest_goes_on() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let filter = "    filters: [{type: URLRewrite, urlRewrite: {hostname: a}}]";
        let (drafts, problems) = assemble(&mut memory, &route(1, filter), now);
        assert_eq!(drafts.len(), 1);
        assert_eq!(
            problems,
            [
                "f.yaml: HTTPRoute default/shop: spec.rules[0].filters[0]: URLRewrite is not supported and left out; remove it"
            ]
        );
    }

    #[test]
    fn the_split_and_the_marked_revision_are_found() {
        let marks = "  - matches: [{headers: [{name: x-canary, value: always}]}]\n    backendRefs: [{name: shop-v2, port: 80}]";
        let generation = "penstock.dev/generation:";
        for (annotation, marked) in [
            ("penstock.dev/mark: x-canary=always,", Some("v2")),
            ("penstock.dev/mark: x-canary=never,", None),
            ("", None),
        ] {
            let text = route(1, marks).replace(generation, &format!("{annotation} {generation}"));
            let (drafts, problems) = assemble(&mut Memory::default(), &text, Instant::now());
            assert_eq!((problems.len(), drafts[0].route.split), (0, Some(0)), "{problems:?}");
            assert_eq!(drafts[0].route.marked.as_deref(), marked, "{annotation}");
        }
    }

    #[test]
    fn the_port_is_that_of_the_route_or_the_parent_services_target() {
        let service = |target| {
            format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: shop}}\nspec: {{ports: [{{port: 80, targetPort: {target}}}]}}\n"
            )
        };
        let now = Instant::now();
        let port = |yaml: String| assemble(&mut Memory::default(), &yaml, now);
        assert_eq!(port(route(1, "")).0[0].port, 80);
        assert_eq!(port(route(1, "") + &service("15001")).0[0].port, 15001);
        let (drafts, problems) = port(route(1, "") + &service("web"));
        assert!(drafts.is_empty() && problems[0].contains("is a name; write a number"), "{problems:?}");
        let generation = "penstock.dev/generation:";
        let listen = |port: &str| {
            let annotated = format!("penstock.dev/listen: '{port}', {generation}");
            assemble(
                &mut Memory::default(),
                &(route(1, "").replace(generation, &annotated) + &service("web")),
                now,
            )
        };
        assert_eq!(listen("15002").0[0].port, 15002, "the route's own word comes first");
        for wrong in ["0", "70000", "web"] {
            let (drafts, problems) = listen(wrong);
            assert!(drafts.is_empty(), "{wrong}");
            assert!(problems[0].contains("metadata.annotations[penstock.dev/listen]: "), "{problems:?}");
        }
    }
}
